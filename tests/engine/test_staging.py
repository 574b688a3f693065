"""Staging of real files: both of its ways, every type of Parquet, and children that die of what they read."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import parquet, wait_for
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import (
    BOOLEAN,
    CHANGE_DATE,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    UNKNOWN,
    Column,
    ColumnType,
    CsvOptions,
    Cut,
    FileType,
    PushSpec,
    Reject,
    RejectCount,
    StageReport,
    decimal,
    fold,
)
from headrace.staging import Stager, StageTask, looking, story, writing
from headrace.staging import engine as child
from headrace.staging.looking import Seen, header

READER = duckdb.connect(config={"threads": "1"})
READER.execute("SET TimeZone = 'UTC'")


@dataclass
class Staged:
    report: StageReport
    rows: list[tuple[Any, ...]]
    columns: dict[str, str]
    rejects: list[dict[str, Any]]

    @property
    def reject_lines(self) -> list[int]:
        return [r["line"] for r in self.rejects]


def task_of(folder: Path, data: bytes, *wanted: Column, fixed: bool = False, **more: Any) -> StageTask:
    source = folder / "chunk"
    source.write_bytes(data)
    names = {fold(c.name): c for c in wanted}
    return StageTask(
        source=source,
        target=folder / "staging" / "chunk.parquet",
        rejects=folder / "chunk.rejects.ndjson",
        file_type=FileType.PARQUET if data.startswith(b"PAR1") else FileType.CSV,
        csv=more.pop("csv", CsvOptions()),
        wanted=names,
        fixed=frozenset(names if fixed else ()),
        keys=frozenset(more.pop("keys", ())),
        string_length=more.pop("string_length", None),
        strict_lengths=more.pop("strict_lengths", False),
        deletes=more.pop("deletes", False),
    )


class Chunks:
    """Stages chunks in this process, by an engine like that of a child."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, data: bytes | str, *wanted: Column, careful: bool = False, **more: Any) -> Staged:
        task = task_of(self.folder, data.encode() if isinstance(data, str) else data, *wanted, **more)
        with patch.object(writing, "_straight", lambda *_: None) if careful else patch.dict({}):
            report = story.stage(task)
        assert {p.name for p in task.target.parent.iterdir()} == {task.target.name}, "a scratch file is left"
        rejects = task.rejects.read_bytes().splitlines() if task.rejects.exists() else []
        found = Staged(report, *_read(task.target), [json.loads(line) for line in rejects])
        assert (found.report.rows, found.report.rejected) == (len(found.rows), len(found.rejects))
        first, shown = found.rejects[:10], [vars(r) for r in found.report.first_rejects]
        assert [{**r, "raw": ""} for r in shown] == [{**r, "raw": "", "base64": None} for r in first]
        assert all(s["raw"] == f["raw"] for s, f in zip(shown, first, strict=True) if len(f["raw"]) <= 2000)
        task.rejects.unlink(missing_ok=True)
        return found

    def both(self, data: bytes | str, *wanted: Column, **more: Any) -> Staged:
        """Staged twice, once by force on the careful way: there must be no difference."""
        usual, careful = self.stage(data, *wanted, **more), self.stage(data, *wanted, careful=True, **more)
        assert repr(careful) == repr(usual)
        return usual


def _read(path: Path) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
    relation = f"read_parquet('{path}', hive_partitioning = false)"
    described = READER.execute(f"DESCRIBE FROM {relation}").fetchall()
    return READER.execute(f"FROM {relation}").fetchall(), {name: type for name, type, *_ in described}


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with patch.object(child, "_memory_mb", 1024), patch.object(child, "_engine", None):
        child._new_engine()
        yield


