"""From what a file holds to what a table stores, as SQL expressions.

One expression per column and target type. In its *strict* form a value that does not fit raises, so the
whole staging stops at once and nothing has to be counted on the way; in its *lenient* form such a value
becomes NULL, and ``is_bad`` says which rows have one. Nothing is ever rounded, wrapped or turned into
NULL in silence: the engine's own casts would do so (``'1.5'`` to 2, ``10:00+02:00`` to 10:00).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from headrace.datepatterns import read_pattern
from headrace.lattice import FLOAT_DIGITS
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
    ColumnKind,
    ColumnType,
    decimal,
)

TRUE_WORDS = ("true", "t", "yes", "y", "on", "1", "x")
FALSE_WORDS = ("false", "f", "no", "n", "off", "0")

_SQL_TYPES = {
    ColumnKind.STRING: "VARCHAR",
    ColumnKind.INTEGER: "BIGINT",
    ColumnKind.FLOAT: "DOUBLE",
    ColumnKind.BOOLEAN: "BOOLEAN",
    ColumnKind.DATE: "DATE",
    ColumnKind.TIME: "TIME",
    ColumnKind.DATETIME: "TIMESTAMP",
    ColumnKind.UNKNOWN: "VARCHAR",
}

_NATURAL = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), INTEGER),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER"), INTEGER),
    "UBIGINT": decimal(20, 0),
    "HUGEINT": decimal(38, 0),
    "FLOAT": FLOAT,
    "DOUBLE": FLOAT,
    "BOOLEAN": BOOLEAN,
    "DATE": DATE,
    "TIME": TIME,
    "TIME_NS": TIME,
    "TIME WITH TIME ZONE": TIME,  # of a Parquet file: always UTC
    "TIMESTAMP": DATETIME,
    "TIMESTAMP_S": DATETIME,
    "TIMESTAMP_MS": DATETIME,
    "TIMESTAMP_NS": DATETIME,
    "TIMESTAMP WITH TIME ZONE": DATETIME,
    "VARCHAR": STRING,
    "BLOB": STRING,
    '"NULL"': UNKNOWN,
}

_YEAR = r"(\d{3}[1-9]|\d\d[1-9]\d|\d[1-9]\d\d|[1-9]\d{3})"  # 0001 to 9999
_ISO_DAY = rf"{_YEAR}-\d\d?-\d\d?"
_CLOCK = r"([01]?\d|2[0-3]):\d\d(:\d\d(\.\d{1,9})?)?"  # the casts take 24:00:00 for the next day
_ISO_STAMP = rf"\s*{_ISO_DAY}([ T]{_CLOCK})?\s*"
_ISO_ZONED = rf"\s*{_ISO_DAY}[ T]{_CLOCK}(Z|[+-](0?\d|1[0-8])(:?[0-5]\d)?| ?[A-Za-z][A-Za-z_/+-]*)\s*"
_ISO_TIME = rf"\s*{_CLOCK}Z?\s*"
_WHOLE_NUMBER = r"\s*[+-]?\d+(\.0*)?\s*"
_SIGN_ELSEWHERE = r"^\s*(?:\(\s*([^()+-]*?)\s*\)|([^()+-]*?)\s*-)\s*$"  # (12) and 12-
_DIGITS_THAT_COUNT = r"^\s*[+-]?0*([\d.]*?)(0*|\.0*)([eE].*|\s*)$"
_ZERO = r"[^1-9eE]*([eE].*)?"
_FEW_DIGITS_WITH_EXPONENT = r"\s*[+-]?[\d.]{1,15}[eE][+-]?\d{1,2}\s*"

_SAME_SEPARATORS = (" \u00a0\u202f\u2009", "'\u2019")
"""Separators of thousands that one key of a keyboard stands for: a writer takes now this, now that."""


def sql_type(type: ColumnType) -> str:
    """The engine's name of a stored type."""
    if type.kind is ColumnKind.DECIMAL:
        return f"DECIMAL({type.precision},{type.scale})"
    return _SQL_TYPES[type.kind]


def stored_type(engine_type: str) -> ColumnType:
    """The type a value of this engine type is stored as when nobody asks for another."""
    if engine_type.startswith("DECIMAL(") and engine_type.endswith(")"):
        precision, scale = engine_type.removeprefix("DECIMAL(").removesuffix(")").split(",")
        return decimal(int(precision), int(scale))
    return _NATURAL.get(engine_type, STRING)


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Source:
    """A column of the file: its SQL expression, the engine's type of it, its CSV options if it is text."""

    sql: str
    engine_type: str
    options: ColumnCsvOptions = field(default_factory=ColumnCsvOptions)

    @property
    def is_text(self) -> bool:
        return self.engine_type in ("VARCHAR", "BLOB")


