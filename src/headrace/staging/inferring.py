"""Types guessed from all values of a CSV, for a client that asks for it.

A guess may not change what anybody sees: only the one spelling that a type itself would have counts.
``007``, ``+1``, ``1,5`` without a decimalSeparator or ids of more than 18 digits stay text. A type that no
value contradicts in the first rows is then held against all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace.conversion import changes_as_float, is_bad, literal, plain_number, present
from headrace.datepatterns import read_pattern
from headrace.lattice import MOST_DIGITS
from headrace.model import (
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    UNKNOWN,
    ColumnKind,
    ColumnType,
    decimal,
)
from headrace.staging.engine import db
from headrace.staging.tasks import Field

_FIRST_ROWS = 1000
_COLUMNS_A_QUERY = 100
_LONGEST_INTEGER = 18
_USUAL_DIGITS = 18

_WHOLE = r"-?(0|[1-9]\d*)"
_FRACTION = rf"{_WHOLE}(\.\d+)?"
_EXPONENT = rf"{_WHOLE}(\.\d+([eE][+-]?\d+)?|[eE][+-]\d+)?"  # 12e5 may be anything
_DAY = r"\d{4}-\d\d-\d\d"
_CLOCK = r"\d\d:\d\d:\d\d(\.\d{1,6})?"
_STAMP = rf"{_DAY}([ T]\d\d:\d\d(:\d\d(\.\d{{1,6}})?)?(Z|[+-]\d\d(:?\d\d)?)?)?"
_CLOCK_LETTERS = re.compile(r"[HhKkmsSaAnN]")
_QUOTED = re.compile(r"'[^']*'")

_ON_PAPER = tuple(
    (f"{first}{between}{second}{between}yyyy", f"{one}{between}{other}{between}%Y")
    for between in "./-"
    for first, second, one, other in (("dd", "MM", "%d", "%m"), ("MM", "dd", "%m", "%d"))
)
"""How people write days, for Java and for the engine. Which of two it is, nobody can see in 02/03/2024."""


@dataclass(frozen=True)
class _Guess:
    """A type that the values may have, or a spelling of days; ``fits`` is SQL over a present text."""

    what: ColumnKind | str
    fits: str


@dataclass(frozen=True)
class _Seen:
    """What the values of a column turned out to be."""

    values: int
    blanks: int
    whole: int
    fraction: int
    fitting: frozenset[ColumnKind | str]


def inferred(fields: Sequence[Field], relation: str) -> tuple[list[Field], tuple[str, ...]]:
    """The fields with their guessed types, and log lines on what only looks like one."""
    guesses = {f.name: _guesses(f) for f in fields if f.guessed}
    if not guesses:
        return list(fields), ()
    guessed = [f for f in fields if f.guessed]
    first = _look(guessed, guesses, f"(SELECT * FROM {relation} LIMIT {_FIRST_ROWS})")
    left = {
        name: [g for g in guesses[name] if g.what in seen.fitting or not seen.values]
        for name, seen in first.items()
    }
    seen = first | _look([f for f in guessed if left[f.name]], left, relation)  # the others are STRING
    types = {name: _type(of_column) for name, of_column in seen.items()}
    notes = tuple(_notes(seen, types))
    return [replace(f, type=types[f.name]) if f.guessed else f for f in fields], notes


def _guesses(field: Field) -> list[_Guess]:
    text, number = field.source.sql, plain_number(field.source)

    def spelled(pattern: str, type: ColumnType) -> str:
        return f"regexp_full_match({text}, {literal(pattern)}) AND NOT {is_bad(field.source, type)}"

    def number_as(pattern: str) -> str:
        return f"regexp_full_match({number}, {literal(pattern)})"

    return [
        _Guess(ColumnKind.BOOLEAN, f"(lower({text}) = 'true' OR lower({text}) = 'false')"),
        _Guess(
            ColumnKind.INTEGER,
            f"CAST(TRY_CAST({number} AS BIGINT) AS VARCHAR) = {number} "
            f"AND strlen(ltrim({number}, '-')) <= {_LONGEST_INTEGER}",
        ),
        _Guess(ColumnKind.DECIMAL, number_as(_FRACTION)),
        _Guess(
            ColumnKind.FLOAT,
            f"{number_as(_EXPONENT)} AND NOT {is_bad(field.source, FLOAT)} "
            f"AND NOT {changes_as_float(field.source)}",
        ),
        *_days(field, spelled),
        _Guess(ColumnKind.TIME, spelled(_CLOCK, TIME)),
        *(
            _Guess(
                java, f"{text} LIKE '%{java[-5]}____' AND try_strptime({text}, {literal(own)}) IS NOT NULL"
            )
            for java, own in _ON_PAPER
        ),
    ]


def _days(field: Field, spelled: Callable[[str, ColumnType], str]) -> list[_Guess]:
    """As ISO writes them, or as the client says that they are written."""
    date, stamp = spelled(_DAY, DATE), spelled(_STAMP, DATETIME)
    if pattern := field.source.options.date_format:
        own = read_pattern(pattern).sql(field.source.sql)
        stamp = f"({stamp} OR {own} IS NOT NULL)"
        if not _CLOCK_LETTERS.search(_QUOTED.sub("", pattern)):
            date = f"({date} OR {own} IS NOT NULL)"
    return [_Guess(ColumnKind.DATE, date), _Guess(ColumnKind.DATETIME, stamp)]


def _look(fields: Sequence[Field], guesses: dict[str, list[_Guess]], relation: str) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    for at in range(0, len(fields), _COLUMNS_A_QUERY):
        some = fields[at : at + _COLUMNS_A_QUERY]
        asked = ", ".join(part for f in some for part in _aggregates(f, guesses[f.name]))
        answers = iter(db().execute(f"SELECT {asked} FROM {relation}").fetchall()[0])
        for field in some:
            seen[field.name] = _seen(guesses[field.name], answers)
    return seen


def _aggregates(field: Field, guesses: Sequence[_Guess]) -> Iterator[str]:
    there, text, number = present(field.source), field.source.sql, plain_number(field.source)
    yield f"count(*) FILTER ({there})"
    yield f"count(*) FILTER ({text} IS NOT NULL AND NOT {there})"
    numeric = any(g.what is ColumnKind.DECIMAL for g in guesses)
    for pattern in (r"^-?(\d*)", r"\.(\d*)$"):
        yield f"max(strlen(regexp_extract({number}, {literal(pattern)}, 1)))" if numeric else "0"
    for guess in guesses:
        yield f"bool_and(coalesce({guess.fits}, false)) FILTER ({there})"


def _seen(guesses: Sequence[_Guess], answers: Iterator[Any]) -> _Seen:
    values, blanks, whole, fraction = (next(answers) or 0 for _ in range(4))
    fitting = frozenset(g.what for g in guesses if next(answers))
    return _Seen(values, blanks, whole, fraction, fitting)


def _type(seen: _Seen) -> ColumnType:
    """The narrowest; blank texts alone are text."""
    if not seen.values:
        return STRING if seen.blanks else UNKNOWN
    digits = seen.whole + seen.fraction
    simple = {
        ColumnKind.BOOLEAN: BOOLEAN,
        ColumnKind.INTEGER: INTEGER,
        **({ColumnKind.DECIMAL: _decimal(seen)} if seen.fraction and digits <= MOST_DIGITS else {}),
        **({ColumnKind.FLOAT: FLOAT} if seen.fraction or ColumnKind.DECIMAL not in seen.fitting else {}),
        ColumnKind.DATE: DATE,
        ColumnKind.DATETIME: DATETIME,
        ColumnKind.TIME: TIME,
    }
    return next((type for kind, type in simple.items() if kind in seen.fitting), STRING)


def _decimal(seen: _Seen) -> ColumnType:
    digits = seen.whole + seen.fraction
    return decimal(_USUAL_DIGITS if digits <= _USUAL_DIGITS else MOST_DIGITS, seen.fraction)


def _notes(seen: dict[str, _Seen], types: dict[str, ColumnType]) -> Iterator[str]:
    for name, of_column in seen.items():
        spellings = [java for java, _ in _ON_PAPER if java in of_column.fitting]
        if of_column.values and types[name] == STRING and spellings:
            yield (
                f"The column {name} looks like dates as {' or '.join(spellings)}: stored as STRING. "
                f'"dateFormat": "{spellings[0]}" would make it DATE.'
            )