@pytest.fixture
def chunks(tmp_path: Path) -> Chunks:
    return Chunks(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Chunks:
    """For properties: one folder for all examples."""
    return Chunks(tmp_path_factory.mktemp("chunks"))


# -- any table, both ways ------------------------------------------------------------------------------

Cell = tuple[str | None, Any, bool]
"""How a CSV spells it, what is stored, whether it can be."""

letters = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
moments = st.datetimes().map(lambda at: at.replace(fold=0))

SPELLED: dict[ColumnType, tuple[st.SearchStrategy[Any], Callable[[Any], str], list[str]]] = {
    STRING: (letters, str, []),
    INTEGER: (st.integers(-(2**63), 2**63 - 1), str, ["1.5", "x", "9223372036854775808"]),
    FLOAT: (st.floats(allow_nan=False, allow_infinity=False), repr, ["nan", "1,5", "x"]),
    decimal(18, 2): (st.decimals(-(10**15), 10**15, places=2), str, ["abc", "1_0"]),
    BOOLEAN: (st.booleans(), str, ["2", "maybe"]),
    DATE: (moments.map(datetime.date), str, ["29.02.2024", "20240229", "?"]),
    TIME: (st.times().map(lambda at: at.replace(fold=0)), str, ["12", "12:60:00"]),
    DATETIME: (moments, str, ["now", "2024-02-29 12"]),
}


@st.composite
def cells(draw: st.DrawFn, type: ColumnType, all_good: bool) -> Cell:
    values, spell, bad = SPELLED[type]
    kind = draw(st.sampled_from(["value", "value", "null", "value", "value" if all_good else "bad"]))
    if kind == "null":
        return None, None, True
    if kind == "bad" and bad:
        return draw(st.sampled_from(bad)), None, False
    value = draw(values)
    return spell(value), value, True


@dataclass
class CsvFile:
    columns: list[Column]
    data: bytes
    options: CsvOptions
    good: list[tuple[Any, ...]]
    bad_lines: list[int]


@st.composite
def csv_files(draw: st.DrawFn) -> CsvFile:
    """Records of several types, some of them bad, in any usual spelling of a file."""
    types = draw(st.lists(st.sampled_from(list(SPELLED)), min_size=2, max_size=4))
    all_good = draw(st.booleans())
    records = draw(st.lists(st.tuples(*(cells(t, all_good) for t in types)), max_size=12))
    widths = st.sampled_from([0] if all_good else [0, 0, 0, -1, 1])
    ending, separator = draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.sampled_from([",", ";", "\t"]))
    columns = [Column(f"c {n}", t) for n, t in enumerate(types)]
    lines = [separator.join(c.name for c in columns)]
    good, bad_lines, line = [], [], 2
    for record in records:
        fields = [_field(draw, text, separator) for text, *_ in record]
        extra = draw(widths)
        fields = fields[:-1] if extra < 0 else [*fields, "more"] if extra else fields
        text = separator.join(fields)
        lines.append(text)
        if text and (extra or not all(fine for *_, fine in record)):
            bad_lines.append(line)
        elif text:  # else a blank line
            good.append(tuple(value for _, value, _ in record))
        line += 1 + len(re.findall("\r\n|\r|\n", text))
    charset = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]))
    data = (ending.join(lines) + draw(st.sampled_from(["", ending]))).encode(charset, "surrogatepass")
    named = None if charset.startswith("utf-8") else charset
    return CsvFile(columns, data, CsvOptions(separator=separator, charset=named), good, bad_lines)


def _field(draw: st.DrawFn, text: str | None, separator: str) -> str:
    if text is None:
        return ""
    needs_quotes = not text or set(text) & set(f'"\r\n {separator}')
    quoted = needs_quotes or draw(st.booleans())
    return '"' + text.replace('"', '""') + '"' if quoted else text


@settings(max_examples=70, deadline=None)
@given(csv_files())
def test_any_csv_is_staged_whole(shared: Chunks, file: CsvFile) -> None:
    staged = shared.both(file.data, *file.columns, csv=file.options)
    assert repr(staged.rows) == repr(file.good)
    assert staged.reject_lines == file.bad_lines
    assert staged.report.columns == tuple(file.columns)


ARROW = {
    STRING: pa.string(),
    INTEGER: pa.int64(),
    FLOAT: pa.float64(),
    decimal(18, 2): pa.decimal128(18, 2),
    BOOLEAN: pa.bool_(),
    DATE: pa.date32(),
    TIME: pa.time64("us"),
    DATETIME: pa.timestamp("us"),
}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_parquet_is_staged_whole(shared: Chunks, data: st.DataObject) -> None:
    """Columns of text beside typed ones, both into the same types."""
    types = data.draw(st.lists(st.sampled_from(list(SPELLED)), min_size=1, max_size=4))
    rows = data.draw(st.lists(st.tuples(*(cells(t, False) for t in types)), max_size=12))
    arrays, wanted = {}, []
    for number, type in enumerate(types):
        column = [row[number] for row in rows]
        typed = all(fine for *_, fine in column) and data.draw(st.booleans())
        values = [value if typed else text for text, value, _ in column]
        arrays[f"c{number}"] = pa.array(values, ARROW[type] if typed else pa.string())
        wanted.append(Column(f"C{number}", type))
    staged = shared.both(parquet(pa.table(arrays)), *wanted)
    good = [tuple(value for _, value, _ in row) for row in rows if all(fine for *_, fine in row)]
    assert repr(staged.rows) == repr(good)
    assert staged.reject_lines == [n for n, row in enumerate(rows, 1) if not all(fine for *_, fine in row)]
    assert staged.report.columns == tuple(wanted)


# -- CSV, by example -----------------------------------------------------------------------------------

NUMBER = Column("n", INTEGER)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("charset", "mark"), [(None, b""), (None, codecs.BOM_UTF8), ("utf-16", codecs.BOM_UTF16_BE)]
)
def test_lines_are_those_of_the_file(chunks: Chunks, ending: str, charset: str | None, mark: bytes) -> None:
    lines = ["n,text", "1,a", '2,"x', '"', "bad,b", "", '3,"""', ',"', '"worse",c', "4", "5,d"]
    codec = "utf-16-be" if charset else "utf-8"
    data = mark + ending.join(lines).encode(codec)
    staged = chunks.both(data, NUMBER, csv=CsvOptions(charset=charset))
    assert staged.rows == [(1, "a"), (2, f"x{ending}"), (3, f'"{ending},'), (5, "d")]
    assert staged.reject_lines == [5, 9, 10]
    value, other, record = staged.report.first_rejects
    expected = "INTEGER (64 bit, no fraction)"
    places = [len(mark + (ending.join(lines[:n]) + ending).encode(codec)) for n in (4, 8, 9)]
    raw = '{"n":"bad","text":"b"}'
    assert value == Reject(5, "n", "bad", expected, "value-does-not-fit", raw, places[0])
    assert (other.value, other.byte_offset) == ("worse", places[1])
    assert record == Reject(10, None, None, "1 fields instead of 2", "too-few-fields", "4", places[2])


