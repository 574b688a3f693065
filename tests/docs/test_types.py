"""docs/types.md is what happens: every cell of its tables is tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from docs.parquet_cells import ASKED, FILES, INT96
from docs.test_docs import coded, document, rows
from harness import own_job, run_job, sql
from headrace.lattice import Held, join
from headrace.model import (
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    UNKNOWN,
    Column,
    ColumnKind,
    ColumnType,
    CsvOptions,
    FileType,
    decimal,
)
from headrace.schemas import Source
from headrace.staging import StageTask, story
from headrace.staging import engine as child

DOCUMENT = "docs/types.md"
MONEY = "FLOAT, 2 decimals"

Pairs = list[tuple[str, str | None]]
"""Spellings, and what is stored; None: as it is spelled."""


def pairs(cell: str) -> Pairs:
    return [(spelled, stored or None) for spelled, stored in re.findall(r"`([^`]*)`(?: = `([^`]*)`)?", cell)]


def column(name: str, kind: str) -> dict[str, Any]:
    decimals = 2 if kind == MONEY else None
    return {"columnName": name, "columnType": kind.partition(",")[0], "decimals": decimals}


def stored(
    api: httpx.Client, pool: str, kind: str, texts: list[str], **options: Any
) -> dict[int, str | None]:
    """What is stored of the texts of a CSV, by their place; rejects are not there."""
    job = run_job(
        api,
        pool,
        "t",
        [("n;v\n" + "".join(f"{number};{text}\n" for number, text in enumerate(texts))).encode()],
        fileType="CSV",
        csvParsingOptions={"separatorSequence": ";", **options},
        tableSchema={"tableName": "t", "columns": [column("n", "INTEGER"), column("v", kind)]},
        maxRejectedShare=1,
    )
    assert job["status"] == "DONE", job["logs"]
    return {n: None if v is None else str(v) for n, v in sql(api, pool, "SELECT n, v FROM t")}


# -- CSV -----------------------------------------------------------------------------------------------


def spellings() -> Iterator[tuple[str, Pairs, bool, list[str]]]:
    """Of the table: columnType; spellings and what is stored; blanks; what is rejected."""
    for kind, accepted, blanks, rejected in (r for r in rows(DOCUMENT) if len(r) == 4):
        if kind in {*ColumnKind, MONEY}:
            yield kind, pairs(accepted), blanks != "no", coded(rejected)


TYPES = list(spellings())


def test_every_type_is_in_the_table() -> None:
    assert {kind for kind, *_ in TYPES} == {*ColumnKind, MONEY} - {ColumnKind.DECIMAL, ColumnKind.UNKNOWN}


@pytest.mark.parametrize(("kind", "accepted", "blanks", "rejected"), TYPES, ids=[t[0] for t in TYPES])
def test_csv_spellings(
    api: httpx.Client, pool: str, kind: str, accepted: Pairs, blanks: bool, rejected: list[str]
) -> None:
    padded = f" {accepted[0][0]} "
    texts = [*(text for text, _ in accepted), *rejected, padded]
    found = stored(api, pool, kind, texts)
    for number, (text, expected) in enumerate(accepted):
        assert found.get(number) == (expected or found.get(number)) is not None, text
    refused = {texts[n] for n in range(len(texts)) if n not in found}
    assert refused == {*rejected, *([] if blanks else [padded])}


OPTIONS = [row for row in rows(DOCUMENT) if len(row) == 4 and row[0].startswith("`")]


@pytest.mark.parametrize(("options", "kind", "accepted", "rejected"), OPTIONS, ids=[r[0] for r in OPTIONS])
@pytest.mark.parametrize("of_column", [False, True], ids=["file", "column"])
def test_separators_and_flags(
    api: httpx.Client, pool: str, options: str, kind: str, accepted: str, rejected: str, of_column: bool
) -> None:
    words = coded(options)
    sent: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
    if of_column:  # where the second has another name, and goes before that of the file
        if separator := sent.pop("thousandSeparator", None):
            sent["thousandsSeparator"] = separator
        sent = {
            "additionalColumnOptions": [{"columnName": "V", **sent}],
            "decimalSeparator": "?",
            "thousandSeparator": "_",
            **({} if "decimalSeparator" in sent else {"decimalSeparator": "."}),
        }
    texts = [text for text, _ in pairs(accepted)] + coded(rejected)
    found = stored(api, pool, kind, texts, **sent)
    assert [found.get(number) for number in range(len(texts))] == [
        *(expected or text for text, expected in pairs(accepted)),
        *(None for _ in coded(rejected)),
    ]


# -- Parquet -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Iterator[None]:
    with patch.object(child, "_memory_mb", 1024), patch.object(child, "_engine", None):
        child._new_engine()
        yield


def staged(folder: Path, values: Any, asked: ColumnType | None, int96: bool) -> tuple[ColumnType, str | None]:
    """The type that is stored, and the value; None if it is a reject."""
    source, target = folder / "chunk", folder / "staging" / "chunk.parquet"
    pq.write_table(
        pa.table({"v": values}),
        source,
        use_deprecated_int96_timestamps=int96,
        store_decimal_as_integer=True,
    )
    wanted = {"v": Column("v", asked)} if asked else {}
    csv, fixed = CsvOptions(), frozenset(wanted)
    task = StageTask(
        source, target, folder / "rejects", FileType.PARQUET, csv, wanted, fixed, frozenset(), None
    )
    report = story.stage(task)
    with duckdb.connect() as db:
        found = db.execute(f"SELECT v::VARCHAR FROM read_parquet('{target}')").fetchall()
    return report.columns[0].type, None if report.rejected else found[0][0] or "NULL"


PARQUET = {(row[0], coded(row[1])[0]): row[2:] for row in rows(DOCUMENT) if len(row) == 11 and coded(row[1])}


def test_every_parquet_type_is_in_the_table() -> None:
    assert list(PARQUET) == list(FILES)
    head = next(row for row in rows(DOCUMENT) if row[0] == "Parquet")
    assert list(head[3:]) == list(ASKED)


@pytest.mark.parametrize("case", FILES, ids=" ".join)
@pytest.mark.usefixtures("engine")
def test_parquet_types(tmp_path: Path, case: tuple[str, str]) -> None:
    natural, *cells = PARQUET[case]
    int96 = case[0] in INT96
    type, _ = staged(tmp_path, FILES[case], None, int96)
    assert ("as others" if type == UNKNOWN else str(type)) == natural
    for cell, (name, asked) in zip(cells, ASKED.items(), strict=True):
        type, found = staged(tmp_path, FILES[case], asked, int96)
        assert type == asked
        assert ("reject" if found is None else found) == cell.strip("`"), name


def test_the_physical_types_are_those_of_the_files(tmp_path: Path) -> None:
    """What the table calls INT96 is one."""
    physical = {"LIST", "a group", "MAP", "any"}
    for (name, _), values in FILES.items():
        kind = re.split(r"[,(]", name)[0]
        path = tmp_path / "file"
        pq.write_table(
            pa.table({"v": values}),
            path,
            use_deprecated_int96_timestamps=name in INT96,
            store_decimal_as_integer=True,
        )
        if kind not in physical:
            assert pq.ParquetFile(path).metadata.schema.column(0).physical_type == kind, name


# -- chunks that disagree ------------------------------------------------------------------------------

ALL = (BOOLEAN, INTEGER, FLOAT, DATE, TIME, DATETIME, STRING, decimal(18, 2), decimal(10, 4), decimal(38, 37))


def lattice() -> dict[frozenset[str], str]:
    """What the table says of two kinds."""
    kinds = {str(t.kind) for t in ALL}
    found: dict[frozenset[str], str] = {}
    for one, other, both in (r for r in rows(DOCUMENT) if len(r) == 3):
        first = one.partition("(")[0]
        others = kinds - {first} if other == "any other" else {o.partition("(")[0] for o in other.split(", ")}
        if first in kinds:
            found |= {frozenset((first, o)): both for o in others}
    return found


def test_every_two_types_are_in_the_table() -> None:
    kinds = [t.kind.value for t in ALL]
    assert set(lattice()) == {frozenset((a, b)) for a in kinds for b in kinds if a != b or a == "DECIMAL"}


@pytest.mark.parametrize("as_float", [True, False])
@pytest.mark.parametrize("one", ALL, ids=str)
@pytest.mark.parametrize("other", ALL, ids=str)
def test_chunks_that_disagree(one: ColumnType, other: ColumnType, as_float: bool) -> None:
    both = join(Held(one, as_float), Held(other)).type
    if one == other:
        assert both == one
        return
    said = lattice()[frozenset((one.kind.value, other.kind.value))]
    if said.startswith("DECIMAL"):
        whole = max(19 if t == INTEGER else t.precision - t.scale for t in (one, other))
        scale = max(one.scale, other.scale)
        beyond = FLOAT if as_float else STRING
        assert both == (decimal(whole + scale, scale) if whole + scale <= 38 else beyond)
    elif "else" in said:
        assert str(both) == (said.split()[0] if as_float else said.split()[-1])
    else:
        assert str(both) == said


# -- inference -----------------------------------------------------------------------------------------


def test_sources_of_a_type(api: httpx.Client, pool: str) -> None:
    named = re.search(r"where it comes from \(([^)]*)\)", document(DOCUMENT))
    assert named
    assert sorted(coded(named[1])) == sorted(Source)
    job = run_job(api, pool, "t", [b"a,b\n1,x\n"], fileType="CSV", inferTypes=True)
    assert own_job(api, pool, job["id"])["schema"] is None
    assert sql(api, pool, "SELECT typeof(a), typeof(b) FROM t") == [["BIGINT", "VARCHAR"]]