def strict(source: Source, target: ColumnType) -> str:
    """The value as ``target``; a value that does not fit raises."""
    return _convert(source, target, "CAST", f"error('not {target}')::{sql_type(target)}")


def lenient(source: Source, target: ColumnType) -> str:
    """The value as ``target``; a value that does not fit is NULL."""
    return _convert(source, target, "TRY_CAST", f"NULL::{sql_type(target)}")


def is_bad(source: Source, target: ColumnType) -> str:
    """True where there is a value and it does not fit ``target``."""
    there = f"{source.sql} IS NOT NULL"
    if source.is_text and target.kind is not ColumnKind.STRING:
        there += f" AND {present(source)}"
    return f"({there} AND ({lenient(source, target)}) IS NULL)"


def changes_as_float(source: Source) -> str:
    """True where a text is a number that FLOAT would give back as another one."""
    if not source.is_text:
        return is_bad(source, FLOAT)
    number = _signed(plain_number(source))
    digits = f"replace(regexp_extract({number}, {literal(_DIGITS_THAT_COUNT)}, 1), '.', '')"
    again = f"CAST(TRY_CAST({number} AS DOUBLE) AS VARCHAR) = trim({number})"
    return f"(strlen({digits}) > {FLOAT_DIGITS} AND NOT coalesce({again}, false))"


def plain_number(source: Source) -> str:
    """The text without separators of thousands and with a decimal point; its sign may stand behind."""
    return _plain_number(_decoded(source), source.options)


def fraction_digits(source: Source) -> str:
    """How many digits of a text stand after the point; zeros at the end do not count."""
    number = _signed(plain_number(source))
    return f"strlen(regexp_extract({number}, '\\.(\\d*?)0*\\s*$', 1))"


def expectation(source: Source, target: ColumnType) -> str:
    """What a value of this column should have looked like, for a person."""
    pattern = source.options.date_format
    if pattern and target.kind in (ColumnKind.DATE, ColumnKind.DATETIME, ColumnKind.TIME):
        return f"{target} as {pattern}"
    return {
        ColumnKind.INTEGER: "INTEGER (64 bit, no fraction)",
        ColumnKind.BOOLEAN: f"BOOLEAN ({', '.join((*TRUE_WORDS, *FALSE_WORDS))})",
        ColumnKind.DATE: "DATE as yyyy-MM-dd",
        ColumnKind.TIME: "TIME as HH:mm:ss",
        ColumnKind.DATETIME: "DATETIME as yyyy-MM-dd HH:mm:ss, with or without fraction and zone",
        ColumnKind.STRING: "text in UTF-8",
    }.get(target.kind, str(target))


def _convert(source: Source, target: ColumnType, cast: str, otherwise: str) -> str:
    """``cast`` is for values that look right already: where one is not, it must end as ``otherwise`` does."""
    if source.is_text:
        return _from_text(source, target, cast, otherwise)
    if stored_type(source.engine_type) == target or target.kind in (ColumnKind.STRING, ColumnKind.UNKNOWN):
        return _as_is(source, target)
    return _from_value(source, target, otherwise)


# -- from text -----------------------------------------------------------------------------------------


def _from_text(source: Source, target: ColumnType, cast: str, otherwise: str) -> str:
    if target.kind in (ColumnKind.STRING, ColumnKind.UNKNOWN):
        return _text(source, otherwise)
    text = _decoded(source)
    if target.kind in (ColumnKind.INTEGER, ColumnKind.FLOAT, ColumnKind.DECIMAL):
        text = _plain_number(text, source.options)
    cases = " ".join(
        f"WHEN {condition} THEN {value}" for condition, value in _cases(text, source, target, cast)
    )
    return f"CASE {cases} WHEN NOT {present(source)} THEN NULL ELSE {otherwise} END"


def _decoded(source: Source) -> str:
    return source.sql if source.engine_type == "VARCHAR" else f"try(decode({source.sql}))"


def _text(source: Source, otherwise: str) -> str:
    if source.engine_type == "VARCHAR":
        return source.sql
    decoded = _decoded(source)
    return f"CASE WHEN {source.sql} IS NULL OR {decoded} IS NOT NULL THEN {decoded} ELSE {otherwise} END"


def present(source: Source) -> str:
    """SQL condition: neither NULL nor blank: blank text is no value for any type but STRING."""
    text = f"{source.sql}::VARCHAR" if source.engine_type == "BLOB" else source.sql
    return f"coalesce(trim({text}) <> '', false)"


def _plain_number(text: str, options: ColumnCsvOptions) -> str:
    """The number with a point and nothing between its digits, or spoilt by a ``?`` where it is misspelt."""
    point = options.decimal_separator or "."
    if separator := options.thousands_separator:
        text = _ungrouped(text, separator, point)
    if point != ".":
        text = f"replace(replace({text}, '.', '?'), {literal(point)}, '.')"
    return text