@pytest.mark.parametrize(
    ("charset", "line", "byte"), [("utf-8", "é,", 0xFF), ("cp1252", "é,", 0x81), ("shift_jis", "あ,", 0x82)]
)
def test_a_byte_that_the_charset_lacks_is_named(chunks: Chunks, charset: str, line: str, byte: int) -> None:
    head, start = 'n,t\n1,"x\ny"\n'.encode(charset), line.encode(charset)
    staged = chunks.both(head + start + bytes([byte]) + b"\n2,y\n", csv=CsvOptions(charset=charset))
    (reject,) = staged.report.first_rejects
    assert (reject.line, reject.code, reject.byte_offset) == (4, "undecodable", len(head))
    at = len(head + start)
    assert reject.expected == f"the byte 0x{byte:02X} at offset {at} is no text in this charset"


def test_only_the_first_ten_rejects_are_in_the_report(chunks: Chunks) -> None:
    staged = chunks.both("n,t\n" + "x,y\n" * 25 + "1,2\n", NUMBER)
    assert staged.reject_lines == list(range(2, 27))
    assert [r.line for r in staged.report.first_rejects] == list(range(2, 12))


def test_the_first_bad_column_of_a_row_is_named(chunks: Chunks) -> None:
    staged = chunks.both("a,b,c\n1,x,y\n", Column("c", INTEGER), Column("b", DATE))
    assert [(r.column, r.value) for r in staged.report.first_rejects] == [("b", "x")]


def test_a_long_bad_value_is_shown_in_part(chunks: Chunks) -> None:
    staged = chunks.both(f"n,t\n{'9' * 5000},a\n", NUMBER)
    assert staged.rejects[0]["value"] == "9" * 200


def test_a_row_is_kept_whole_up_to_a_mebibyte(chunks: Chunks) -> None:
    long = 1_048_540
    staged = chunks.both(f"n,t\nx,{'a' * long}\nx,{'a' * (long + 100)}\n", NUMBER)
    assert [(len(r["raw"]), r["whole"]) for r in staged.rejects] == [(long + 16, True), (2000, False)]
    assert json.loads(staged.report.first_rejects[0].raw or "") == {"n": "x", "t": "a" * 200}


def test_of_many_columns_the_report_shows_those_beside_the_bad_one(chunks: Chunks) -> None:
    names = [f"c{n}" for n in range(400)]
    line = ["x" if n == 200 else "value" for n in range(400)]
    staged = chunks.both(f"{','.join(names)}\n{','.join(line)}\n", Column("c200", INTEGER))
    assert list(json.loads(staged.report.first_rejects[0].raw or "")) == names[196:205]
    assert len(json.loads(staged.rejects[0]["raw"])) == 400


def test_rejects_are_counted_by_their_reason(chunks: Chunks) -> None:
    staged = chunks.both("n,t\nx,a\n1\ny,b\n2,c\n3,d,e\n1\n", NUMBER)
    assert staged.report.rejected_by == (
        RejectCount("value-does-not-fit", "n", 2),
        RejectCount("too-few-fields", None, 2),
        RejectCount("too-many-fields", None, 1),
    )
    assert staged.report.header == ("n", "t")


def test_strict_lengths_reject_what_would_be_cut(chunks: Chunks) -> None:
    data = "t,u\nabcd,äöüß\näöüßx,x\nabcdef,y\n,z\n"
    wanted = Column("t", STRING, 4)
    cut, strict = chunks.both(data, wanted), chunks.both(data, wanted, strict_lengths=True)
    assert (cut.report.cuts, cut.report.rejected) == ((Cut("t", 4, 2, 6),), 0)
    assert (strict.report.cuts, strict.report.overlong) == ((), (Cut("t", 4, 2, 6),))
    assert strict.rows == [("abcd", "äöüß"), (None, "z")]
    assert [(r["line"], r["column"], r["value"], r["expected"], r["code"]) for r in strict.rejects] == [
        (3, "t", "äöüßx", "at most 4 characters, not 5", "too-long-for-column"),
        (4, "t", "abcdef", "at most 4 characters, not 6", "too-long-for-column"),
    ]


def test_strict_lengths_hold_for_strings_without_a_length_of_their_own(chunks: Chunks) -> None:
    staged = chunks.both("a,b\nabc,xy\n", string_length=2, strict_lengths=True)
    assert [r["column"] for r in staged.rejects] == ["a"]


def test_strict_lengths_of_a_delete_chunk_are_those_of_its_keys(chunks: Chunks) -> None:
    data, more = "k,v\nab,toolong\nabc,x\n", {"keys": ["k"], "string_length": 2, "deletes": True}
    staged = chunks.both(data, strict_lengths=True, **more)
    assert (staged.rows, [r["column"] for r in staged.rejects]) == ([("ab", "to")], ["k"])


