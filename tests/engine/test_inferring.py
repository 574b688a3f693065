"""Types guessed from the values of a CSV: told from all of them, and no value changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    ColumnCsvOptions,
    ColumnType,
    CsvOptions,
    FileType,
    StageReport,
    decimal,
    fold,
)
from headrace.staging import StageTask, story, writing
from headrace.staging import engine as child


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with patch.object(child, "_memory_mb", 1024), patch.object(child, "_engine", None):
        child._new_engine()
        yield


def staged(
    folder: Path, text: str, *wanted: Column, csv: CsvOptions | None = None, careful: bool = False
) -> tuple[StageReport, list[tuple[Any, ...]]]:
    """The report, and what stands in the staged file."""
    source, target = folder / "chunk", folder / "staging" / "chunk.parquet"
    source.write_text(text)
    task = StageTask(
        source,
        target,
        folder / "rejects",
        FileType.CSV,
        csv or CsvOptions(),
        {fold(c.name): c for c in wanted},
        frozenset(),
        frozenset(),
        None,
        infer=True,
    )
    with patch.object(writing, "_straight", lambda *_: None) if careful else patch.dict({}):
        report = story.stage(task)
    with duckdb.connect() as db:
        return report, db.execute(f"FROM read_parquet('{target}')").fetchall()


def both(folder: Path, text: str, *wanted: Column, csv: CsvOptions | None = None) -> Any:
    """Staged on either way: there must be no difference."""
    straight, careful = (staged(folder, text, *wanted, csv=csv, careful=c) for c in (False, True))
    assert straight == careful
    return straight


def column(*values: str) -> str:
    return "n,v\n" + "".join(f"x,{value}\n" for value in values)


GUESSES: list[Any] = [
    (["1", "", "-20", "123456789012345678"], INTEGER, [1, None, -20, 123456789012345678]),
    (["1", "007"], STRING, ["1", "007"]),
    (["1", "+2"], STRING, ["1", "+2"]),
    (["1", " 2"], STRING, ["1", " 2"]),
    (["1234567890123456789"], STRING, ["1234567890123456789"]),
    (["1", "1_000"], STRING, ["1", "1_000"]),
    (["0", "1"], INTEGER, [0, 1]),
    (["12e5", "1"], STRING, ["12e5", "1"]),
    (["1.50", "2", "-0.125"], decimal(18, 3), [Decimal("1.500"), Decimal("2.000"), Decimal("-0.125")]),
    (["12345678901234567.5", "0.12"], decimal(38, 2), [Decimal("12345678901234567.50"), Decimal("0.12")]),
    (["01.5"], STRING, ["01.5"]),
    ([".5"], STRING, [".5"]),
    (["1.5e3", "0.1", "1e+22"], FLOAT, [1500.0, 0.1, 1e22]),
    (["1.5e400"], STRING, ["1.5e400"]),
    (["1.5e3", "0.12345678901234567890"], STRING, ["1.5e3", "0.12345678901234567890"]),
    (["12-"], STRING, ["12-"]),
    (["true", "FALSE"], BOOLEAN, [True, False]),
    (["yes", "no"], STRING, ["yes", "no"]),
    (["X", ""], STRING, ["X", None]),
    (["2024-02-29", "0001-01-01"], DATE, [date(2024, 2, 29), date(1, 1, 1)]),
    (["2024-02-30"], STRING, ["2024-02-30"]),
    (["2024-2-9"], STRING, ["2024-2-9"]),
    (["2024-02-29", "2024-02-29T12:00:00Z"], DATETIME, [datetime(2024, 2, 29), datetime(2024, 2, 29, 12)]),
    (["2024-02-29 12:34:56.1234567"], STRING, ["2024-02-29 12:34:56.1234567"]),
    (["12:34:56", "00:00:00.5"], TIME, [time(12, 34, 56), time(0, 0, 0, 500000)]),
    (["24:00:00"], STRING, ["24:00:00"]),
    (["1", "2024-02-29"], STRING, ["1", "2024-02-29"]),
    (["NULL", "1"], STRING, ["NULL", "1"]),
    (['""', '""'], STRING, ["", ""]),
    (['""', "1"], INTEGER, [None, 1]),
    (["20240229"], INTEGER, [20240229]),
]


@pytest.mark.parametrize(("texts", "type", "stored"), GUESSES, ids=lambda v: str(v) if v else "")
def test_a_guess(tmp_path: Path, texts: list[str], type: ColumnType, stored: list[Any]) -> None:
    report, rows = both(tmp_path, column(*texts))
    assert report.columns == (Column("n", STRING), Column("v", type))
    assert report.rejected == 0
    assert [v for _, v in rows] == stored


def test_a_column_without_a_value_is_not_known(tmp_path: Path) -> None:
    report, rows = both(tmp_path, column("", ""))
    assert report.columns == (Column("n", STRING), Column("v", UNKNOWN))
    assert rows == [("x",), ("x",)]


def test_all_rows_count_and_not_the_first_ones(tmp_path: Path) -> None:
    report, rows = both(tmp_path, column(*map(str, range(5000)), "007"))
    assert report.columns[1].type == STRING
    assert rows[-1] == ("x", "007")


def test_more_columns_than_fit_into_one_question(tmp_path: Path) -> None:
    width = 250
    text = (
        ",".join(f"c{n}" for n in range(width)) + "\n" + ",".join("1" if n % 2 else "a" for n in range(width))
    )
    report, _ = both(tmp_path, text + "\n")
    assert [c.type for c in report.columns] == [STRING, INTEGER] * (width // 2)


def test_what_is_declared_is_not_guessed(tmp_path: Path) -> None:
    report, rows = both(tmp_path, column("1", "2"), Column("V", STRING, 5))
    assert report.columns[1] == Column("V", STRING, 5)
    assert rows == [("x", "1"), ("x", "2")]


def test_the_options_of_a_file_count(tmp_path: Path) -> None:
    csv = CsvOptions(
        separator=";",
        decimal_separator=",",
        thousands_separator=".",
        columns={"d": ColumnCsvOptions("dd.MM.yyyy"), "t": ColumnCsvOptions("dd.MM.yyyy HH:mm")},
    )
    report, rows = both(tmp_path, "a;d;t\n1.234,5;29.02.2024;29.02.2024 00:00\n2;1.3.2024;\n", csv=csv)
    assert [c.type for c in report.columns] == [decimal(18, 1), DATE, DATETIME]
    assert rows == [
        (Decimal("1234.5"), date(2024, 2, 29), datetime(2024, 2, 29)),
        (Decimal("2.0"), date(2024, 3, 1), None),
    ]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["02/03/2024", "04/05/2024"], "dd/MM/yyyy or MM/dd/yyyy"),
        (["02/03/2024", "31/12/2024"], "dd/MM/yyyy"),
        (["12.31.2024"], "MM.dd.yyyy"),
        (["2-3-2024"], "dd-MM-yyyy or MM-dd-yyyy"),
        (["32/01/2024"], None),
        (["02/03/24"], None),
        (["2024-02-29"], None),
    ],
)
def test_days_that_nobody_can_tell_are_text_with_a_hint(
    tmp_path: Path, texts: list[str], told: str | None
) -> None:
    report, rows = both(tmp_path, column(*texts))
    hint = f'The column v looks like dates as {told}: stored as STRING. "dateFormat": "{(told or "")[:10]}" '
    assert report.notes == ((f"{hint}would make it DATE.",) if told else ())
    assert told is None or rows == [("x", text) for text in texts]


def test_bad_records_are_left_out_of_the_guess(tmp_path: Path) -> None:
    report, rows = staged(tmp_path, "n,v\nx,1\nx,y,z\nx,2\n")
    assert (report.rows, report.rejected, report.columns[1].type) == (2, 1, INTEGER)
    assert rows == [("x", 1), ("x", 2)]


values = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(-(10**6), 10**6, places=3).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.dates().map(str),
    st.datetimes().map(str),
    st.times().map(str),
    st.sampled_from(["", "true", "False", "007", "NULL", "0", "-0", "1e5", "12.50"]),
)
columns = st.one_of(
    *(st.lists(some | st.just(""), min_size=1, max_size=8) for some in (st.integers().map(str), values)),
    st.lists(st.floats(allow_nan=False, allow_infinity=False).map(repr), min_size=1, max_size=8),
    st.lists(st.datetimes().map(str), min_size=1, max_size=8),
)


@settings(max_examples=60, deadline=None)
@given(columns)
def test_a_guess_never_changes_a_value(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Python reads the same from the text and from what is stored, and nothing is a reject."""
    folder = tmp_path_factory.mktemp("guess")
    report, rows = staged(folder, column(*texts))
    assert report.rejected == 0
    type = report.columns[1].type
    for text, row in zip(texts, rows, strict=True):
        found = row[1] if type != UNKNOWN else None
        assert _same(text, found, type), (text, found, type)


def _same(text: str, found: Any, type: ColumnType) -> bool:
    if not text:
        return found is None
    readers: dict[str, Any] = {
        "STRING": str,
        "INTEGER": int,
        "DECIMAL": Decimal,
        "FLOAT": float,
        "BOOLEAN": lambda t: json.loads(t.lower()),
        "DATE": date.fromisoformat,
        "TIME": time.fromisoformat,
        "DATETIME": datetime.fromisoformat,
    }
    return bool(readers[type.kind.value](text) == found)
