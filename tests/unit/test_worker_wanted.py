"""What is known of a chunk's columns before it is read."""

from __future__ import annotations

import pytest

from headrace.model import (
    BOOLEAN,
    DATE,
    FLOAT,
    INTEGER,
    STRING,
    Column,
    ColumnKind,
    ColumnType,
    DeclaredColumn,
    Table,
    TableRef,
    decimal,
)
from headrace.worker import declared_type, wanted_columns


@pytest.mark.parametrize(
    ("kind", "decimals", "expected"),
    [
        (None, None, STRING),
        (None, 2, STRING),
        (ColumnKind.STRING, None, STRING),
        (ColumnKind.INTEGER, 2, INTEGER),
        (ColumnKind.BOOLEAN, None, BOOLEAN),
        (ColumnKind.DATE, None, DATE),
        (ColumnKind.FLOAT, None, FLOAT),
        (ColumnKind.FLOAT, 0, FLOAT),
        (ColumnKind.FLOAT, 2, decimal(18, 2)),
        (ColumnKind.FLOAT, 6, decimal(18, 6)),
        (ColumnKind.FLOAT, 7, decimal(38, 7)),
        (ColumnKind.FLOAT, 37, decimal(38, 37)),
        (ColumnKind.FLOAT, 100, decimal(38, 37)),
    ],
)
def test_a_declared_type(kind: ColumnKind | None, decimals: int | None, expected: ColumnType) -> None:
    assert declared_type(DeclaredColumn("c", kind, decimals=decimals)) == expected


def test_what_the_client_declares() -> None:
    declared = [
        DeclaredColumn("Number", ColumnKind.INTEGER),
        DeclaredColumn("text", ColumnKind.STRING, length=5),
        DeclaredColumn("length alone", length=7),
        DeclaredColumn("nothing", primary_key=True),
    ]
    assert wanted_columns(declared, None) == {
        "number": Column("Number", INTEGER),
        "text": Column("text", STRING, 5),
        "length alone": Column("length alone", STRING, 7),
    }
    assert wanted_columns([], None) == {}


def test_the_table_comes_first() -> None:
    columns = Column("KUNNR", STRING, 80), Column("Straße", INTEGER), Column("day", DATE)
    declared = [
        DeclaredColumn("kunnr", ColumnKind.INTEGER, length=5),
        DeclaredColumn("STRASSE", ColumnKind.STRING),
        DeclaredColumn("new", ColumnKind.FLOAT),
    ]
    assert wanted_columns(declared, Table(TableRef("t"), columns)) == {
        "kunnr": Column("KUNNR", STRING, 5),
        "strasse": Column("Straße", INTEGER),
        "day": Column("day", DATE),
        "new": Column("new", FLOAT),
    }


def test_a_length_is_the_jobs_own() -> None:
    table = Table(TableRef("t"), (Column("text", STRING, 80),))
    assert wanted_columns([], table) == {"text": Column("text", STRING)}
