"""Guesses for a person: drawn only from values that agree."""

from __future__ import annotations

import pytest

from headrace.datepatterns import read_pattern
from headrace.hints import _patterns, likely, separator_of
from headrace.model import (
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    ColumnCsvOptions,
    ColumnKind,
    ColumnType,
    CsvOptions,
    Cut,
    Reject,
    decimal,
)

MONEY = decimal(18, 2)


def hint(
    type: ColumnType, *values: str | None, csv: CsvOptions | None = None, column: str = "x"
) -> str | None:
    return likely([Reject(2, column, v, "", "value-does-not-fit") for v in values], type, csv)


def of_records(code: str, *raws: str, csv: CsvOptions | None = None) -> str | None:
    return likely([Reject(2, None, None, "", code, raw) for raw in raws], None, csv)


@pytest.mark.parametrize(
    ("type", "values", "expected"),
    [
        (MONEY, ["12,50", "-7,1"], "decimalSeparator ','"),
        (MONEY, ["1.234,50", "12,50"], "decimalSeparator ',' and thousandSeparator '.'"),
        (MONEY, ["1,234.50"], "thousandSeparator ','"),
        (FLOAT, ["1,234"], "decimalSeparator ',' or thousandSeparator ','"),
        (FLOAT, ["1,234", "12,5"], "decimalSeparator ','"),
        (FLOAT, ["1 234,5"], "decimalSeparator ',' and thousandSeparator ' '"),
        (FLOAT, ["1'234.5"], "thousandSeparator '''"),
        (INTEGER, ["1.5", "2.25"], "the column has fractions: declare it FLOAT, with decimals for money"),
        (
            INTEGER,
            ["9223372036854775808"],
            "the numbers are too large for INTEGER: declare the column STRING",
        ),
        (MONEY, ["1.234"], "there are more than 2 digits after the point: raise decimals"),
        (MONEY, ["12 EUR", "abc"], "the column is text: declare it STRING"),
        (INTEGER, ["n/a", "N/A"], "'n/a' means no value here: leave the field empty"),
        (INTEGER, ["12,50", "abc"], None),
        (INTEGER, ["1.5", "x"], None),
        (INTEGER, ["1.5", "99999999999999999999"], None),
        (BOOLEAN, ["ja"], "these are no spellings of BOOLEAN: declare the column STRING"),
        (STRING, ["\\xFF"], "these bytes are no UTF-8: store the column as text"),
        (DATE, ["31.12.2024", "01.02.2024"], "dateFormat looks like dd.MM.yyyy"),
        (DATE, ["01/02/2024"], "dateFormat looks like dd/MM/yyyy or MM/dd/yyyy"),
        (DATE, ["01/02/2024", "01/13/2024"], "dateFormat looks like MM/dd/yyyy"),
        (DATE, ["20240229"], "dateFormat looks like yyyyMMdd"),
        (DATE, ["29-Feb-2024"], "dateFormat looks like dd-MMM-yyyy"),
        (DATE, ["2024-02-29 12:30"], "the values have a time: declare the column DATETIME"),
        (
            DATE,
            ["29.02.2024 12:30"],
            "the values have a time: declare the column DATETIME; dateFormat looks like dd.MM.yyyy HH:mm",
        ),
        (DATETIME, ["29.02.2024 12:30:59"], "dateFormat looks like dd.MM.yyyy HH:mm:ss"),
        (DATETIME, ["2024/02/29T12:30"], "dateFormat looks like yyyy/MM/dd'T'HH:mm"),
        (DATETIME, ["02/29/2024 01:30 PM"], "dateFormat looks like MM/dd/yyyy hh:mm a"),
        (DATETIME, ["1709210096"], "the values look like seconds since 1970: declare the column INTEGER"),
        (
            DATETIME,
            ["1709210096123"],
            "the values look like milliseconds since 1970: declare the column INTEGER",
        ),
        (TIME, ["123456"], "dateFormat looks like HHmmss"),
        (DATE, ["30.02.2024"], None),
        (DATE, ["31.12.2024", "12/31/2024"], None),
        (DATE, ["soon", "later"], "the column is text: declare it STRING"),
    ],
)
def test_values(type: ColumnType, values: list[str], expected: str | None) -> None:
    assert hint(type, *values) == expected