def test_bytes_that_are_no_text_make_a_row_that_cannot_be_sent_again(chunks: Chunks) -> None:
    rows = pa.table({"n": pa.array(["x", "y", "z"]), "b": pa.array(["é".encode(), None, b"\xff"])})
    staged = chunks.both(parquet(rows), NUMBER)
    assert [(json.loads(r["raw"]), r["whole"]) for r in staged.rejects] == [
        ({"n": "x", "b": "é"}, True),
        ({"n": "y", "b": None}, True),
        ({"n": "z", "b": "\\xFF"}, False),
    ]


@pytest.mark.parametrize("data", ["a,b", "a,b\n", "a,b\r\n\r\n", "\n\na,b"])
def test_no_rows(chunks: Chunks, data: str) -> None:
    staged = chunks.both(data, Column("B", INTEGER))
    assert staged.rows == []
    assert staged.columns == {"a": "VARCHAR", "B": "BIGINT"}


def test_empty_fields(chunks: Chunks) -> None:
    staged = chunks.both('t,n\n,\n"",""\n" "," "\n', NUMBER)
    assert staged.rows == [(None, None), ("", None), (" ", None)]
    assert chunks.both("t\na\n\nb\n").rows == [("a",), (None,), ("b",)]


def test_names_of_the_table_win(chunks: Chunks) -> None:
    staged = chunks.both("KUNNR,Größe,new\n1,2,3\n", Column("Kunnr", INTEGER), Column("GRÖßE", STRING))
    assert list(staged.columns) == ["Kunnr", "GRÖßE", "new"]


@pytest.mark.parametrize("name", ['a"b', "a.b", "_line", "c1", "select", "é😀", "a b", "column", "'"])
def test_odd_names(chunks: Chunks, name: str) -> None:
    field = '"' + name.replace('"', '""') + '"'
    staged = chunks.both(f"{field},n\nx,1\ny,bad\n", NUMBER)
    assert (list(staged.columns), staged.rows) == ([name, "n"], [("x", 1)])
    assert json.loads(staged.rejects[0]["raw"]) == {name: "y", "n": "bad"}


def test_30_february_is_a_reject(chunks: Chunks) -> None:
    staged = chunks.stage("day\n2024-02-29\n2024-02-30\n", Column("day", DATE))
    assert staged.rows == [(date(2024, 2, 29),)]
    assert staged.reject_lines == [3]


# -- strings that are cut ------------------------------------------------------------------------------


def test_cuts_are_counted_in_characters(chunks: Chunks) -> None:
    data = "short,whole\nééé,ééé\nabcdefgh,abcdefgh\n😀😀😀😀,x\n,\n"
    staged = chunks.both(data, Column("short", STRING, 3))
    assert staged.rows == [("ééé", "ééé"), ("abc", "abcdefgh"), ("😀😀😀", "x"), (None, None)]
    assert staged.report.cuts == (Cut("short", 3, 2, 8),)
    assert staged.report.columns == (Column("short", STRING, 3), Column("whole", STRING))


def test_a_length_for_every_string(chunks: Chunks) -> None:
    wanted = Column("a", STRING, 5), Column("n", INTEGER)
    staged = chunks.both("a,b,n\n123456,123456,123456\n", *wanted, string_length=2)
    assert staged.rows == [("12345", "12", 123456)]
    assert staged.report.cuts == (Cut("a", 5, 1, 6), Cut("b", 2, 1, 6))


def test_rejected_rows_are_not_cut(chunks: Chunks) -> None:
    staged = chunks.both("a,n\n123456,x\n123,1\n", NUMBER, string_length=2)
    assert staged.report.cuts == (Cut("a", 2, 1, 3),)


def test_parquet_is_cut_too(chunks: Chunks) -> None:
    staged = chunks.both(parquet({"a": ["ab", "ééé", None], "b": [b"abc", b"a", None]}), string_length=2)
    assert staged.rows == [("ab", "ab"), ("éé", "a"), (None, None)]
    assert staged.report.cuts == (Cut("a", 2, 1, 3), Cut("b", 2, 1, 3))


# -- notes ---------------------------------------------------------------------------------------------


def test_the_files_own_change_date_is_not_used(chunks: Chunks) -> None:
    for name in (CHANGE_DATE, CHANGE_DATE.lower()):
        staged = chunks.both(f"n,{name}\n1,2024-01-01\n2,x\n", NUMBER)
        assert (list(staged.columns), staged.rows) == (["n"], [(1,), (2,)])
        note = f"The column {name} of the file is not used: Headrace sets it at the commit."
        assert staged.report.notes == (note,)
        assert chunks.both(parquet({"n": [1], name: ["x"]})).report.notes == (note,)


AMOUNTS = [
    (["1.5", "2.25"], decimal(18, 2), ()),
    (["1.50000", "x"], decimal(18, 2), ()),
    (["12345678901234567.5"], decimal(38, 2), ("DECIMAL(18,2)", "DECIMAL(38,2)")),
    (["1.255", "12345678901234567.5"], decimal(38, 3), ("DECIMAL(18,2)", "DECIMAL(38,3)")),
    (["1e40", "0.5", "1e-40"], FLOAT, ("DECIMAL(18,2)", "FLOAT")),
]


