"""Rejects as they are told, kept and written."""

from __future__ import annotations

import csv
import io
import json

import pytest

from headrace.model import (
    INTEGER,
    STRING,
    Chunk,
    ChunkState,
    ChunkType,
    Column,
    CsvOptions,
    Cut,
    FileType,
    Job,
    JobStatus,
    PushSpec,
    Reject,
    StageReport,
    now,
)
from headrace.rejected import Number, Teller, as_csv, marked, sum_of_cuts, values_of

AT = now()
JOB = Job("j", "p", PushSpec("t", csv=CsvOptions(separator=";")), JobStatus.DONE, AT, AT)
BAD = "value-does-not-fit"


def chunk(number: int, *rejects: Reject, columns: str = "a b", type: ChunkType = ChunkType.UPSERT) -> Chunk:
    named = tuple(Column(name, INTEGER if name in "bC" else STRING) for name in columns.split())
    report = StageReport(0, len(rejects), named, first_rejects=rejects)
    return Chunk(
        f"c{number}", "j", "p", number, type, 1, "", FileType.CSV, AT, ChunkState.STAGED, report=report
    )


def row(line: int, **values: object) -> Reject:
    """Its last column is the bad one."""
    column = list(values)[-1]
    return Reject(line, column, str(values[column]), "INTEGER", BAD, json.dumps(values))


def record(line: int, raw: str) -> Reject:
    return Reject(line, None, None, "1 fields instead of 2", "too-few-fields", raw)


def test_values_are_text_as_it_was_sent() -> None:
    raw = (
        '{"a": "1", "b": 1.10, "c": null, "d": [1, {"e": "ü"}], "f": true, "g": NaN, "h": 123456789012345678}'
    )
    values = values_of(Reject(1, "a", None, "", BAD, raw))
    assert values == {
        "a": "1",
        "b": "1.10",
        "c": None,
        "d": '[1,{"e":"ü"}]',
        "f": "true",
        "g": "NaN",
        "h": "123456789012345678",
    }
    assert [name for name, value in values.items() if isinstance(value, Number)] == ["b", "h"]


@pytest.mark.parametrize("reject", [record(1, "x"), Reject(1, "a", "x", "", BAD, '{"a": "x'), row(1, a=1)])
def test_values_that_are_not_known(reject: Reject) -> None:
    assert bool(values_of(reject)) == (reject.raw == '{"a": 1}')


# -- one shape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reject", "expected"),
    [
        (row(1, a="x", b="12,50"), "x;>>12,50<<"),
        (Reject(1, "b", "y", "", BAD, '{"a": null, "b": "y", "c": ""}'), ";>>y<<;"),
        (Reject(1, "b", "y\nz", "", BAD, '{"b": "y\\nz"}'), ">>y z<<"),
        (Reject(1, "b", "y", "", BAD, '{"a": "x'), ">>y<<"),
        (row(1, a="x" * 100, b="y" * 100), "x" * 60 + "…;>>" + "y" * 60 + "…<<"),
        (record(1, "first\nsecond"), "first"),
        (record(1, "x" * 300), "x" * 160 + "…"),
        (record(1, "1;caf\ufffd;\ufffd\ufffd"), "1;caf>>\ufffd<<;>>\ufffd\ufffd<<"),
    ],
)
def test_marked(reject: Reject, expected: str) -> None:
    assert marked(reject, ";") == expected


def test_a_marked_row_is_short_however_long_the_row() -> None:
    values = {f"c{n}": "v" * 50 for n in range(100)}
    shown = marked(Reject(1, "c50", "v", "", BAD, json.dumps(values)), ",")
    assert shown.startswith("…") and shown.endswith("…") and len(shown) < 250


def test_a_reject_is_told_in_one_shape() -> None:
    rejects = [row(3, a="x", b="12,50"), row(4, a="y", b="7,5"), record(5, "z")]
    sent = chunk(2, *rejects)
    teller = Teller(JOB, [sent])
    assert [t.sentence for t in teller.first(10)] == [
        "Chunk 2, line 3, column b: '12,50' found, expected INTEGER. Likely: decimalSeparator ','.",
        "Chunk 2, line 4, column b: '7,5' found, expected INTEGER. Likely: decimalSeparator ','.",
        "Chunk 2, line 5: the record cannot be read: 1 fields instead of 2.",
    ]
    assert [t.marked for t in teller.first(2)] == ["x;>>12,50<<", "y;>>7,5<<"]


def test_a_hint_is_drawn_from_all_chunks() -> None:
    chunks = [chunk(1, row(2, b="12,50")), chunk(2, row(2, b="abc"))]
    assert [t.hint for t in Teller(JOB, chunks).first(2)] == [None, None]
    assert [t.hint for t in Teller(JOB, chunks[:1]).first(2)] == ["decimalSeparator ','"]


def test_cuts_are_summed_by_column_and_length() -> None:
    cuts = [Cut("a", 4, 2, 9), Cut("A", 4, 1, 12), Cut("a", 5, 1, 6), Cut("b", 4, 1, 5)]
    assert sum_of_cuts(cuts) == [Cut("a", 4, 3, 12), Cut("a", 5, 1, 6), Cut("b", 4, 1, 5)]


# -- as a file -----------------------------------------------------------------------------------------


def test_as_csv() -> None:
    one = chunk(1, row(3, a='x "y"', b="12,50"), record(4, "z\nz"))
    two = chunk(
        2, Reject(2, "C", "", "INTEGER", BAD, '{"B": "1", "C": ""}'), columns="B C", type=ChunkType.DELETE
    )
    rejects = [(c, r) for c in (one, two) if c.report for r in c.report.first_rejects]
    text = b"".join(as_csv(Teller(JOB, [one, two]), [one, two], rejects)).decode()
    header, *rows = csv.reader(io.StringIO(text))
    reasons = ["_chunk", "_type", "_line", "_column", "_code", "_expected", "_hint", "_raw"]
    assert header == ["a", "b", "C", *reasons]
    assert rows == [
        ['x "y"', "12,50", "", "1", "UPSERT", "3", "b", BAD, "INTEGER", "decimalSeparator ','", ""],
        ["", "", "", "1", "UPSERT", "4", "", "too-few-fields", "1 fields instead of 2", "", "z\nz"],
        ["", "1", "", "2", "DELETE", "2", "C", BAD, "INTEGER", "", ""],
    ]
    assert text.splitlines()[-1].startswith(',"1","",')  # NULL is nothing, the empty string is not


def test_a_column_of_the_rows_keeps_its_name() -> None:
    sent = chunk(1, row(3, _line="x", b="y"), columns="_line b")
    header = next(as_csv(Teller(JOB, [sent]), [sent], [])).decode()
    assert header.startswith('"_line","b","_chunk","_type","__line",')


def test_chunks_without_rejects_add_no_column() -> None:
    sent = [chunk(1, row(2, b="y"), columns="b"), chunk(2, columns="other")]
    assert "other" not in next(as_csv(Teller(JOB, sent), sent, [])).decode()
