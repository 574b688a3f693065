"""One table, found among all others of a lake while jobs go on."""

# ruff: noqa: F811  the fixtures are those of another file

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb
import pytest

from engine.test_upkeep import K_V, Lake, NewLake, disk, engines, new_lake  # noqa: F401  fixtures
from headrace.model import JobType, Table, TableRef
from headrace.tables.catalog import find_table


@dataclass
class Interrupted:
    """A cursor, and what happens before its second question."""

    cursor: duckdb.DuckDBPyConnection
    act: Callable[[], object]
    asked: int = 0

    def execute(self, query: str) -> Any:
        self.asked += 1
        if self.asked == 2:
            self.act()
        return self.cursor.execute(query)


def found_while(lake: Lake, act: Callable[[], object]) -> Table | None:
    with lake.tables._cursor(lake.pool) as (cursor, attached):
        interrupted: Any = Interrupted(cursor, act)
        table = find_table(interrupted, attached, lake.ref)
    assert interrupted.asked == 2
    return table


@pytest.mark.parametrize(
    "name", ["t", "T", "it's", 'b "é"', "STRASSE", "a.b", "x; DROP TABLE t", "\u0130"], ids=ascii
)
def test_it_is_found_however_it_is_spelled(new_lake: NewLake, name: str) -> None:
    ref = TableRef(name, "connection-1")
    lake = new_lake(ref)
    lake.push(K_V, [(1, "one")])
    for spelled in {name, name.lower(), name.upper(), name.casefold()}:
        if spelled.casefold() == name.casefold():
            table = lake.tables.find(lake.pool, TableRef(spelled, "connection-1"))
            assert table and (table.ref, table.rows) == (ref, 1)
    assert lake.tables.find(lake.pool, TableRef(name)) is None  # a global one is another
    assert lake.tables.find(lake.pool, TableRef(f"{name}2", "connection-1")) is None
    for nobody in (TableRef(f"{name}\0", "connection-1"), TableRef(name, "connection-1\0")):
        assert lake.tables.find(lake.pool, nobody) is None


def test_a_table_that_is_made_anew_meanwhile_is_the_new_one(new_lake: NewLake) -> None:
    lake = new_lake()
    lake.push(K_V, [(1, "one")])
    again = {"k": K_V["k"], "w": K_V["v"]}
    table = found_while(lake, lambda: lake.push(again, [(1, "one"), (2, "two")], type=JobType.REPLACE))
    assert table and [c.name for c in table.columns] == ["k", "w"]


def test_a_table_that_goes_meanwhile_is_not_there(new_lake: NewLake) -> None:
    lake = new_lake()
    lake.push(K_V, [(1, "one")])
    assert found_while(lake, lambda: lake.tables.undo(lake.pool, "job-1", (lake.ref,))) is None