@pytest.mark.parametrize(("texts", "type", "change"), AMOUNTS)
def test_amounts_with_more_digits_widen_a_new_column(
    chunks: Chunks, texts: list[str], type: ColumnType, change: tuple[str, str]
) -> None:
    declared = Column("v", decimal(18, 2))
    staged = chunks.both("k,v\n" + "".join(f"1,{text}\n" for text in texts), declared)
    assert staged.report.columns[1].type == type
    assert staged.report.rejected == texts.count("x")
    assert [float(v) for _, v in staged.rows] == [float(text) for text in texts if text != "x"]
    notes = tuple(
        f"The column v holds values that do not fit {before}: stored as {after}."
        for before, after in ([change] if change else [])
    )
    assert staged.report.notes == notes


@pytest.mark.parametrize(
    "texts",
    [
        ["0.1", "12345678901234567.5"],
        ["1.255", "12345678901234567.55"],
        ["0.1234567890123456789"],
        ["1" * 37, "0.01"],
        ["1" * 37, "0.01", "1e40"],
        ["1e40", "0.12345678901234567"],
        ["1e40", "0.123456789012345678"],
        ["0." + "1" * 37, "-1"],
    ],
)
def test_no_amount_is_rounded(chunks: Chunks, texts: list[str]) -> None:
    """What no DECIMAL and no FLOAT holds is a reject."""
    declared = Column("v", decimal(18, 2))
    staged = chunks.both("k,v\n" + "".join(f"1,{text}\n" for text in texts), declared)
    wanted = [Decimal(text) for number, text in enumerate(texts, 2) if number not in staged.reject_lines]
    assert [Decimal(str(value)) for _, value in staged.rows] == wanted


def test_a_column_of_the_table_stays_as_it_is(chunks: Chunks) -> None:
    staged = chunks.both("k,v\n1,1.5\n1,1.255\n", Column("v", decimal(18, 2)), fixed=True)
    assert (staged.rows, staged.reject_lines) == ([("1", Decimal("1.50"))], [3])


def test_rejects_of_an_earlier_try_are_forgotten(tmp_path: Path) -> None:
    bad = task_of(tmp_path, b"n,t\nx,y\n", NUMBER)
    assert story.stage(bad).rejected == 1
    assert story.stage(task_of(tmp_path, b"n,t\nx,y\n")).rejected == 0
    assert not bad.rejects.exists()


# -- large ---------------------------------------------------------------------------------------------


def test_a_thousand_columns(chunks: Chunks) -> None:
    names = [f"c{n:03}" for n in range(1000)]
    lines = [",".join(names), *(",".join(f"{row}" for _ in names) for row in range(5))]
    staged = chunks.both("\n".join([*lines, "x" + "," * 999]), Column("c000", INTEGER))
    assert list(staged.columns) == names
    assert staged.rows[4] == (4, *["4"] * 999)
    assert (len(staged.rows), staged.reject_lines) == (5, [7])
    assert len(chunks.both(parquet({name: [1, None] for name in names})).columns) == 1000


@pytest.mark.parametrize("quoted", [False, True])
def test_a_cell_of_20_mb(chunks: Chunks, quoted: bool) -> None:
    cell = ("x," * 200 + "\n") * 50_000 if quoted else "x" * 20_000_000
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([["n", "text"], [1, "a"], [2, cell], [3, "b"]])
    staged = chunks.stage(file.getvalue(), NUMBER)
    assert [(n, len(text)) for n, text in staged.rows] == [(1, 1), (2, len(cell)), (3, 1)]
    cut = chunks.stage(file.getvalue(), NUMBER, string_length=4)
    assert cut.report.cuts == (Cut("text", 4, 1, len(cell)),)


@pytest.mark.parametrize(("before", "cell", "after"), [(1 << 19, 3 << 20, 50), (1, 33 << 20, 0)])
def test_no_row_is_lost_behind_a_long_one(chunks: Chunks, before: int, cell: int, after: int) -> None:
    row = b"1," + b"y" * 61 + b"\n"  # 64 bytes: half a million of them fill a buffer
    staged = chunks.stage(b"n,t\n" + row * before + b"2," + b"x" * cell + b"\n" + row * after, NUMBER)
    assert staged.report.rows + staged.report.rejected == before + 1 + after


def test_a_parquet_cell_of_20_mb(chunks: Chunks) -> None:
    staged = chunks.both(parquet({"n": ["1", "x"], "text": ["a", "é" * 10_000_000]}), NUMBER)
    assert (staged.rows, staged.reject_lines) == ([(1, "a")], [2])


# -- types of Parquet ----------------------------------------------------------------------------------

NOON = datetime(2024, 2, 29, 12, 0, 0, 123456)
BERLIN = timezone(timedelta(hours=1))


def arrow(type: pa.DataType, *values: Any) -> pa.Array:
    return pa.array([*values, None], type)


