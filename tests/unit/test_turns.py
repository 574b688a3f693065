"""Pools take turns, their chunks keep their order, and none is lost or taken twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model import Chunk, ChunkType, FileType
from headrace.turns import Turns

AT = datetime(2024, 2, 29, tzinfo=UTC)


def chunk(pool: str, number: int) -> Chunk:
    return Chunk(f"{pool}{number}", "job", pool, number, ChunkType.UPSERT, 1, "", FileType.CSV, AT)


def order(pools: str) -> list[str]:
    turns = Turns()
    for number, pool in enumerate(pools):
        turns.put(chunk(pool, number))
    return [turns.take().id for _ in pools]


def test_pools_take_turns() -> None:
    assert order("aaaabc") == ["a0", "b4", "c5", "a1", "a2", "a3"]


def test_who_comes_late_waits_for_one_of_each_pool() -> None:
    turns = Turns()
    for number in range(1000):
        turns.put(chunk("a", number))
    assert turns.take().id == "a0"
    turns.put(chunk("b", 1))
    assert [turns.take().id for _ in range(2)] == ["a1", "b1"]


@given(st.text("abc", max_size=40))
def test_nothing_is_lost_and_each_pool_keeps_its_order(pools: str) -> None:
    taken = order(pools)
    assert len(set(taken)) == len(pools)
    for pool in set(pools):
        numbers = [int(name[1:]) for name in taken if name[0] == pool]
        assert numbers == [n for n, p in enumerate(pools) if p == pool]


def test_nothing_waits() -> None:
    with pytest.raises(StopIteration):
        Turns().take()


def test_many_threads() -> None:
    turns = Turns()

    def put_and_take(number: int) -> str:
        turns.put(chunk("abc"[number % 3], number))
        return turns.take().id

    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(put_and_take, range(600)))
    assert sorted(taken) == sorted(f"{'abc'[n % 3]}{n}" for n in range(600))