def _ungrouped(text: str, separator: str, point: str) -> str:
    """Without separators of thousands, if they stand where they may: groups of three before the point."""
    alike = next((chars for chars in _SAME_SEPARATORS if separator in chars), None)
    between = f"[{alike}]" if alike else re.escape(separator)
    there = (
        f"regexp_matches({text}, {literal(between)})" if alike else f"contains({text}, {literal(separator)})"
    )
    fraction = "" if point == separator else f"({re.escape(point)}\\d*)?"
    number = rf"\s*[+(-]?\s*(\d{{1,3}}({between}\d{{3}})*|\d*){fraction}\s*[)-]?\s*"
    return (
        f"CASE WHEN NOT {there} THEN {text} WHEN regexp_full_match({text}, {literal(number)}) "
        f"THEN regexp_replace({text}, {literal(between)}, '', 'g') ELSE '?' END"
    )


def _signed(text: str) -> str:
    """With its sign in front: accountants write (12), SAP 12-."""
    return f"regexp_replace({text}, {literal(_SIGN_ELSEWHERE)}, '-\\1\\2')"


def _cases(text: str, source: Source, target: ColumnType, cast: str) -> list[tuple[str, str]]:
    match target.kind:
        case ColumnKind.INTEGER:
            return _integer_cases(text)
        case ColumnKind.FLOAT:
            return [_float_case(text), _float_case(_signed(text))]
        case ColumnKind.DECIMAL:
            return _decimal_cases(text, target)
        case ColumnKind.BOOLEAN:
            return _boolean_cases(text, source.options)
        case _:
            return _time_cases(text, source.options.date_format, target, cast)


def _integer_cases(text: str) -> list[tuple[str, str]]:
    number = f"TRY_CAST({text} AS BIGINT)"
    signed = _signed(text)
    return [
        # the usual spelling, proved by writing the number again: cheaper than a pattern
        (f"CAST({number} AS VARCHAR) = {text}", number),
        (
            f"TRY_CAST({signed} AS BIGINT) IS NOT NULL "
            f"AND regexp_full_match({signed}, {literal(_WHOLE_NUMBER)})",
            f"TRY_CAST({signed} AS BIGINT)",
        ),
    ]


def _float_case(text: str) -> tuple[str, str]:
    """Neither beyond the largest nor below the smallest number; Python's 1_000 is none."""
    number = f"TRY_CAST({text} AS DOUBLE)"
    no_underflow = f"({number} <> 0 OR regexp_full_match({text}, {literal(_ZERO)}))"
    return f"isfinite({number}) AND NOT contains({text}, '_') AND {no_underflow}", number


def _decimal_cases(text: str, target: ColumnType) -> list[tuple[str, str]]:
    number, signed = f"TRY_CAST({text} AS {sql_type(target)})", _signed(text)
    signed_number = f"TRY_CAST({signed} AS {sql_type(target)})"
    # digits beyond the scale must be zeros: the cast would round them away
    fraction = f"\\.\\d{{0,{target.scale}}}0*"
    bare = f"\\.\\d{{1,{target.scale}}}0*" if target.scale else "\\.0+"
    exact = f"\\s*[+-]?(\\d+({fraction})?|{bare})\\s*"
    return [
        (f"CAST({number} AS VARCHAR) = {text}", number),
        (f"{signed_number} IS NOT NULL AND regexp_full_match({signed}, {literal(exact)})", signed_number),
        (  # 1E2: of numbers with at most 15 digits, two are never the same FLOAT
            f"regexp_full_match({signed}, {literal(_FEW_DIGITS_WITH_EXPONENT)}) "
            f"AND CAST({signed_number} AS DOUBLE) = TRY_CAST({signed} AS DOUBLE) "
            # the cast of an exponent lets pass what has a digit too many and fits into its integer
            f"AND abs({signed_number}) <= CAST('{_largest(target)}' AS {sql_type(target)})",
            signed_number,
        ),
    ]


def _largest(type: ColumnType) -> str:
    """The largest number that a DECIMAL holds."""
    return f"{'9' * (type.precision - type.scale)}.{'9' * type.scale}"


def _boolean_cases(text: str, options: ColumnCsvOptions) -> list[tuple[str, str]]:
    def one_of(words: tuple[str, ...]) -> str:
        # not IN: the engine makes a join of a long list, and runs it for every row
        return f"regexp_full_match({text}, '\\s*(?i:{'|'.join(words)})\\s*')"

    return [
        (f"{text} = 'true'", "true"),
        (f"{text} = 'false'", "false"),
        (one_of(TRUE_WORDS), "true"),
        (one_of(FALSE_WORDS), "false"),
        *([(f"trim(coalesce({text}, '')) = ''", "false")] if options.empty_is_false else []),
    ]


