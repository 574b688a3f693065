"""NDJSON, line by line: no digit lost, every bad line named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import (
    CHANGE_DATE,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    Column,
    Cut,
    FileType,
    decimal,
)
from headrace.staging import jsonrecords
from headrace.staging.ndjsonfiles import MOST_KEYS, ndjson_columns
from stagings import Staged, stage, staging_engine


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with staging_engine():
        yield


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chunks")


def ndjson(folder: Path, text: str | bytes, *wanted: Column, **more: Any) -> Staged:
    data = text.encode() if isinstance(text, str) else text
    return stage(folder, FileType.NDJSON, data, *wanted, **more)


def column(folder: Path, *values: str) -> tuple[str, list[Any]]:
    """The type that a column of these spelled values gets, and the values stored."""
    staged = ndjson(folder, "".join(f'{{"k": 1, "v": {value}}}\n' for value in values))
    assert staged.rejects == []
    return staged.types["v"], [row[1] if len(row) > 1 else None for row in staged.rows]


D = Decimal
BIG = 2**63

TYPES: list[tuple[list[str], str, list[Any]]] = [
    (["1", "-1", "null"], "INTEGER", [1, -1, None]),
    (["0", "-0", str(BIG - 1), str(-BIG)], "INTEGER", [0, 0, BIG - 1, -BIG]),
    (["1", str(BIG)], "DECIMAL(38,0)", [D(1), D(BIG)]),
    (["9" * 38, "-" + "9" * 38], "DECIMAL(38,0)", [D("9" * 38), D("-" + "9" * 38)]),
    (["9" * 39, "1"], "STRING", ["9" * 39, "1"]),
    (["0.1", "1.5", "2"], "FLOAT", [0.1, 1.5, 2.0]),
    (["1.0"], "FLOAT", [1.0]),
    (["1e3", "1E-3", "-2.5e+2"], "FLOAT", [1000.0, 0.001, -250.0]),
    (["123456789012345e10"], "FLOAT", [123456789012345e10]),
    (["0.123456789012345"], "FLOAT", [0.123456789012345]),
    (["0.1234567890123456"], "DECIMAL(38,16)", [D("0.1234567890123456")]),
    (["12345678901234567", "0.5"], "DECIMAL(38,1)", [D("12345678901234567.0"), D("0.5")]),
    (["123456789012345678.25", "-1"], "DECIMAL(38,2)", [D("123456789012345678.25"), D("-1.00")]),
    (["1" * 30 + ".5", "0." + "1" * 10], "STRING", ["1" * 30 + ".5", "0." + "1" * 10]),
    (["1e400", "1"], "STRING", ["1e400", "1"]),
    (["1e-5000"], "STRING", ["1e-5000"]),
    (["9" * 5000], "STRING", ["9" * 5000]),
    (["true", "false", "null"], "BOOLEAN", [True, False, None]),
    (["true", "1"], "STRING", ["true", "1"]),
    (['"a"', '"007"', '""'], "STRING", ["a", "007", ""]),
    (['"a"', "1.10", "true"], "STRING", ["a", "1.10", "true"]),
    (["null", "null"], "UNKNOWN", [None, None]),
    (
        ['{"a": 1.10, "a": 2}', '[1,  2.50,"x"]', "[]"],
        "STRING",
        ['{"a": 1.10, "a": 2}', '[1,  2.50,"x"]', "[]"],
    ),
    (['"a\\u0000b\\n\\u00e9\\ud83d\\ude00"'], "STRING", ["a\0b\né😀"]),
    (['["\\ud800"]'], "STRING", ['["\\ud800"]']),
]


@pytest.mark.parametrize(("values", "type", "stored"), TYPES, ids=[t[0][0][:20] for t in TYPES])
def test_a_column_gets_the_type_of_all_its_values(
    tmp_path: Path, values: list[str], type: str, stored: list[Any]
) -> None:
    found_type, found = column(tmp_path, *values)
    assert (found_type, repr(found)) == (type, repr(stored))


numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(-(10**9), 10**9, places=4).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@settings(max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=6))
def test_no_digit_of_a_number_is_lost(shared: Path, values: list[str]) -> None:
    """What a column of numbers holds says the same as its text: as a FLOAT in its shortest spelling."""
    type, stored = column(shared, *values)
    for text, value in zip(values, stored, strict=True):
        exact = D(repr(value)) if type == "FLOAT" else D(value)
        assert exact == D(text), type


texts = st.text(st.characters(codec="utf-8"), max_size=8)
leaves = st.one_of(st.none(), st.booleans(), st.integers(-100, 100), texts)
keys = st.sampled_from(["a", "b", "ä b", 'q"', "_line", "c0", "select"])
objects = st.dictionaries(keys, st.one_of(leaves, st.lists(leaves, max_size=2)), min_size=1, max_size=4)


@settings(max_examples=80)
@given(st.lists(objects, min_size=1, max_size=8), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_any_objects_are_staged_whole(
    shared: Path, records: list[dict[str, Any]], escaped: bool, ending: str
) -> None:
    lines = [json.dumps(record, ensure_ascii=escaped) for record in records]
    staged = ndjson(shared, ending.join(lines))
    kinds = {c.name: str(c.type) for c in staged.report.columns}
    names = list(dict.fromkeys(key for record in records for key in record))
    assert list(kinds) == names
    stored = [name for name in names if kinds[name] != "UNKNOWN"] or names
    expected = [tuple(_cell(record.get(name), kinds[name], escaped) for name in stored) for record in records]
    assert staged.rows == expected


def _cell(value: Any, kind: str, escaped: bool) -> Any:
    if value is None or kind != "STRING" or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=escaped) if isinstance(value, list) else str(value).lower()


def test_keys_that_come_late_or_not_at_all(tmp_path: Path) -> None:
    lines = ['{"a": 1}', '{"b": "x", "a": 2}', "{}", '{"A": 3, "c": true}']
    staged = ndjson(tmp_path, "\n".join(lines))
    assert staged.types == {"a": "INTEGER", "b": "STRING", "c": "BOOLEAN"}
    assert staged.rows == [(1, None, None), (2, "x", None), (None, None, None), (3, None, True)]


def test_keys_that_come_in_a_later_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.staging.ndjsonfiles._ROWS_A_BATCH", 3)
    lines = [json.dumps({"n": n} | ({f"x{n % 7}": n} if n > 4 else {})) for n in range(40)]
    staged = ndjson(tmp_path, "\n".join([*lines[:20], "oops", *lines[20:]]))
    assert [row[0] for row in staged.rows] == list(range(40))
    assert list(staged.types) == ["n", "x5", "x6", "x0", "x1", "x2", "x3", "x4"]
    assert all(row[1 + [5, 6, 0, 1, 2, 3, 4].index(n % 7)] == n for n, row in enumerate(staged.rows) if n > 4)
    assert [(r["line"], r["byte_offset"]) for r in staged.rejects] == [(21, len("\n".join(lines[:20])) + 1)]


def test_a_schema_reads_text_as_from_a_csv(tmp_path: Path) -> None:
    wanted = [
        Column("i", INTEGER),
        Column("d", DATE),
        Column("s", STRING, 3),
        Column("m", decimal(18, 2)),
        Column("f", FLOAT),
    ]
    lines = [
        '{"i": 1, "d": "2024-02-29", "s": 12345, "m": 1.10, "f": 0.1234567890123456789}',
        '{"i": "7", "d": null, "s": "ab", "m": "2.5", "f": 1}',
        '{"i": 1.5, "d": "2024-02-29", "s": null, "m": 1, "f": 1}',
        '{"i": 1, "d": "2024-02-30", "s": null, "m": 1, "f": 1}',
        '{"i": "", "d": "", "s": "", "m": "", "f": ""}',
    ]
    staged = ndjson(tmp_path, "\n".join(lines), *wanted)
    assert staged.rows == [
        (1, date(2024, 2, 29), "123", D("1.10"), 0.12345678901234568),
        (7, None, "ab", D("2.50"), 1.0),
        (None, None, "", None, None),
    ]
    assert [(r["line"], r["column"], r["value"]) for r in staged.rejects] == [
        (3, "i", "1.5"),
        (4, "d", "2024-02-30"),
    ]
    assert staged.report.cuts == (Cut("s", 3, 1, 5),)


def test_a_column_without_a_value_takes_the_declared_type(tmp_path: Path) -> None:
    staged = ndjson(tmp_path, '{"at": null, "n": 1}', Column("AT", DATETIME))
    assert staged.types == {"AT": "DATETIME", "n": "INTEGER"}


def test_the_change_date_of_a_file_is_not_used(tmp_path: Path) -> None:
    staged = ndjson(tmp_path, json.dumps({CHANGE_DATE: "x", "n": 1}))
    assert (staged.rows, len(staged.report.notes)) == ([(1,)], 1)


BAD = [
    (b"oops", "malformed-json", "Expecting value"),
    (b'{"a": 1', "malformed-json", "delimiter"),
    (b'{"a": 1} {"a": 2}', "malformed-json", "Extra data"),
    (b'{"a": 1,}', "malformed-json", "property name"),
    (b'{"a": 01}', "malformed-json", "delimiter"),
    (b'{"a": NaN}', "malformed-json", "NaN is no JSON number"),
    (b'{"a": [Infinity]}', "malformed-json", "Infinity is no JSON number"),
    (b"{'a': 1}", "malformed-json", "property name"),
    (b'{"a": "x\ty"}', "malformed-json", "control character"),
    (b'{"a": 1, "b": 2, "a": 3}', "malformed-json", "the key 'a' stands there twice"),
    (b'{"new": 1, "NEW": 3}', "malformed-json", "the key 'NEW' stands there twice"),
    (b'{"": 1}', "malformed-json", "a key is empty"),
    (b'{"a": "\\ud800"}', "malformed-json", "half a character"),
    (b'{"\\udfff": 1}', "malformed-json", "half a character"),
    (b"[1]", "malformed-json", "no object"),
    (b'"text"', "malformed-json", "no object"),
    (b"null", "malformed-json", "no object"),
    (b'{"a": ' + b"[" * 100_000, "malformed-json", "nested too deeply"),
    (b'{"a": "\xff"}', "undecodable", "byte 29 of the file is no UTF-8"),
]


@pytest.mark.parametrize(("line", "code", "words"), BAD, ids=[str(b[0][:20]) for b in BAD])
def test_a_bad_line_is_a_reject_and_no_other(tmp_path: Path, line: bytes, code: str, words: str) -> None:
    staged = ndjson(tmp_path, b'{"a": 1}\r\n\n  \n{"a":2}' + b"\n" + line + b'\n{"a": 3}')
    assert staged.rows == [(1,), (2,), (3,)]
    assert staged.types == {"a": "INTEGER"}
    [reject] = staged.rejects
    assert (reject["line"], reject["byte_offset"], reject["code"]) == (5, 22, code)
    assert words.lower() in reject["expected"].lower()
    assert reject["raw"] == line.decode("utf-8", "replace")[:2000]


def test_lines_of_ten_megabytes(tmp_path: Path) -> None:
    text = "é" * 5_000_000
    staged = ndjson(
        tmp_path, "\n".join(json.dumps({"n": n, "t": text}, ensure_ascii=False) for n in range(3))
    )
    assert [(n, len(t)) for n, t in staged.rows] == [(n, 5_000_000) for n in range(3)]


def test_a_line_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrecords, "LONGEST_LINE", 1000)
    long = '{"a": "' + "x" * 3_000_000 + '"}'
    staged = ndjson(tmp_path, f'{{"a": "1"}}\n{long}\n{{"a": "2"}}\n{long}')
    assert staged.rows == [("1",), ("2",)]
    assert [(r["line"], r["code"]) for r in staged.rejects] == [(2, "too-long"), (4, "too-long")]
    assert staged.rejects[1]["byte_offset"] == 11 + len(long) + 1 + 11


def test_a_bad_value_says_where_its_line_begins(tmp_path: Path) -> None:
    lines = [b'{"a": 1}', b"", b"no record", b'{"a": "x"}', b'{"a": 2}', b'{"a": "y"}']
    wanted = Column("a", INTEGER)
    staged = ndjson(tmp_path, b"\xef\xbb\xbf" + b"\n".join(lines), wanted)
    assert staged.rows == [(1,), (2,)]
    assert [(r["line"], r["byte_offset"]) for r in staged.rejects] == [(3, 13), (4, 23), (6, 43)]


def test_nothing_but_bad_lines(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailed, match="No line is a JSON object"):
        ndjson(tmp_path, "{\n}")


def test_more_keys_than_a_table_may_have(tmp_path: Path) -> None:
    many = {f"k{n}": n for n in range(MOST_KEYS + 1)}
    with pytest.raises(ChunkFailed, match=f"{MOST_KEYS} keys"):
        ndjson(tmp_path, json.dumps(many))
    many.popitem()
    assert len(ndjson(tmp_path, json.dumps(many)).rows[0]) == MOST_KEYS


def looked(folder: Path, text: str) -> list[str]:
    path = folder / "file"
    path.write_text(text)
    return ndjson_columns(path)


def test_the_keys_are_looked_for_in_the_first_lines(tmp_path: Path) -> None:
    assert looked(tmp_path, '\ufeff{"a": 1}\n{oops\n{"B": 1, "A": 1}') == ["a", "B"]
    long = json.dumps({"x": "y" * (2 << 20)})
    assert looked(tmp_path, f'{{"a": 1}}\n{long}\n{{"late": 1}}\n{{"later": 1}}') == ["a", "x", "late"]
    for text, reason in (("{oops", "line 1: Expecting"), ("{}", "no line is an object with keys")):
        with pytest.raises(ChunkUnreadable, match=reason):
            looked(tmp_path, text)
