"""Values, held against Python's own parsing: what is taken is exactly what was written, all else is bad.

``taken`` asks the three questions of staging at once. The strict form must raise exactly where ``is_bad``
says so, and elsewhere give what the lenient form gives.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from headrace.conversion import Source, expectation, is_bad, lenient, literal, sql_type, stored_type, strict
from headrace.model import (
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    UNKNOWN,
    ColumnCsvOptions,
    ColumnType,
    decimal,
)

CONNECTION = duckdb.connect(config={"threads": "1"})
CONNECTION.execute("SET TimeZone = 'UTC'")

BAD = "BAD"
EXACT = Context(prec=100)
MONEY = decimal(18, 2)
TYPES = (STRING, INTEGER, FLOAT, MONEY, decimal(38, 10), BOOLEAN, DATE, TIME, DATETIME)
NOT_TEXT = TYPES[1:]


def taken(values: Sequence[str | None], source: Source, target: ColumnType) -> list[Any]:
    """What becomes of a column of values, given as SQL: the value that is stored, or BAD."""
    rows = ", ".join(f"({number}, {value or 'NULL'})" for number, value in enumerate(values))
    table = f"(SELECT n, v::{source.engine_type} AS v FROM (VALUES {rows}) t(n, v))"
    careful = f"SELECT {lenient(source, target)}, {is_bad(source, target)} FROM {table} ORDER BY n"
    found = CONNECTION.execute(careful).fetchall()
    good = ", ".join(str(n) for n, (_, bad) in enumerate(found) if not bad)
    if good:
        query = f"SELECT {strict(source, target)} FROM {table} WHERE n IN ({good}) ORDER BY n"
        straight = CONNECTION.execute(query).fetchall()
        assert repr([v for (v,) in straight]) == repr([v for v, bad in found if not bad])
    for number, (value, bad) in enumerate(found):
        if bad:
            assert value is None
            with pytest.raises((duckdb.InvalidInputException, duckdb.ConversionException)):
                query = f"SELECT {strict(source, target)} FROM {table} WHERE n = {number}"
                pytest.fail(
                    f"{values[number]} is bad, and strict took {CONNECTION.execute(query).fetchall()}"
                )
    return [BAD if bad else value for value, bad in found]


def read(target: ColumnType, *texts: str | None, **options: str) -> list[Any]:
    """What becomes of texts of a CSV."""
    source = Source("v", "VARCHAR", ColumnCsvOptions(**options))
    return taken([literal(t) if t is not None else None for t in texts], source, target)


# -- text, by example ----------------------------------------------------------------------------------


EXAMPLES: list[Any] = [
    (STRING, "007", "007"),
    (STRING, " NULL ", " NULL "),
    (STRING, "", ""),
    (INTEGER, "007", 7),
    (INTEGER, "+1", 1),
    (INTEGER, "-0", 0),
    (INTEGER, " 1 ", 1),
    (INTEGER, "1.", 1),
    (INTEGER, "1.0", 1),
    (INTEGER, "1.000", 1),
    (INTEGER, "1.5", BAD),
    (INTEGER, "1.0000000000000000000000000001", BAD),
    (INTEGER, "1e3", BAD),
    (INTEGER, "1_000", BAD),
    (INTEGER, "0x10", BAD),
    (INTEGER, "0b1", BAD),
    (INTEGER, "1 000", BAD),
    (INTEGER, "١", BAD),
    (INTEGER, "9223372036854775807", 2**63 - 1),
    (INTEGER, "9223372036854775807.0", 2**63 - 1),
    (INTEGER, "-9223372036854775808", -(2**63)),
    (INTEGER, "9223372036854775808", BAD),
    (INTEGER, "-9223372036854775809", BAD),
    (INTEGER, "1" + "0" * 400, BAD),
    (FLOAT, "0.1", 0.1),
    (FLOAT, ".5", 0.5),
    (FLOAT, "5.", 5.0),
    (FLOAT, "1.5E+3", 1500.0),
    (FLOAT, "1.7976931348623157e308", 1.7976931348623157e308),
    (FLOAT, "1e309", BAD),
    (FLOAT, "nan", BAD),
    (FLOAT, "-Infinity", BAD),
    (FLOAT, "inf", BAD),
    (FLOAT, "1_0.5", BAD),
    (FLOAT, "0x1p3", BAD),
    (FLOAT, "1,5", BAD),
    (FLOAT, "1f", BAD),
    (FLOAT, "1e-400", BAD),
    (FLOAT, "0e-400", 0.0),
    (FLOAT, "12.5-", -12.5),
    (FLOAT, " (12.5) ", -12.5),
    (FLOAT, "(-12.5)", BAD),
    (FLOAT, "-12.5-", BAD),
    (FLOAT, "1e5-", -100000.0),
    (FLOAT, "1e-5-", BAD),
    (FLOAT, "()", BAD),
    (FLOAT, "$12", BAD),
    (INTEGER, "12-", -12),
    (INTEGER, "12 -", -12),
    (INTEGER, "(12)", -12),
    (INTEGER, "(12", BAD),
    (INTEGER, "--12", BAD),
    (INTEGER, "9223372036854775808-", -(2**63)),
    (INTEGER, "12 EUR", BAD),
    (MONEY, "12.50-", Decimal("-12.50")),
    (MONEY, "( 12.5 )", Decimal("-12.50")),
    (MONEY, "12.505-", BAD),
    (MONEY, "€12", BAD),
    (MONEY, "1E2", Decimal("100.00")),
    (MONEY, "1.005e2", Decimal("100.50")),
    (MONEY, "1.005E+1", Decimal("10.05")),
    (MONEY, "1005e-2", Decimal("10.05")),
    (MONEY, "1005e-3", BAD),
    (MONEY, "12345678901234567e0", BAD),
    (MONEY, "1e-400", BAD),
    (MONEY, "1e-99", BAD),
    (MONEY, "1E2-", Decimal("-100.00")),
    (MONEY, "2.6336256647258e+16", BAD),  # 19 digits, and within 64 bits
    (MONEY, "-4.285249991179340e16", BAD),
    (MONEY, "9.999999999999e15", Decimal("9999999999999000.00")),
    (MONEY, "1.5", Decimal("1.50")),
    (MONEY, "-0.01", Decimal("-0.01")),
    (MONEY, " +1 ", Decimal("1.00")),
    (MONEY, "1.500000", Decimal("1.50")),
    (MONEY, "1.005", BAD),
    (MONEY, "9999999999999999.99", Decimal("9999999999999999.99")),
    (MONEY, "10000000000000000.00", BAD),
    (MONEY, "1_0.5", BAD),
    (MONEY, "nan", BAD),
    (MONEY, "1.00000000001", BAD),
    (MONEY, "1e-15", BAD),
    (MONEY, ".50", Decimal("0.50")),
    (MONEY, ".005", BAD),
    (decimal(38, 37), "0." + "1" * 38, BAD),
    (MONEY, "-", BAD),
    (MONEY, " - ", BAD),
    (decimal(38, 2), "1" * 30, Decimal("1" * 30)),
    (BOOLEAN, "TRUE", True),
    (BOOLEAN, " Yes ", True),
    (BOOLEAN, "x", True),
    (BOOLEAN, "N", False),
    (BOOLEAN, "0", False),
    (BOOLEAN, "on", True),
    (BOOLEAN, "OFF", False),
    (BOOLEAN, "ja", BAD),
    (BOOLEAN, "2", BAD),
    (BOOLEAN, "truefalse", BAD),
    (DATE, "2024-02-29", date(2024, 2, 29)),
    (DATE, " 2024-2-9 ", date(2024, 2, 9)),
    (DATE, "2024-02-29T00:00:00Z", date(2024, 2, 29)),
    (DATE, "2024-02-29 23:00:00-01:00", date(2024, 3, 1)),
    (DATE, "2024-02-29 12:00:00", BAD),
    (DATE, "24-02-29", BAD),
    (DATE, "29.02.2024", BAD),
    (DATE, "10000-01-01", BAD),
    (DATE, "infinity", BAD),
    (DATE, "epoch", BAD),
    (DATE, "2024-02-30", BAD),
    (DATE, "2023-02-29", BAD),
    (DATE, "0000-00-00", BAD),
    (DATE, "yyyy-mm-dd", BAD),
    (DATE, "  24-02-29", BAD),
    (DATE, "-024-02-29", BAD),
    (DATE, "2024-02-2x", BAD),
    (DATE, "2024-02-2 ", date(2024, 2, 2)),
    (DATE, "2024-02-29 24:00:00", BAD),
    (DATE, "0000-02-29", BAD),
    (DATE, "0001-01-01", date(1, 1, 1)),
    (DATE, "9999-12-31", date(9999, 12, 31)),
    (TIME, "12:34", time(12, 34)),
    (TIME, " 1:02:03 ", time(1, 2, 3)),
    (TIME, "12:34:56.9999999", time(12, 34, 56, 999999)),
    (TIME, "12:60:00", BAD),
    (TIME, "25:00:00", BAD),
    (TIME, "24:00:00", BAD),
    (TIME, "24:00", BAD),
    (TIME, "23:59:60", BAD),
    (TIME, "12:34:56+02:00", BAD),
    (TIME, "12:34:56Z", time(12, 34, 56)),
    (TIME, "123456", BAD),
    (DATETIME, "2024-02-29", datetime(2024, 2, 29)),
    (DATETIME, "2024-02-29 12:34", datetime(2024, 2, 29, 12, 34)),
    (DATETIME, "2024-02-29T12:34:56.7891234", datetime(2024, 2, 29, 12, 34, 56, 789123)),
    (DATETIME, "2024-02-29T12:34:56Z", datetime(2024, 2, 29, 12, 34, 56)),
    (DATETIME, "2024-02-29T12:34:56.5+02:00", datetime(2024, 2, 29, 10, 34, 56, 500000)),
    (DATETIME, "2024-02-29 12:34:56-0530", datetime(2024, 2, 29, 18, 4, 56)),
    (DATETIME, "2024-02-29 12:34:56 Europe/Berlin", datetime(2024, 2, 29, 11, 34, 56)),
    (DATETIME, "2024-07-01 12:34:56 Europe/Berlin", datetime(2024, 7, 1, 10, 34, 56)),
    (DATETIME, "2024-02-29 12:34:56 Middle/Earth", BAD),
    (DATETIME, "24-02-29 12:34:56", BAD),
    (DATETIME, "1709210096", BAD),
    (DATETIME, "infinity", BAD),
    (DATETIME, "2024-02-30 00:00:00", BAD),
    (DATETIME, "2024-02-29T12:34:60", BAD),
    (DATETIME, "2024-02-29 24:34:56.789", BAD),
    (DATETIME, "2024-02-29 24:00:00", BAD),
    (DATETIME, "2024-02-29T24:00:00.0", BAD),
    (DATETIME, "2024-02-29 24:00", BAD),
    (DATETIME, "2024-02-29T24:00:00Z", BAD),
    (DATETIME, "0000-02-29 12:34:56.789", BAD),
    (DATETIME, "0000-02-29 12:34", BAD),
    (DATETIME, " 024-02-29 12:34:56.1", BAD),
    (DATETIME, "-024-02-29 12:34:56", BAD),
    (DATETIME, "2024-02-29 12:34:56.+02", BAD),
    (DATETIME, "2024-02-29 12:34:56.-05", BAD),
    (DATETIME, "2024-02-29T24:00:00+01:00", BAD),
    (DATETIME, "2024-02-29T12:34:56.7Z", datetime(2024, 2, 29, 12, 34, 56, 700000)),
    (DATETIME, "2024-02-29T20:34:56.789", datetime(2024, 2, 29, 20, 34, 56, 789000)),
    (DATETIME, "0001-01-01 00:00:00.001", datetime(1, 1, 1, 0, 0, 0, 1000)),
    (DATETIME, "9999-12-31 23:59:59", datetime(9999, 12, 31, 23, 59, 59)),
    (DATETIME, "2024-02-29 12:34:56.1+2", BAD),
    (DATETIME, "2024-02-29 12:34:56+99:00", BAD),
]


@pytest.mark.parametrize(("target", "text", "expected"), EXAMPLES)
def test_a_text_becomes(target: ColumnType, text: str, expected: Any) -> None:
    before, found, after = read(target, None, text, None)
    assert before is after is None
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("target", NOT_TEXT, ids=str)
def test_blank_text_is_null_in_every_type_but_string(target: ColumnType) -> None:
    assert read(target, "", " ", "    ", None) == [None] * 4
    assert read(STRING, "", " ", None) == ["", " ", None]


OPTIONS: list[Any] = [
    (FLOAT, "1.234.567,5", {"decimal_separator": ",", "thousands_separator": "."}, 1234567.5),
    (MONEY, "1.234.567,50", {"decimal_separator": ",", "thousands_separator": "."}, Decimal("1234567.50")),
    (INTEGER, "1.234.567", {"decimal_separator": ",", "thousands_separator": "."}, 1234567),
    (INTEGER, "1'234", {"thousands_separator": "'"}, 1234),
    (INTEGER, "1'2'3", {"thousands_separator": "'"}, BAD),
    (INTEGER, "1’234’567", {"thousands_separator": "'"}, 1234567),
    (FLOAT, "1'234.5", {"thousands_separator": "'"}, 1234.5),
    (FLOAT, "1 234,5", {"decimal_separator": ",", "thousands_separator": " "}, 1234.5),
    (FLOAT, "1\u00a0234\u00a0567,5", {"decimal_separator": ",", "thousands_separator": " "}, 1234567.5),
    (MONEY, "-1\u202f234,50", {"decimal_separator": ",", "thousands_separator": " "}, Decimal("-1234.50")),
    (INTEGER, " 1 234 ", {"thousands_separator": "\u202f"}, 1234),
    (INTEGER, "12 34", {"thousands_separator": " "}, BAD),
    (INTEGER, "1,2,3", {"thousands_separator": ","}, BAD),
    (INTEGER, "1,23", {"thousands_separator": ","}, BAD),
    (INTEGER, "1234,567", {"thousands_separator": ","}, BAD),
    (INTEGER, ",123", {"thousands_separator": ","}, BAD),
    (INTEGER, "123,", {"thousands_separator": ","}, BAD),
    (FLOAT, "1.234,567", {"thousands_separator": ","}, BAD),
    (FLOAT, "1,234.567", {"thousands_separator": ","}, 1234.567),
    (FLOAT, "1.5", {"thousands_separator": "."}, BAD),
    (FLOAT, "1.500", {"thousands_separator": "."}, 1500.0),
    (FLOAT, "1.234.567,89-", {"decimal_separator": ",", "thousands_separator": "."}, -1234567.89),
    (MONEY, "(1.234,50)", {"decimal_separator": ",", "thousands_separator": "."}, Decimal("-1234.50")),
    (FLOAT, "1,5", {"decimal_separator": ",", "thousands_separator": ","}, BAD),
    (INTEGER, "1,0", {"decimal_separator": ","}, 1),
    (INTEGER, "1,5", {"decimal_separator": ","}, BAD),
    (FLOAT, "1,5,5", {"decimal_separator": ","}, BAD),
    (FLOAT, "-1·5", {"decimal_separator": "·"}, -1.5),
    (FLOAT, "1.5", {"decimal_separator": "."}, 1.5),
    (FLOAT, "1.500", {"decimal_separator": ","}, BAD),
    (INTEGER, "1.000", {"decimal_separator": ","}, BAD),
    (STRING, "1.234,5", {"decimal_separator": ",", "thousands_separator": "."}, "1.234,5"),
    (DATE, "29.02.2024", {"date_format": "dd.MM.yyyy"}, date(2024, 2, 29)),
    (DATE, "30.02.2024", {"date_format": "dd.MM.yyyy"}, BAD),
    (DATE, "2024-02-29", {"date_format": "dd.MM.yyyy"}, date(2024, 2, 29)),
    (DATE, "29.02.2024 00:00", {"date_format": "dd.MM.yyyy HH:mm"}, date(2024, 2, 29)),
    (DATE, "29.02.2024 12:00", {"date_format": "dd.MM.yyyy HH:mm"}, BAD),
    (TIME, "1234", {"date_format": "HHmm"}, time(12, 34)),
    (TIME, "2460", {"date_format": "HHmm"}, BAD),
    (DATETIME, "29/02/24", {"date_format": "dd.MM.yyyy||dd/MM/yy"}, datetime(2024, 2, 29)),
    (
        DATETIME,
        "2024-02-29T12:34:56.789+02:00",
        {"date_format": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"},
        datetime(2024, 2, 29, 10, 34, 56, 789000),
    ),
    (STRING, "29.02.2024", {"date_format": "dd.MM.yyyy"}, "29.02.2024"),
]


@pytest.mark.parametrize(("target", "text", "options", "expected"), OPTIONS)
def test_options_of_a_column(target: ColumnType, text: str, options: dict[str, str], expected: Any) -> None:
    (found,) = read(target, text, **options)
    assert (type(found), found) == (type(expected), expected)


def test_empty_is_false_where_the_client_says_so() -> None:
    source = Source("v", "VARCHAR", ColumnCsvOptions(empty_is_false=True))
    texts = [literal("X"), literal(""), literal("  "), None, literal("maybe")]
    assert taken(texts, source, BOOLEAN) == [True, False, False, False, BAD]
    assert taken(texts[:4], source, STRING) == ["X", "", "  ", None]
    assert read(BOOLEAN, "X", "", None) == [True, None, None]


def test_a_person_is_told_what_was_expected() -> None:
    plain, dated = Source("v", "VARCHAR"), Source("v", "VARCHAR", ColumnCsvOptions("dd.MM.yyyy"))
    assert expectation(dated, DATE) == "DATE as dd.MM.yyyy"
    assert expectation(dated, INTEGER) == "INTEGER (64 bit, no fraction)"
    assert expectation(plain, MONEY) == "DECIMAL(18,2)"
    assert all(str(t) in expectation(plain, t) or t == STRING for t in TYPES)


# -- text, by property ---------------------------------------------------------------------------------

_ZONES = ("Z", "+00", "+02:00", "-05:30", "+1400", " UTC", " Asia/Tokyo", " America/New_York")
_STAMP = re.compile(
    r"\s*(\d{4})-(\d\d?)-(\d\d?)"
    r"(?:[ T]\s*(\d\d?):(\d\d?)(?::(\d\d?)(?:\.(\d*))?)?)?\s*(Z|[+-]\d\d(?::?\d\d)?| ?[A-Z][\w/+-]*)?\s*",
    re.ASCII,
)


def parsed(text: str, target: ColumnType) -> Any:
    """What Python reads. It is more lenient than we are, but never reads a text as another value."""
    try:
        return _PARSERS[target.kind.value](text, target)
    except (ValueError, ArithmeticError, KeyError):
        return BAD


def _integer(text: str, _: ColumnType) -> Any:
    number = Decimal(_ascii(text))
    return int(number) if number == int(number) and -(2**63) <= number < 2**63 else BAD


def _float(text: str, _: ColumnType) -> Any:
    number = float(_ascii(text))
    return number if math.isfinite(number) else BAD


def _decimal(text: str, target: ColumnType) -> Any:
    number = Decimal(_ascii(text))
    scaled = number.scaleb(target.scale, EXACT)
    return number if scaled == int(scaled) and abs(scaled) < 10**target.precision else BAD


def _ascii(text: str) -> str:
    """The number with its sign in front."""
    if not text.strip().isascii() or "_" in text:
        raise ValueError(text)
    unsigned = re.fullmatch(r"\(\s*([^()+-]*)\)|([^()+-]*)-", text.strip())
    return "-" + (unsigned[1] or unsigned[2]).strip() if unsigned else text


def _boolean(text: str, _: ColumnType) -> Any:
    words = dict.fromkeys(("true", "t", "yes", "y", "on", "1", "x"), True)
    words |= dict.fromkeys(("false", "f", "no", "n", "off", "0"), False)
    return words[text.strip().casefold()]


def _time(text: str, _: ColumnType) -> Any:
    hour, minute, *rest = text.strip().removesuffix("Z").split(":")
    second, _, digits = (rest or ["0"])[0].partition(".")
    return time(int(hour), int(minute), int(second), int(digits[:6].ljust(6, "0")))


def _datetime(text: str, _: ColumnType) -> Any:
    found = _STAMP.fullmatch(text)
    if not found:
        return BAD
    *numbers, digits, zone = found.groups()
    year, month, day, hour, minute, second = (int(n or 0) for n in numbers)
    stamp = datetime(year, month, day, hour % 24, minute, second, int((digits or "")[:6].ljust(6, "0")))
    if hour == 24 and (minute, second, stamp.microsecond) != (0, 0, 0):
        return BAD
    return (
        (stamp + timedelta(days=hour // 24)).replace(tzinfo=_zone(zone)).astimezone(UTC).replace(tzinfo=None)
    )


def _zone(text: str | None) -> Any:
    if text and text.strip()[0] in "+-":
        sign, digits = text.strip()[0], text.strip()[1:].replace(":", "").ljust(4, "0")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-offset if sign == "-" else offset)
    return ZoneInfo(text.strip()) if text and text != "Z" else UTC


def _date(text: str, target: ColumnType) -> Any:
    stamp = _datetime(text, target)
    return stamp.date() if stamp != BAD and stamp.time() == time(0) else BAD


_PARSERS = {
    "STRING": lambda text, _: text,
    "INTEGER": _integer,
    "FLOAT": _float,
    "DECIMAL": _decimal,
    "BOOLEAN": _boolean,
    "DATE": _date,
    "TIME": _time,
    "DATETIME": _datetime,
}


numbers = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.decimals(-(10**17), 10**17, places=2).map(str),
    st.floats().map(repr),
    st.from_regex(r"[ \t]?[+-]?[0-9]{0,20}\.?[0-9]{0,12}([eE][+-]?[0-9]{1,3})?[ \t]?", fullmatch=True),
)
stamps = st.builds(
    "{}{:04}-{:02}-{:02}{}{}{}".format,
    st.sampled_from(["", "", " "]),
    st.integers(1, 9999),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from(["", " ", "T"]),
    st.from_regex(r"([0-9]{1,2}:[0-9]{2}(:[0-9]{1,2}(\.[0-9]{1,10})?)?)?", fullmatch=True),
    st.sampled_from(["", "", "", " ", *_ZONES]),
)
clocks = st.from_regex(r" ?[0-2]?[0-9]:[0-6]?[0-9](:[0-6][0-9](\.[0-9]{1,9})?)?", fullmatch=True)
words = st.sampled_from([*"tfynxTFYNX01", "true", "False", "YES", "no", "on", "null", "NaN", "inf", "epoch"])
noise = st.text("0123456789+-().,:_eExXTZ \tftyn'\u00a0é", max_size=14)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A spelling of something, sometimes with one character gone, doubled or replaced."""
    text = draw(st.one_of(numbers, stamps, clocks, words, noise))
    if text and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(noise)[:2] + text[at + draw(st.integers(0, 1)) :]
    return text