PARQUET_TYPES: list[tuple[str, pa.Array, ColumnType, Any]] = [
    *((f"int{n}", arrow(getattr(pa, f"int{n}")(), -(2 ** (n - 1))), INTEGER, None) for n in (8, 16, 32, 64)),
    *((f"uint{n}", arrow(getattr(pa, f"uint{n}")(), 2**n - 1), INTEGER, None) for n in (8, 16, 32)),
    ("uint64", arrow(pa.uint64(), 2**64 - 1), decimal(20, 0), Decimal(2**64 - 1)),
    ("half", arrow(pa.float16(), 0.5), FLOAT, None),
    ("float", arrow(pa.float32(), 0.5), FLOAT, None),
    ("double", arrow(pa.float64(), 0.1), FLOAT, None),
    ("infinite", arrow(pa.float64(), float("inf")), FLOAT, None),
    ("small decimal", arrow(pa.decimal128(5, 2), Decimal("1.25")), decimal(5, 2), None),
    ("decimal", arrow(pa.decimal128(38, 10), Decimal("1.5")), decimal(38, 10), Decimal("1.5000000000")),
    ("bool", arrow(pa.bool_(), True), BOOLEAN, None),
    ("date", arrow(pa.date32(), date(2024, 2, 29)), DATE, None),
    ("date64", arrow(pa.date64(), date(2024, 2, 29)), DATE, None),
    ("time ms", arrow(pa.time32("ms"), time(12, 0, 0, 123000)), TIME, None),
    ("time us", arrow(pa.time64("us"), time(12, 0, 0, 123456)), TIME, None),
    ("time ns", arrow(pa.time64("ns"), time(12, 0, 0, 123456)), TIME, None),
    ("s", arrow(pa.timestamp("s"), NOON.replace(microsecond=0)), DATETIME, None),
    ("ms", arrow(pa.timestamp("ms"), NOON.replace(microsecond=123000)), DATETIME, None),
    ("us", arrow(pa.timestamp("us"), NOON), DATETIME, None),
    ("ns", arrow(pa.timestamp("ns"), NOON), DATETIME, NOON),
    (
        "zone",
        arrow(pa.timestamp("us", "Europe/Berlin"), NOON.replace(tzinfo=BERLIN)),
        DATETIME,
        NOON.replace(hour=11),
    ),
    ("zone ns", arrow(pa.timestamp("ns", "UTC"), NOON), DATETIME, NOON),
    ("string", arrow(pa.string(), "é"), STRING, None),
    ("large string", arrow(pa.large_string(), "é"), STRING, None),
    ("binary", arrow(pa.binary(), "é".encode()), STRING, "é"),
    ("fixed binary", arrow(pa.binary(2), b"ab"), STRING, "ab"),
    ("dictionary", arrow(pa.string(), "a", "b").dictionary_encode(), STRING, None),
    ("binary dictionary", arrow(pa.binary(), b"a").dictionary_encode(), STRING, "a"),
    ("list", arrow(pa.list_(pa.int32()), [1, None]), STRING, "[1,null]"),
    ("struct", arrow(pa.struct([("a", pa.int32())]), {"a": 1}), STRING, '{"a":1}'),
    ("map", arrow(pa.map_(pa.string(), pa.int32()), [("k", 1)]), STRING, '{"k":1}'),
    ("uuid", arrow(pa.uuid(), b"\0" * 15 + b"\1"), STRING, "00000000-0000-0000-0000-000000000001"),
]


@pytest.mark.parametrize(
    ("array", "type", "stored"), [t[1:] for t in PARQUET_TYPES], ids=[t[0] for t in PARQUET_TYPES]
)
def test_a_parquet_type_becomes(chunks: Chunks, array: pa.Array, type: ColumnType, stored: Any) -> None:
    staged = chunks.both(parquet(pa.table({"v": array, "k": [1] * len(array)})))
    assert staged.report.columns[0] == Column("v", type)
    first, last = staged.rows[0][0], staged.rows[-1][0]
    expected = array[0].as_py() if stored is None else stored
    assert (repr(first), last) == (repr(expected), None)


def test_int96(chunks: Chunks) -> None:
    data = parquet(pa.table({"v": arrow(pa.timestamp("us"), NOON)}), use_deprecated_int96_timestamps=True)
    assert chunks.both(data).rows == [(NOON,), (None,)]


@pytest.mark.parametrize("precision", [39, 50, 60])
def test_a_decimal_of_more_than_38_digits_is_right_or_refused(chunks: Chunks, precision: int) -> None:
    data = parquet(pa.table({"v": pa.array([Decimal("1.25")], pa.decimal256(precision, 2))}))
    try:
        found = chunks.stage(data).rows
    except ChunkFailed:
        return
    assert found in ([(1.25,)], [])


def test_digits_beyond_microseconds_are_dropped(chunks: Chunks) -> None:
    late = pa.array([1_709_208_000_123_456_999], pa.timestamp("ns"))
    assert chunks.both(parquet(pa.table({"v": late}))).rows == [(NOON,)]


def test_binary_that_is_no_text_is_a_reject(chunks: Chunks) -> None:
    staged = chunks.both(parquet({"v": [b"a", b"\xff", None]}))
    assert (staged.rows, staged.reject_lines) == ([("a",), (None,)], [2])
    assert staged.report.first_rejects[0].expected == "text in UTF-8"


