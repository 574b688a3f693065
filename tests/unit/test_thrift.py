"""What lacks memory is done once more with one thread, one at a time; then it is told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import duckdb
import pytest

from headrace.errors import TooHungry
from headrace.thrift import Thrift


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": "4"}) as made:
        yield made


def threads(engine: duckdb.DuckDBPyConnection) -> int:
    return int(engine.cursor().execute("SELECT current_setting('threads')").fetchall()[0][0])


def fails(engine: duckdb.DuckDBPyConnection) -> None:
    cursor = engine.cursor()
    cursor.execute("SET memory_limit = '20MB'")
    cursor.execute("CREATE OR REPLACE TEMP TABLE t AS SELECT list(range) FROM range(10_000_000)")


def test_what_has_enough_is_done_once(engine: duckdb.DuckDBPyConnection) -> None:
    assert Thrift(engine).run(lambda: threads(engine), lambda: 0) == 4


def test_what_lacks_memory_gets_it_with_one_thread(engine: duckdb.DuckDBPyConnection) -> None:
    def again() -> int:
        return threads(engine)

    assert Thrift(engine).run(lambda: fails(engine) or 0, again) == 1
    assert threads(engine) == 4


def test_what_lacks_it_then_too_is_told(engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(TooHungry):
        Thrift(engine).run(lambda: fails(engine))
    assert threads(engine) == 4


def test_other_errors_are_not_met(engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.CatalogException):
        Thrift(engine).run(lambda: engine.cursor().execute("FROM nothing"))


def test_one_at_a_time(engine: duckdb.DuckDBPyConnection) -> None:
    thrift, together, within, most = Thrift(engine), Barrier(3), [], []

    def first() -> None:
        together.wait(30)
        raise duckdb.OutOfMemoryException

    def again() -> None:
        within.append(1)
        most.append(len(within))
        threads(engine)
        within.pop()

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(thrift.run, first, again) for _ in range(3)]:
            future.result(30)
    assert most == [1, 1, 1]