@pytest.mark.parametrize("target", TYPES, ids=str)
@settings(max_examples=40, deadline=None)
@given(st.lists(texts(), min_size=1, max_size=30))
@example(["9999-12-31 23:59:59.999999", "0001-01-01", "1.0", "1.5", "nan", "1_0", "0x10", "", " "])
def test_what_is_taken_is_what_python_reads(target: ColumnType, sample: list[str]) -> None:
    assume(sample)
    for text, found in zip(sample, read(target, *sample), strict=True):
        if found is None:
            assert not text.strip(), f"{text!r} became NULL"
        elif found != BAD:
            assert repr(found) == repr(_as(found, parsed(text, target))), text


def _as(found: Any, value: Any) -> Any:
    """A DECIMAL comes with the digits of its column, and has no negative zero."""
    return (
        EXACT.add(value.quantize(found, context=EXACT), 0) if type(found) is type(value) is Decimal else value
    )


@settings(max_examples=80, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["{}", " {} ", "{}.", "{}.00"]))
def test_every_integer_is_taken(value: int, spelling: str) -> None:
    assert read(INTEGER, spelling.format(value)) == [value]


@settings(max_examples=80, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{!r}", "{:.17e}", " {!r}"]))
def test_every_float_is_taken(value: float, spelling: str) -> None:
    assert repr(read(FLOAT, spelling.format(value))) == repr([value])


@settings(max_examples=80, deadline=None)
@given(st.integers(-(10**18) + 1, 10**18 - 1), st.sampled_from(["{}", "{}00", " {} "]))
def test_every_amount_is_taken(cents: int, spelling: str) -> None:
    value = Decimal(cents).scaleb(-2)
    assert read(MONEY, spelling.format(value)) == [value]


@settings(max_examples=80, deadline=None)
@given(st.datetimes(), st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"]), st.booleans())
def test_every_moment_is_taken(value: datetime, digits: str, spaced: bool) -> None:
    text = value.isoformat(" " if spaced else "T", digits)
    assert read(DATETIME, text) == [datetime.fromisoformat(text)]
    assert read(TIME, text[11:]) == [datetime.fromisoformat(text).time()]
    assert read(DATE, text[:10]) == [value.date()]


@settings(max_examples=80, deadline=None)
@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-15 * 60, 15 * 60))
def test_every_offset_is_taken(value: datetime, minutes: int) -> None:
    moment = value.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert read(DATETIME, moment.isoformat()) == [moment.astimezone(UTC).replace(tzinfo=None)]


