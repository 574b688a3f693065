"""The lattice of types: its laws, and that no value changes on its way up."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.conversion import Source, is_bad, lenient, sql_type
from headrace.lattice import FLOAT_DIGITS, FLOAT_INTEGERS, Held, join
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

EXACT = Context(prec=100)
CONNECTION = duckdb.connect(config={"threads": "1"})
CONNECTION.execute("SET TimeZone = 'UTC'")

decimals = st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: decimal(p, s)))
others = st.sampled_from([STRING, FLOAT, BOOLEAN, DATE, TIME, DATETIME, UNKNOWN]).map(Held)
held = others | st.builds(Held, st.just(INTEGER) | decimals, st.booleans())


@given(held, held)
def test_it_is_commutative(one: Held, other: Held) -> None:
    assert join(one, other) == join(other, one)


@settings(max_examples=500)
@given(held, held, held)
def test_it_is_associative(one: Held, other: Held, third: Held) -> None:
    assert join(join(one, other), third) == join(one, join(other, third))


@given(held)
def test_it_is_idempotent(one: Held) -> None:
    assert join(one, one) == one


@given(held, held)
def test_what_is_joined_stays(one: Held, other: Held) -> None:
    both = join(one, other)
    assert join(both, one) == join(both, other) == both


@given(held)
def test_nothing_is_known_of_no_value_and_text_holds_all(one: Held) -> None:
    assert join(one, Held(UNKNOWN)) == one
    assert join(one, Held(STRING)) == Held(STRING)


# -- without loss --------------------------------------------------------------------------------------


def values(type: ColumnType) -> st.SearchStrategy[Any]:
    if type.kind is ColumnKind.DECIMAL:
        largest = 10**type.precision - 1
        return st.integers(-largest, largest).map(lambda n: Decimal(n).scaleb(-type.scale, EXACT))
    return {
        INTEGER: st.integers(-(2**63), 2**63 - 1),
        FLOAT: st.floats(allow_nan=False),
        BOOLEAN: st.booleans(),
        DATE: st.dates(),
        TIME: st.times(),
        DATETIME: st.datetimes(),
        STRING: st.text(max_size=5).filter(lambda t: "\0" not in t),
    }[type]


def as_float(value: Any) -> bool:
    """As staging tells it from the statistics of a file."""
    if isinstance(value, Decimal):
        return len("".join(map(str, value.as_tuple().digits)).lstrip("0")) <= FLOAT_DIGITS
    return abs(value) <= FLOAT_INTEGERS if type(value) is int else True


TYPED = st.sampled_from([INTEGER, FLOAT, BOOLEAN, DATE, TIME, DATETIME, STRING]) | decimals
some_of_one_type = TYPED.flatmap(
    lambda type: st.tuples(st.just(type), st.lists(values(type), min_size=1, max_size=5))
)


@settings(max_examples=250, deadline=None)
@given(some_of_one_type, some_of_one_type)
def test_every_value_of_either_is_stored_unchanged_in_both(
    one: tuple[ColumnType, list[Any]], other: tuple[ColumnType, list[Any]]
) -> None:
    both = join(*(Held(type, all(map(as_float, found))) for type, found in (one, other))).type
    for type, found in (one, other):
        source = Source("v", sql_type(type))
        query = (
            f"SELECT {lenient(source, both)}, {is_bad(source, both)} FROM (SELECT ?::{sql_type(type)} AS v)"
        )
        for value in found:
            stored, bad = CONNECTION.execute(query, [_bound(value)]).fetchall()[0]
            assert not bad
            assert _same(value, stored), (value, type, stored, both)


def _same(value: Any, stored: Any) -> bool:
    if type(value) is type(stored):
        return bool(value == stored)
    if isinstance(stored, str):  # the text from which the value is read again
        query = f"SELECT ?::{_engine_type(value)} = ?::{_engine_type(value)}"
        return bool(CONNECTION.execute(query, [stored, _bound(value)]).fetchall()[0][0])
    if isinstance(value, Decimal) and isinstance(stored, float):
        return Decimal(repr(stored)) == value
    if isinstance(stored, datetime) and type(value) is date:
        return stored == datetime(value.year, value.month, value.day)
    return bool(stored == value)


def _engine_type(value: Any) -> str:
    names = {int: "HUGEINT", float: "DOUBLE", bool: "BOOLEAN", date: "DATE", datetime: "TIMESTAMP"}
    scale = -int(value.as_tuple().exponent) if isinstance(value, Decimal) else 0
    return f"DECIMAL(38,{scale})" if isinstance(value, Decimal) else names.get(type(value), "TIME")


def _bound(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value
