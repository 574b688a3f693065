"""One schema for all chunks of a job: the narrowest types that hold everything, or the table's own."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.agreeing import agree
from headrace.model import (
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    UNKNOWN,
    Chunk,
    ChunkType,
    Column,
    ColumnKind,
    ColumnType,
    FileType,
    Job,
    JobStatus,
    PushSpec,
    StageReport,
    Table,
    TableRef,
    decimal,
    now,
)


def job(order: str | None = None, keys: tuple[str, ...] = ()) -> Job:
    return Job("j", "p", PushSpec("t", keys=keys), JobStatus.RUNNING, now(), now(), order_column=order)


def chunk(*columns: Column, deletes: bool = False) -> Chunk:
    type = ChunkType.DELETE if deletes else ChunkType.UPSERT
    return Chunk("c", "j", "p", 1, type, 1, "", FileType.CSV, now(), report=StageReport(1, 0, columns))


def table(*columns: Column) -> Table:
    return Table(TableRef("t"), columns)


def agreed(*types: ColumnType) -> ColumnType:
    """Of chunks with one column each."""
    (column,) = agree(job(), [chunk(Column("c", type)) for type in types], None, [])
    return column.type


PAIRS = [
    (INTEGER, INTEGER, INTEGER),
    (INTEGER, decimal(10, 2), decimal(21, 2)),
    (INTEGER, decimal(30, 2), decimal(30, 2)),
    (decimal(10, 2), decimal(8, 4), decimal(12, 4)),
    (INTEGER, FLOAT, FLOAT),
    (decimal(38, 2), FLOAT, FLOAT),
    (INTEGER, decimal(38, 37), FLOAT),
    (DATE, DATETIME, DATETIME),
    (DATE, TIME, STRING),
    (BOOLEAN, INTEGER, STRING),
    (DATETIME, INTEGER, STRING),
    (FLOAT, STRING, STRING),
    (UNKNOWN, DATE, DATE),
    (UNKNOWN, decimal(5, 2), decimal(5, 2)),
    (UNKNOWN, UNKNOWN, STRING),
]


@pytest.mark.parametrize(("one", "other", "both"), PAIRS, ids=str)
def test_two_types_become(one: ColumnType, other: ColumnType, both: ColumnType) -> None:
    assert agreed(one, other) == agreed(other, one) == both


decimals = st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: decimal(p, s)))
types = st.sampled_from([STRING, INTEGER, FLOAT, BOOLEAN, DATE, TIME, DATETIME, UNKNOWN]) | decimals


@given(st.lists(types, min_size=1, max_size=4))
def test_the_order_of_chunks_does_not_matter(found: list[ColumnType]) -> None:
    assert len({agreed(*order) for order in permutations(found)}) == 1


@given(types, types)
def test_agreeing_twice_changes_nothing(one: ColumnType, other: ColumnType) -> None:
    assert agreed(one, one) == (STRING if one == UNKNOWN else one)
    assert agreed(agreed(one, other), one, other) == agreed(one, other)


def whole_digits(type: ColumnType) -> int:
    return 19 if type == INTEGER else type.precision - type.scale


@pytest.mark.parametrize(
    ("one", "other", "beyond", "both"),
    [
        (INTEGER, FLOAT, True, STRING),
        (decimal(18, 2), FLOAT, True, STRING),
        (INTEGER, decimal(38, 37), True, STRING),
        (INTEGER, decimal(18, 2), True, decimal(21, 2)),
        (INTEGER, INTEGER, True, INTEGER),
        (INTEGER, DATE, True, STRING),
    ],
    ids=str,
)
def test_a_number_that_no_float_holds(
    one: ColumnType, other: ColumnType, beyond: bool, both: ColumnType
) -> None:
    large, small = chunk(Column("C", one)), chunk(Column("c", other))
    large = replace(large, report=replace(large.report, beyond_float=("C",) if beyond else ()))
    for order in ([large, small], [small, large]):
        (column,) = agree(job(), order, None, [])
        assert column.type == both


def holds(type: ColumnType, other: ColumnType) -> bool:
    if type.kind is not ColumnKind.DECIMAL:
        return True
    return whole_digits(type) >= whole_digits(other) and type.scale >= other.scale


numbers = st.just(INTEGER) | decimals


@given(numbers, numbers)
def test_what_numbers_agree_on_holds_both(one: ColumnType, other: ColumnType) -> None:
    scale = max(one.scale, other.scale)
    assume(max(whole_digits(one), whole_digits(other)) + scale <= 38)  # beyond: see below
    both = agreed(one, other)
    assert holds(both, one) and holds(both, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(decimal(38, 0), decimal(38, 10)), (INTEGER, decimal(38, 37)), (decimal(38, 37), decimal(20, 0))],
)
def test_numbers_that_no_decimal_holds_are_not_cut_short(one: ColumnType, other: ColumnType) -> None:
    both = agreed(one, other)
    assert holds(both, one) and holds(both, other)


# -- columns -------------------------------------------------------------------------------------------


def test_columns_come_in_the_order_of_their_first_arrival_and_in_its_spelling() -> None:
    chunks = [chunk(Column("B", STRING), Column("a", STRING)), chunk(Column("A", STRING), Column("c", DATE))]
    assert agree(job(), chunks, None, []) == [Column("B", STRING), Column("a", STRING), Column("c", DATE)]


def test_a_disagreement_is_told() -> None:
    logs: list[str] = []
    agree(job(), [chunk(Column("v", INTEGER)), chunk(Column("V", DATE))], None, logs)
    assert logs == ["The column v is INTEGER in one chunk and DATE in another: stored as STRING."]
    logs.clear()
    agree(job(), [chunk(Column("v", INTEGER)), chunk(Column("V", UNKNOWN))], None, logs)
    assert logs == []


@pytest.mark.parametrize(
    ("one", "other", "both"), [(5, 7, 7), (5, None, None), (None, None, None), (3, 3, 3)]
)
def test_of_two_lengths_the_larger(one: int | None, other: int | None, both: int | None) -> None:
    chunks = [chunk(Column("v", STRING, one)), chunk(Column("v", STRING, other))]
    for order in (chunks, chunks[::-1]):
        assert agree(job(), order, None, []) == [Column("v", STRING, both)]


def test_a_length_comes_with_the_first_value() -> None:
    chunks = [chunk(Column("v", UNKNOWN)), chunk(Column("V", STRING, 5))]
    assert agree(job(), chunks, None, []) == [Column("v", STRING, 5)]


def test_the_tables_name_and_type_win() -> None:
    existing = table(Column("Kunnr", INTEGER), Column("day", DATE), Column("other", STRING))
    chunks = [chunk(Column("KUNNR", STRING, 5), Column("day", UNKNOWN), Column("new", DATETIME))]
    assert agree(job(), chunks, existing, []) == [
        Column("Kunnr", INTEGER, 5),
        Column("day", DATE),
        Column("new", DATETIME),
    ]


@pytest.mark.parametrize(
    ("has", "pushed", "becomes"),
    [
        (decimal(18, 2), decimal(38, 2), decimal(38, 2)),
        (decimal(38, 2), decimal(18, 2), decimal(38, 2)),
        (decimal(18, 2), decimal(18, 4), decimal(18, 2)),
        (decimal(18, 2), FLOAT, decimal(18, 2)),
        (INTEGER, decimal(20, 0), INTEGER),
    ],
    ids=str,
)
def test_a_decimal_of_the_table_may_widen(has: ColumnType, pushed: ColumnType, becomes: ColumnType) -> None:
    (column,) = agree(job(), [chunk(Column("v", pushed))], table(Column("v", has)), [])
    assert column.type == becomes


# -- chunks of deletions -------------------------------------------------------------------------------


def test_of_a_delete_chunk_only_what_finds_and_orders_counts() -> None:
    deletes = chunk(Column("K", INTEGER), Column("text", DATE), Column("at", DATETIME), deletes=True)
    upserts = chunk(Column("k", INTEGER), Column("text", STRING), Column("at", DATE))
    for order in ([deletes, upserts], [upserts, deletes]):
        columns = agree(job("AT", ("k",)), order, None, [])
        assert columns == [Column("k", INTEGER), Column("text", STRING), Column("at", DATETIME)]
    without_order = agree(job(keys=("k",)), [upserts, deletes], None, [])
    assert without_order == [Column("k", INTEGER), Column("text", STRING), Column("at", DATE)]


def test_deletions_add_no_column_to_a_table() -> None:
    deletes = chunk(Column("k", INTEGER), Column("at", DATETIME), deletes=True)
    assert agree(job("at", ("k",)), [deletes], table(Column("k", STRING)), []) == [Column("k", STRING)]
    with_place = table(Column("k", STRING), Column("at", DATE))
    columns = agree(job("at", ("k",)), [deletes], with_place, [])
    assert columns == [Column("k", STRING), Column("at", DATE)]


def test_no_chunks_and_chunks_without_a_report() -> None:
    assert agree(job(), [], None, []) == []
    empty = Chunk("c", "j", "p", 1, ChunkType.UPSERT, 1, "", FileType.CSV, now())
    assert agree(job(), [empty], None, []) == []