# -- values of Parquet ---------------------------------------------------------------------------------

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

ENGINE_TYPES: dict[str, tuple[ColumnType, list[str]]] = {
    "TINYINT": (INTEGER, ["-128", "0", "1", "127"]),
    "SMALLINT": (INTEGER, ["-32768", "2"]),
    "INTEGER": (INTEGER, ["-2147483648", "2147483647"]),
    "BIGINT": (INTEGER, ["-9007199254740992", "1", "1000000"]),
    "UTINYINT": (INTEGER, ["0", "255"]),
    "USMALLINT": (INTEGER, ["65535"]),
    "UINTEGER": (INTEGER, ["4294967295"]),
    "UBIGINT": (decimal(20, 0), ["0", "9007199254740992"]),
    "FLOAT": (FLOAT, ["0.5", "-1", "16777216", "1e30", "'nan'", "'inf'"]),
    "DOUBLE": (FLOAT, ["0.1", "2.0", "2.5", "-0.0", "1e300", "'nan'", "'-inf'"]),
    "DECIMAL(9,2)": (decimal(9, 2), ["1.50", "-2.00", "9999999.99"]),
    "DECIMAL(18,0)": (decimal(18, 0), ["0", "1", "9007199254740992"]),
    "DECIMAL(38,20)": (decimal(38, 20), ["0.00000000000000000001", "1.5"]),
    "BOOLEAN": (BOOLEAN, ["true", "false"]),
    "DATE": (DATE, ["'2024-02-29'", "'0001-01-01'", "'9999-12-31'"]),
    "TIME": (TIME, ["'12:34:56.789'", "'00:00'"]),
    "TIME_NS": (TIME, ["'12:34:56.123456'"]),
    "TIMESTAMP": (DATETIME, ["'2024-02-29 12:34:56.789123'", "'2024-02-29'"]),
    "TIMESTAMP_S": (DATETIME, ["'2024-02-29 12:34:56'", "'2024-02-29'"]),
    "TIMESTAMP_MS": (DATETIME, ["'2024-02-29 12:34:56.789'"]),
    "TIMESTAMP_NS": (DATETIME, ["'2024-02-29 12:34:56.789123'", "'2024-02-29'"]),
    "TIMESTAMP WITH TIME ZONE": (DATETIME, ["'2024-02-29 12:34:56+02'", "'2024-03-01 01:00:00+01'"]),
    "VARCHAR": (STRING, ["'1'", "'x'", "'2024-02-29'", "' '"]),
    "BLOB": (STRING, ["'1'", "'x'", "'2024-02-29'", "'  '", r"'\xFF'"]),
}