def test_columns_without_a_value_are_left_out(chunks: Chunks) -> None:
    table = pa.table({"a": pa.nulls(2), "b": [1, 2], "c": pa.nulls(2)})
    staged = chunks.both(parquet(table), Column("C", DATE))
    assert staged.report.columns == (Column("a", UNKNOWN), Column("b", INTEGER), Column("C", DATE))
    assert staged.columns == {"b": "BIGINT", "C": "DATE"}
    only = chunks.both(parquet(pa.table({"a": pa.nulls(2)})))
    assert (only.rows, only.report.columns) == ([(None,), (None,)], (Column("a", UNKNOWN),))


def test_a_key_without_a_value_stays(chunks: Chunks) -> None:
    staged = chunks.both(parquet(pa.table({"A": pa.nulls(2), "b": [1, 2]})), keys=["a"])
    assert staged.rows == [(None, 1), (None, 2)]
    assert staged.report.columns == (Column("A", UNKNOWN), Column("b", INTEGER))


def test_parquet_without_rows(chunks: Chunks) -> None:
    table = pa.table({"a": pa.array([], pa.int32()), "b": pa.array([], pa.string())})
    staged = chunks.both(parquet(table))
    assert (staged.rows, staged.columns) == ([], {"a": "BIGINT", "b": "VARCHAR"})


def test_many_row_groups_keep_their_order(chunks: Chunks) -> None:
    numbers = [str(n) if n % 1000 else "x" for n in range(1, 20_001)]
    staged = chunks.both(parquet({"n": numbers}, row_group_size=1500), NUMBER)
    assert [n for (n,) in staged.rows] == [n for n in range(1, 20_001) if n % 1000]
    assert staged.reject_lines == list(range(1000, 20_001, 1000))


@pytest.mark.parametrize("name", ["file_row_number", "_line", "filename", 'a"b', "a.b", "é😀"])
def test_odd_names_in_parquet(chunks: Chunks, name: str) -> None:
    staged = chunks.both(parquet({name: ["x", "y"], "n": ["1", "bad"]}), NUMBER)
    assert (list(staged.columns), staged.rows) == ([name, "n"], [("x", 1)])
    assert staged.rejects[0]["line"] == 2
    assert json.loads(staged.rejects[0]["raw"]) == {name: "y", "n": "bad"}


# -- what cannot be read -------------------------------------------------------------------------------


def test_a_file_of_nothing_but_the_change_date(chunks: Chunks) -> None:
    with pytest.raises(ChunkFailed, match=CHANGE_DATE):
        chunks.stage(f"{CHANGE_DATE}\n2024-01-01\n")


def test_a_failed_try_leaves_nothing(tmp_path: Path) -> None:
    task = task_of(tmp_path, parquet({"a": [1, 2]})[:-9] + b"\0" * 5 + b"PAR1")
    with pytest.raises(ChunkFailed) as caught:
        story.stage(task)
    assert list(task.target.parent.iterdir()) == []
    assert str(tmp_path) not in caught.value.message


def test_headers() -> None:
    def names(text: str, **options: Any) -> list[str]:
        return header(text.encode(), complete=True, csv=CsvOptions(**options))

    assert names("a,,  ,d") == ["a", "column_2", "column_3", "d"]
    assert names(' a ;"b;c"', separator=";") == ["a", "b;c"]
    assert names("x" * 20_000 + ",b\n") == ["x" * 20_000, "b"]
    for twice in ("a,A", "straße,STRASSE", "column_2,"):
        with pytest.raises(ChunkUnreadable, match="twice"):
            names(twice)
    for unreadable in ("", "\n\n", '"a'):
        with pytest.raises(ChunkUnreadable):
            names(unreadable)
    with pytest.raises(ChunkUnreadable):
        names("a,b", charset="no such thing")
    with pytest.raises(ChunkUnreadable, match="no header line"):
        header(b"x" * looking.HEAD_BYTES, complete=False, csv=CsvOptions())


# -- in a child ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stager() -> Iterator[Stager]:
    running = Stager(processes=1, memory_mb=256, seconds=60)
    yield running
    running.close()


GOOD = b"n,t\n1,a\n"


def outcome(stager: Stager, task: StageTask) -> int | str:
    """Rows, or why there are none; any other error is the test's failure."""
    try:
        return stager.stage(task).rows
    except ChunkFailed as error:
        return error.message