def test_what_the_options_say_already_is_not_guessed() -> None:
    csv = CsvOptions(decimal_separator=",", date_format="dd.MM.yyyy")
    assert hint(MONEY, "1.234,50", csv=csv) == "thousandSeparator '.'"
    assert hint(MONEY, "12.50", csv=csv) == "decimalSeparator '.'"
    assert hint(DATE, "30.02.2024", csv=csv) is None
    own = CsvOptions(columns={"X": ColumnCsvOptions(decimal_separator=",")})
    assert hint(MONEY, "1.234,50", csv=own) == "thousandSeparator '.'"


def test_nothing_is_guessed_from_nothing() -> None:
    assert likely([], STRING, None) is None
    assert hint(INTEGER, None) is None
    assert likely([Reject(2, "x", "y", "", "value-does-not-fit")], None, None) is None


@pytest.mark.parametrize(
    ("code", "raws", "expected"),
    [
        ("too-few-fields", ["1;2;3", "4;5;6"], "separatorSequence looks like ';'"),
        ("too-few-fields", ["1\t2"], "separatorSequence looks like a tab"),
        ("too-few-fields", ["1;2", "3|4"], None),
        ("too-many-fields", ["1,2,3"], "a value holds the separator ',': put it in quotes"),
        ("undecodable", ["caf\ufffd"], "charSet looks like windows-1252"),
        ("text-after-quote", ['"a \\"b\\" c",1'], "escapeSequence looks like '\\'"),
        (
            "unclosed-quote",
            ['1,"5 inches'],
            'double a " within quotes; where quotes are plain text, send an empty quoteSequence',
        ),
        ("too-long", ["x"], "a quote or a line ending is missing before this line"),
        ("no-such-code", ["x"], None),
    ],
)
def test_records(code: str, raws: list[str], expected: str | None) -> None:
    assert of_records(code, *raws) == expected


def test_records_in_another_dialect() -> None:
    assert (
        of_records("too-few-fields", "1,2", csv=CsvOptions(separator=";"))
        == "separatorSequence looks like ','"
    )
    assert of_records("undecodable", "x", csv=CsvOptions(charset="cp1252")) is None
    assert "double a ' " in str(of_records("unclosed-quote", "'x", csv=CsvOptions(quote="'", escape="\\")))


def test_strings_that_are_too_long() -> None:
    reject = Reject(2, "x", "abcde", "at most 4 characters, not 5", "too-long-for-column")
    assert likely([reject], STRING, None, Cut("x", 4, 12, 95)) == (
        "12 values are longer than 4, the longest has 95 characters: "
        "raise fieldLength, or leave strictLengths out"
    )
    assert str(likely([reject], STRING, None, Cut("x", 4, 1, 5))).startswith("1 value is longer than 4")
    assert likely([reject], STRING, None) == "raise fieldLength, or leave strictLengths out"


@pytest.mark.parametrize(
    ("header", "separator", "expected"),
    [
        ("a;b;c", None, "separatorSequence looks like ';'"),
        ("a,b", ";", "separatorSequence looks like ','"),
        ("a\tb", None, "separatorSequence looks like a tab"),
        ("a;b|c", None, None),
        ("a", None, None),
    ],
)
def test_the_separator_of_a_header(header: str, separator: str | None, expected: str | None) -> None:
    assert separator_of(header, separator) == expected


def test_every_pattern_that_is_guessed_is_supported() -> None:
    for kind in (ColumnKind.DATE, ColumnKind.TIME):
        for java, _, _ in _patterns(kind):
            read_pattern(java)