def fitting(value: Any, target: ColumnType) -> Any:
    """The same value as ``target``, or BAD: nothing may be lost on the way."""
    kinds = {bool: _from_bool, int: _from_number, float: _from_number, Decimal: _from_number}
    return kinds.get(type(value), _from_moment)(value, target)


def _from_bool(value: bool, target: ColumnType) -> Any:
    return {BOOLEAN: value, INTEGER: int(value)}.get(target, BAD)


def _from_number(value: Any, target: ColumnType) -> Any:
    if target == FLOAT:
        return float(value)
    if not math.isfinite(value):
        return BAD
    if target == INTEGER:
        return int(value) if value == int(value) and -(2**63) <= value < 2**63 else BAD
    if target == BOOLEAN:
        return bool(value) if type(value) is int and value in (0, 1) else BAD
    if target.kind != "DECIMAL":
        return BAD
    # of a float, the shortest decimal that is still the same float
    found = parsed(repr(value) if isinstance(value, float) else str(value), target)
    return (
        found if isinstance(found, str) else found.quantize(Decimal(1).scaleb(-target.scale), context=EXACT)
    )


def _from_moment(value: Any, target: ColumnType) -> Any:
    if isinstance(value, datetime):
        wall = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        day = wall.date() if wall.time() == time(0) else BAD
        return {DATETIME: wall, DATE: day}.get(target, BAD)
    if isinstance(value, date):
        return {DATE: value, DATETIME: datetime(value.year, value.month, value.day)}.get(target, BAD)
    return value if target == TIME else BAD