def test_damaged_parquet_ends_one_chunk_at_most(stager: Stager, tmp_path: Path) -> None:
    names = ["text", "number", "list", "at"]
    columns = [[f"text {n}" for n in range(200)], list(range(200)), [[n] for n in range(200)], [NOON] * 200]
    table = dict(zip(names, columns, strict=True))
    variants = [parquet(table, compression=c, row_group_size=50) for c in ("none", "snappy", "zstd")]
    spec = PushSpec("t")
    for number in range(100):
        dice = random.Random(number)
        data = damaged(dice.choice(variants), dice)
        task = task_of(tmp_path, data, Column("text", STRING), string_length=5)
        found = outcome(stager, task)
        assert isinstance(found, str) or 0 <= found <= 10_000, number
        try:
            stager.look(task.source, spec)
        except ChunkUnreadable:
            assert isinstance(found, str), number
    assert outcome(stager, task_of(tmp_path, variants[0])) == 200


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Still with its magic in front."""
    if dice.random() < 0.2:
        return data[: dice.randrange(4, len(data))]
    spoiled = bytearray(data)
    footer = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    low = footer if dice.random() < 0.5 else 4
    for _ in range(dice.choice([1, 1, 3, 20])):
        spoiled[dice.randrange(low, len(data))] = dice.randrange(256)
    return bytes(spoiled)


def test_a_child_that_lacks_memory_is_followed_by_another(stager: Stager, tmp_path: Path) -> None:
    """Twice, then the chunk is told; the next one has its memory for itself."""
    before = child_of(stager, tmp_path)
    hungry = parquet(pa.table({"t": ["x" * 300_000_000]}), compression="zstd", use_dictionary=False)
    (tmp_path / "hungry").mkdir()
    assert "memory" in str(outcome(stager, task_of(tmp_path / "hungry", hungry)))
    assert child_of(stager, tmp_path) != before


def test_a_very_wide_chunk_leaves_a_fresh_child(tmp_path: Path) -> None:
    """Its address space would be lacking for the next one, though all of it has been freed."""
    stager = Stager(processes=1, memory_mb=2048, seconds=60)
    try:
        before = child_of(stager, tmp_path)
        (tmp_path / "wide").mkdir()
        header = ",".join(f"c{n}" for n in range(10_000))
        wide = "\n".join([header, *[",".join(["x" * 20] * 10_000)] * 30])
        assert outcome(stager, task_of(tmp_path / "wide", wide.encode())) == 30
        assert child_of(stager, tmp_path) != before
    finally:
        stager.close()


def child_of(stager: Stager, folder: Path) -> int:
    """The one child, which stages a small chunk and stays."""
    (folder / "small").mkdir(exist_ok=True)
    assert outcome(stager, task_of(folder / "small", GOOD, NUMBER)) == 1
    (pid,) = stager._stagers.pids()
    return pid


@dataclass
class Held:
    """A chunk whose bytes do not come: its child waits in the middle of its task."""

    stager: Stager
    task: StageTask

    def kill(self, then: bytes | None = None) -> None:
        """Kill the child when it reads, having put another file in the place of the one it reads."""
        pipe = os.open(self.task.source, os.O_WRONLY)  # returns when the child has opened it
        (pid,) = self.stager._stagers.pids()
        if then is not None:
            other = self.task.source.with_name("other")
            other.write_bytes(then)
            other.rename(self.task.source)
        os.kill(pid, signal.SIGKILL)
        os.close(pipe)
        wait_for(lambda: pid not in self.stager._stagers.pids())


@pytest.fixture
def held(stager: Stager, tmp_path: Path) -> Held:
    task = task_of(tmp_path, GOOD, NUMBER)
    task.source.unlink()
    os.mkfifo(task.source)
    return Held(stager, task)


def test_a_child_that_is_killed_gets_its_chunk_a_second_try(held: Held) -> None:
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(outcome, held.stager, held.task)
        held.kill(then=GOOD)
        assert found.result(30) == 1


def test_a_child_that_dies_twice_ends_its_chunk_and_no_other(held: Held, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    after = task_of(tmp_path / "next", GOOD, NUMBER)
    with ThreadPoolExecutor(2) as threads:
        found = threads.submit(outcome, held.stager, held.task)
        held.kill()
        waiting = threads.submit(outcome, held.stager, after)
        held.kill()
        assert "ended with code -9" in str(found.result(30))
        assert waiting.result(30) == 1
    assert list(held.task.target.parent.glob("*.parquet")) == []


def test_a_chunk_that_takes_too_long_ends(tmp_path: Path) -> None:
    task = task_of(tmp_path, GOOD)
    task.source.unlink()
    os.mkfifo(task.source)
    impatient = Stager(processes=1, memory_mb=256, seconds=1)
    try:
        assert outcome(impatient, task) == "Reading it took longer than staging_seconds."
        assert outcome(impatient, task_of(tmp_path / "..", GOOD, NUMBER)) == 1
    finally:
        impatient.close()


def look(stager: Stager, folder: Path, names: list[str]) -> list[str]:
    path = folder / "file.parquet"
    path.write_bytes(parquet(pa.Table.from_arrays([pa.array([1])] * len(names), names)))
    return stager.look(path, PushSpec("t")).columns


def test_names_of_parquet(stager: Stager, tmp_path: Path) -> None:
    assert look(stager, tmp_path, ["a", "B c", "é😀"]) == ["a", "B c", "é😀"]
    with pytest.raises(ChunkUnreadable, match="10000 columns; this chunk has 10001"):
        look(stager, tmp_path, [f"c{n}" for n in range(10_001)])


@pytest.mark.parametrize("names", [["a", "A"], ["a", "a"]])
def test_the_same_name_twice_in_parquet_is_refused(stager: Stager, tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ChunkUnreadable, match="twice"):
        look(stager, tmp_path, names)


def test_a_column_of_parquet_without_a_name(stager: Stager, tmp_path: Path) -> None:
    assert look(stager, tmp_path, ["a", ""]) == ["a", "column_2"]


def test_looking_needs_no_free_child(held: Held, tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    path.write_bytes(parquet({"a": [1], "b": [2]}))
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(outcome, held.stager, held.task)
        assert held.stager.look(path, PushSpec("t")) == Seen(FileType.PARQUET, ["a", "b"])
        held.kill(then=GOOD)
        assert found.result(30) == 1
