"""What a job tells of its load."""

from __future__ import annotations

import pytest

from headrace.model import (
    INTEGER,
    STRING,
    Chunk,
    ChunkType,
    Column,
    Counts,
    Cut,
    FileType,
    Job,
    JobStatus,
    JobType,
    PushSpec,
    RejectCount,
    StageReport,
    Table,
    TableRef,
    decimal,
    now,
)
from headrace.tables import TableChange, TableDiff
from headrace.telling import column_changes, cuts_of, rejected_by, staging_logs, summary

AT, REF = now(), TableRef("t")
JOB = Job("j", "p", PushSpec("t"), JobStatus.NEW, AT, AT)


def chunk(number: int, report: StageReport | None, kind: FileType = FileType.CSV) -> Chunk:
    return Chunk("c", "j", "p", number, ChunkType.UPSERT, 1, "", kind, AT, report=report)


def columns(**types: object) -> tuple[Column, ...]:
    return tuple(Column(name, type) for name, type in types.items())  # type: ignore[arg-type]


BEFORE = Table(REF, columns(a=STRING, b=decimal(18, 2), c=INTEGER))


@pytest.mark.parametrize(
    ("diff", "pushed", "change", "expected"),
    [
        (TableDiff(REF, None, None), "", TableChange.NONE, {}),
        (TableDiff(REF, None, columns(a=STRING)), "a", TableChange.CREATED, {"a": "added"}),
        (
            TableDiff(REF, BEFORE, columns(A=STRING, b=decimal(20, 2), c=INTEGER, d=STRING)),
            "a b d",
            TableChange.KEPT,
            {"A": "kept", "b": "widened", "c": "missing", "d": "added"},
        ),
        (
            TableDiff(REF, BEFORE, columns(a=STRING, b=INTEGER), replaces=True),
            "a b",
            TableChange.REPLACED,
            {"a": "kept", "b": "changed", "c": "dropped"},
        ),
    ],
    ids=["none", "created", "kept", "replaced"],
)
def test_what_becomes_of_columns(
    diff: TableDiff, pushed: str, change: TableChange, expected: dict[str, str]
) -> None:
    found = column_changes(diff, [Column(name, STRING) for name in pushed.split()])
    assert {c.column.name: c.change for c in found} == expected
    assert diff.change is change


def test_reasons_and_cuts_are_summed_over_chunks() -> None:
    one = StageReport(1, 3, (), (Cut("a", 4, 1, 5),), rejected_by=(RejectCount("x", "a", 3),))
    two = StageReport(
        1, 5, (), (Cut("a", 4, 2, 9),), rejected_by=(RejectCount("y", None, 4), RejectCount("x", "a", 1))
    )
    chunks = [chunk(1, one), chunk(2, two), chunk(3, None)]
    assert cuts_of(chunks) == [Cut("a", 4, 3, 9)]
    assert rejected_by(chunks) == [RejectCount("x", "a", 4), RejectCount("y", None, 4)]


def test_a_csv_that_came_out_as_one_column_is_told() -> None:
    one = StageReport(1, 0, (Column("a;b;c", STRING),))
    assert staging_logs(JOB, [chunk(1, one)]) == [
        "Chunk 1 has one column, 'a;b;c'. Likely: separatorSequence looks like ';'."
    ]
    assert staging_logs(JOB, [chunk(1, one, FileType.PARQUET)]) == []


@pytest.mark.parametrize(
    ("type", "counts", "expected"),
    [
        (JobType.DELTA, Counts(3, inserted=2, rejected=1), "DELTA of t: 3 rows in, 2 inserted, 1 rejected."),
        (JobType.DELTA, Counts(), "DELTA of t: 0 rows in, nothing changed."),
        (JobType.REPLACE, Counts(), "REPLACE of t: 0 rows in, the table is empty now."),
    ],
)
def test_summary(type: JobType, counts: Counts, expected: str) -> None:
    assert summary(Job("j", "p", PushSpec("t", type), JobStatus.NEW, AT, AT), counts) == expected