@pytest.mark.parametrize("target", NOT_TEXT, ids=str)
@pytest.mark.parametrize("engine_type", [t for t in ENGINE_TYPES if t not in ("VARCHAR", "BLOB")])
def test_a_typed_value_fits_exactly_or_not_at_all(engine_type: str, target: ColumnType) -> None:
    stored, written = ENGINE_TYPES[engine_type]
    literals = [f"CAST({value} AS {engine_type})" for value in written]
    shown = [f"{value}::TIMESTAMP" if "ZONE" in engine_type else value for value in literals]
    values = CONNECTION.execute(f"SELECT {', '.join(shown)}").fetchall()[0]
    before, *found, after = taken([None, *literals, None], Source("v", engine_type), target)
    assert before is after is None
    for value, got in zip(values, found, strict=True):
        expected = fitting(Decimal(value) if stored.kind == "DECIMAL" else value, target)
        assert repr(got) == repr(expected), f"{value!r} became {got!r}"


@pytest.mark.parametrize("engine_type", ENGINE_TYPES)
def test_a_value_keeps_its_type_when_nobody_asks_for_another(engine_type: str) -> None:
    expected, literals = ENGINE_TYPES[engine_type]
    assert stored_type(engine_type) == expected
    described = CONNECTION.execute(f"DESCRIBE SELECT NULL::{engine_type} AS v").fetchall()
    assert described[0][1] == engine_type  # the name under which DuckDB shows it
    found = taken(literals, Source("v", engine_type), expected)
    assert found.count(BAD) == (engine_type == "BLOB")