def _time_cases(text: str, pattern: str | None, target: ColumnType, cast: str) -> list[tuple[str, str]]:
    own = read_pattern(pattern).sql(text) if pattern else None
    cases = [(_fits(own, target), _narrowed(own, target))] if own else []
    if target.kind is ColumnKind.TIME:
        iso = f"TRY_CAST(rtrim(trim({text}), 'Z') AS TIME)"
        return [*cases, (f"regexp_full_match({text}, '{_ISO_TIME}') AND {iso} IS NOT NULL", iso)]
    stamp = f"TRY_CAST(trim({text}) AS TIMESTAMP)"
    # with a zone: the cast to TIMESTAMP alone would drop it
    zoned = f"make_timestamp(epoch_us(TRY_CAST(trim({text}) AS TIMESTAMPTZ)))"
    return [
        *cases,
        *((usual, f"{cast}({text} AS {sql_type(target)})") for usual in _usual_spellings(text, target)),
        (f"regexp_full_match({text}, '{_ISO_STAMP}') AND {_fits(stamp, target)}", _narrowed(stamp, target)),
        (f"regexp_full_match({text}, '{_ISO_ZONED}') AND {_fits(zoned, target)}", _narrowed(zoned, target)),
    ]


def _usual_spellings(text: str, target: ColumnType) -> list[str]:
    """Nearly every value, told without a pattern's cost. What the casts would misread is left out.

    That is: what follows a day (``2024-01-1x``), years with a sign or of fewer digits, the year 0, hour 24;
    and zones, for which there is no room here, but for Z.
    """
    if target.kind is ColumnKind.DATE:
        return [f"{text} GLOB '????-??-?[0-9]' AND {text} >= '0001'"]
    return [
        f"strlen({text}) {length} AND {text} >= '0001' "
        f"AND {text} GLOB '????-??-?[0-9]{between}[0-2]?:??:??{fraction}' "
        f"AND NOT contains({text}, '{between}24:')"
        for between in " T"
        for length, fraction in (("<= 23", ".[0-9]*"), ("= 19", ""))
    ]


def _fits(stamp: str, target: ColumnType) -> str:
    """The stamp is one, and loses nothing as ``target``."""
    if target.kind is ColumnKind.DATE:
        return f"{stamp} = date_trunc('day', {stamp})"
    return f"{stamp} IS NOT NULL"


def _narrowed(stamp: str, target: ColumnType) -> str:
    return f"CAST({stamp} AS {sql_type(target)})"


# -- from typed values (Parquet) -----------------------------------------------------------------------


def _as_is(source: Source, target: ColumnType) -> str:
    if source.engine_type == "TIMESTAMP WITH TIME ZONE":
        stamp = f"make_timestamp(epoch_us({source.sql}))"
        return stamp if target.kind is ColumnKind.DATETIME else f"CAST({stamp} AS VARCHAR)"
    if source.engine_type == "VARIANT":
        return f"nullif(CAST(CAST({source.sql} AS JSON) AS VARCHAR), 'null')"  # it has a NULL of its own
    if target.kind is ColumnKind.STRING and source.engine_type.endswith(("]", ")")):
        nested = source.engine_type.startswith(("STRUCT", "MAP")) or source.engine_type.endswith("]")
        if nested:
            return f"CAST(to_json({source.sql}) AS VARCHAR)"
    return f"CAST({source.sql} AS {sql_type(target)})"


def _from_value(source: Source, target: ColumnType, otherwise: str) -> str:
    """Exactly or not at all: the value cast there and compared must still be the same."""
    origin = stored_type(source.engine_type).kind
    exact = source.sql
    if origin is ColumnKind.DECIMAL and target.kind is ColumnKind.FLOAT:
        exact = f"CAST({source.sql} AS VARCHAR)"  # the engine divides, and 1E-23 is another number then
    value = f"TRY_CAST({exact} AS {sql_type(target)})"
    numbers = (ColumnKind.INTEGER, ColumnKind.FLOAT, ColumnKind.DECIMAL)
    days = (ColumnKind.DATE, ColumnKind.DATETIME)
    if origin in numbers and target.kind in numbers:
        same = f"CAST({value} AS {source.engine_type}) = {source.sql}"
    elif origin is ColumnKind.INTEGER and target.kind is ColumnKind.BOOLEAN:
        same = f"{source.sql} IN (0, 1)"
    elif origin is ColumnKind.BOOLEAN and target.kind is ColumnKind.INTEGER:
        same = f"{source.sql} IS NOT NULL"
    elif origin in days and target.kind in days:
        same = f"CAST({value} AS TIMESTAMP) = make_timestamp(epoch_us({source.sql}))"
    else:
        same = "false"
    same = f"coalesce(try({same}), false)"  # the way back may overflow
    return f"CASE WHEN {source.sql} IS NULL THEN NULL WHEN {same} THEN {value} ELSE {otherwise} END"
