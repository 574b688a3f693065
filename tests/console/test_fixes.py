"""Hints become corrections: each option that a hint names, exactly as the hint says."""

from __future__ import annotations

import pytest

from headrace.console.fixes import fixes_of
from headrace.hints import likely
from headrace.model import (
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    ColumnCsvOptions,
    ColumnKind,
    ColumnType,
    CsvOptions,
    Cut,
    DeclaredColumn,
    PushSpec,
    Reject,
    decimal,
)


def hint_of(type: ColumnType, *values: str) -> str | None:
    return likely([Reject(2, "x", v, "", "value-does-not-fit") for v in values], type, None)


def of_record(code: str, raw: str) -> str | None:
    return likely([Reject(2, None, None, "", code, raw)], None, None)


@pytest.mark.parametrize(
    ("hint", "options"),
    [
        (hint_of(decimal(18, 2), "12,50"), [ColumnCsvOptions(decimal_separator=",")]),
        (hint_of(FLOAT, "1.234,50"), [ColumnCsvOptions(None, ",", ".")]),
        (
            hint_of(FLOAT, "1,234"),
            [ColumnCsvOptions(decimal_separator=","), ColumnCsvOptions(thousands_separator=",")],
        ),
        (hint_of(FLOAT, "1'234.5"), [ColumnCsvOptions(thousands_separator="'")]),
        (hint_of(DATE, "31.01.2024"), [ColumnCsvOptions("dd.MM.yyyy")]),
        (hint_of(DATE, "01/02/2024"), [ColumnCsvOptions("dd/MM/yyyy"), ColumnCsvOptions("MM/dd/yyyy")]),
        (hint_of(DATETIME, "31.01.2024T10:00"), [ColumnCsvOptions("dd.MM.yyyy'T'HH:mm")]),
    ],
)
def test_how_a_column_is_written(hint: str | None, options: list[ColumnCsvOptions]) -> None:
    assert hint is not None
    fixes = fixes_of(hint, "x")
    assert [fix.options for fix in fixes] == options
    csv = CsvOptions(separator=";", columns={"X": ColumnCsvOptions(empty_is_false=True)})
    corrected = fixes[0].of_csv(csv)
    assert corrected.separator == ";"
    assert corrected.columns.keys() == {"X"}
    assert corrected.columns["X"].empty_is_false is True
    assert corrected.of_column("x").date_format == options[0].date_format


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (hint_of(FLOAT, "abc"), ColumnKind.STRING),
        (hint_of(INTEGER, "1.5"), ColumnKind.FLOAT),
        (hint_of(INTEGER, "9223372036854775808"), ColumnKind.STRING),
        (hint_of(DATE, "1700000000"), ColumnKind.INTEGER),
        (hint_of(DATE, "2024-01-31 10:00:00"), ColumnKind.DATETIME),
    ],
)
def test_what_a_column_is(hint: str | None, kind: ColumnKind) -> None:
    [fix] = fixes_of(hint, "x")
    declared = (DeclaredColumn("a"), DeclaredColumn("X", ColumnKind.DATE, primary_key=True))
    assert fix.of_columns(declared) == (DeclaredColumn("a"), DeclaredColumn("X", kind, primary_key=True))
    assert fix.of_columns(()) == (DeclaredColumn("x", kind),)


def test_a_time_in_another_spelling_is_both() -> None:
    fix, *_ = fixes_of(hint_of(DATE, "31.01.2024 10:00"), "x")
    spec = fix.of_spec(PushSpec("t", columns=(DeclaredColumn("x", ColumnKind.DATE),)))
    assert spec.columns == (DeclaredColumn("x", ColumnKind.DATETIME),)
    assert spec.csv is not None
    assert spec.csv.of_column("x").date_format == "dd.MM.yyyy HH:mm"


@pytest.mark.parametrize(
    ("hint", "csv"),
    [
        (of_record("too-few-fields", "a;b"), CsvOptions(separator=";")),
        (of_record("too-few-fields", "a\tb"), CsvOptions(separator="\t")),
        (of_record("undecodable", "M\ufffdller"), CsvOptions(charset="windows-1252")),
        (of_record("unclosed-quote", '"a\\"b"'), CsvOptions(escape="\\")),
    ],
)
def test_how_the_whole_file_is_written(hint: str | None, csv: CsvOptions) -> None:
    [fix] = fixes_of(hint, None)
    assert fix.of_csv(None) == csv
    assert fix.of_csv(CsvOptions(date_format="yyyy")).date_format == "yyyy"


def test_a_length() -> None:
    cut = Cut("x", 5, 3, 12)
    hint = likely([Reject(2, "x", "v", "", "too-long-for-column")], None, None, cut)
    [fix] = fixes_of(hint, "x")
    assert fix.of_columns((DeclaredColumn("x", ColumnKind.STRING, 5),)) == (
        DeclaredColumn("x", ColumnKind.STRING, 12),
    )


@pytest.mark.parametrize("hint", [None, hint_of(INTEGER, "n/a"), of_record("too-many-fields", "a,b,c")])
def test_what_names_no_option_has_no_fix(hint: str | None) -> None:
    assert fixes_of(hint, "x") == []