@pytest.mark.parametrize("engine_type", ["VARCHAR", "BLOB"])
@pytest.mark.parametrize("target", TYPES, ids=str)
def test_text_and_binary_text_of_parquet_are_read_alike(engine_type: str, target: ColumnType) -> None:
    spelled = ["1", "x", "2024-02-29", "12:34:56", "2024-02-29 12:34:56", " ", "true", "1.5"]
    values = [literal(text) for text in spelled]
    assert taken(values, Source("v", engine_type), target) == read(target, *spelled)


def test_binary_that_is_no_utf_8_is_bad() -> None:
    for target in TYPES:
        assert taken([r"'\xFF\xFE'::BLOB", "'1'::BLOB"], Source("v", "BLOB"), target)[0] == BAD
    assert taken(["encode('é')"], Source("v", "BLOB"), STRING) == ["é"]


ODD: list[Any] = [
    ("BIGINT", "2", BOOLEAN, BAD),
    ("UBIGINT", "18446744073709551615", decimal(20, 0), Decimal(2**64 - 1)),
    ("UBIGINT", "18446744073709551615", INTEGER, BAD),
    ("DOUBLE", "9007199254740993", INTEGER, 2**53),
    ("DOUBLE", "9223372036854775808", INTEGER, BAD),
    ("FLOAT", "0.1", MONEY, Decimal("0.10")),
    ("DECIMAL(24,23)", "'0.00000000000000000000001'", FLOAT, 1e-23),
    ("TIMESTAMP_NS", "'2024-02-29 12:34:56.123456789'", DATETIME, datetime(2024, 2, 29, 12, 34, 56, 123456)),
    ("TIMESTAMP_NS", "'2024-02-29 00:00:00.000000001'", DATE, date(2024, 2, 29)),
    ("TIMESTAMP WITH TIME ZONE", "'2024-02-29 12:00:00+02'", STRING, "2024-02-29 10:00:00"),
    ("DATE", "'2024-02-29'", STRING, "2024-02-29"),
    ("BOOLEAN", "true", STRING, "true"),
    ("BIGINT", "-7", STRING, "-7"),
    ("DECIMAL(9,2)", "1.5", STRING, "1.50"),
    ("DOUBLE", "0.1", STRING, "0.1"),
    ("UUID", literal(UUID), STRING, UUID),
    ("UUID", literal(UUID), INTEGER, BAD),
    ("INTEGER[]", "[1, NULL]", STRING, "[1,null]"),
    ("INTEGER[2]", "[1, 2]", STRING, "[1,2]"),
    ("STRUCT(a INTEGER, b VARCHAR)", "{'a': 1, 'b': 'x\"'}", STRING, json.dumps({"a": 1, "b": 'x"'})),
    ("MAP(VARCHAR, INTEGER)", "MAP {'k': 1}", STRING, '{"k":1}'),
    ("INTEGER[]", "[1]", INTEGER, BAD),
    ("VARCHAR", "'5'", UNKNOWN, "5"),
    ("INTEGER", "5", UNKNOWN, "5"),
    ("BIGINT", "9007199254740993", FLOAT, BAD),
    ("UBIGINT", "18446744073709551615", FLOAT, BAD),
    ("DECIMAL(38,3)", "12345678901234567890.125", FLOAT, BAD),
    ("BIGINT", "50", decimal(38, 37), BAD),
    ("DECIMAL(18,2)", "1234567890123456.75", decimal(38, 37), BAD),
    ("DECIMAL(38,1)", "123456789012345678901234567890123456.5", decimal(38, 3), BAD),
]


@pytest.mark.parametrize(("engine_type", "value", "target", "expected"), ODD)
def test_values_at_the_edges(engine_type: str, value: str, target: ColumnType, expected: Any) -> None:
    found, null = taken([f"CAST({value} AS {engine_type})", None], Source("v", engine_type), target)
    if engine_type.startswith("STRUCT"):
        found, expected = json.loads(found), json.loads(expected)
    assert (type(found), found) == (type(expected), expected)
    assert null is None


def test_separators_apply_to_binary_text_too() -> None:
    source = Source("v", "BLOB", ColumnCsvOptions(decimal_separator=","))
    assert taken(["'1,5'::BLOB"], source, FLOAT) == [1.5]


def test_sql_names_of_types() -> None:
    assert [sql_type(t) for t in (STRING, MONEY, DATETIME)] == ["VARCHAR", "DECIMAL(18,2)", "TIMESTAMP"]
    assert stored_type("DECIMAL(7,3)") == decimal(7, 3)
    assert stored_type("GEOMETRY") == STRING
