"""What the clock asks for: pools that were loaded, all of them now and then, a share of the time at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import wait_for
from headrace import housekeeping
from headrace.housekeeping import Housekeeper
from headrace.model import TableRef
from headrace.retention import Retention
from headrace.tables import Chores, TableEngine

A, B = TableRef("a"), TableRef("b")


@dataclass
class Tables:
    """What is due, and what was done about it."""

    due: dict[str, Chores] = field(default_factory=dict)
    done: list[Any] = field(default_factory=list)
    fails: bool = False

    def chores(self, pool_id: str) -> Chores:
        if pool_id == "broken":
            raise OSError
        return self.due.get(pool_id, Chores())

    def maintain(self, pool_id: str, ref: TableRef) -> None:
        self.done.append((pool_id, ref))
        if self.fails:
            raise OSError

    def expire(self, pool_id: str) -> None:
        self.done.append((pool_id, "expire"))

    def rest(self, idle_seconds: float) -> None:
        pass


@dataclass
class Swept:
    sweeps: int = 0

    def sweep(self, go_on: Callable[[], bool]) -> None:
        assert go_on()
        self.sweeps += 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_LOOK_EVERY_S", 0.01)


@contextmanager
def at_work(
    tables: Tables, swept: Swept | None = None, pools: Sequence[str] = (), share: float = 1.0
) -> Iterator[Housekeeper]:
    keeper = Housekeeper(cast(TableEngine, tables), cast(Retention, swept or Swept()), lambda: pools, share)
    keeper.start()
    yield keeper
    assert keeper.stop(60)


def test_a_pool_that_was_loaded_is_looked_after() -> None:
    tables = Tables({"p": Chores((A, B)), "q": Chores(old_versions=True), "idle": Chores((A,))})
    with at_work(tables) as keeper:
        for pool in ("p", "q", "nothing"):
            keeper.loaded(pool)
        wait_for(lambda: len(tables.done) == 4)
    assert set(tables.done) == {("p", A), ("p", B), ("p", "expire"), ("q", "expire")}


def test_it_is_looked_at_once_for_many_loads() -> None:
    tables = Tables({"p": Chores((A,))})
    keeper = Housekeeper(cast(TableEngine, tables), cast(Retention, Swept()), list, 1.0)
    for _ in range(100):
        keeper.loaded("p")
    keeper.start()
    wait_for(lambda: len(tables.done) >= 2)
    assert keeper.stop(60)
    assert tables.done == [("p", A), ("p", "expire")]


def test_all_pools_are_looked_after_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_FIRST_S", 0.0)
    tables, swept = Tables({"p": Chores((A,))}), Swept()
    with at_work(tables, swept, ["p", "q"]):
        wait_for(lambda: len(tables.done) == 3)
    assert tables.done == [("p", A), ("p", "expire"), ("q", "expire")]
    assert swept.sweeps == 1


def test_what_fails_does_not_end_it() -> None:
    tables = Tables({"p": Chores((A, B))}, fails=True)
    with at_work(tables) as keeper:
        keeper.loaded("broken")
        keeper.loaded("p")
        wait_for(lambda: len(tables.done) == 3)
        keeper.loaded("p")
        wait_for(lambda: len(tables.done) == 6)


@pytest.mark.parametrize(("share", "rest"), [(1.0, 0.0), (0.5, 8.0), (0.1, 72.0)])
def test_the_rest_of_the_time_is_left_to_others(
    monkeypatch: pytest.MonkeyPatch, share: float, rest: float
) -> None:
    """Each piece of work takes eight seconds here."""
    clock = iter(range(0, 1000, 8))
    monkeypatch.setattr(housekeeping, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    rests: list[float] = []
    keeper = Housekeeper(cast(TableEngine, Tables()), cast(Retention, Swept()), list, share)

    class Waited(Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0.0)
            return False

    keeper._stopping = Waited()
    keeper._work("it", lambda: None)
    assert rests == [pytest.approx(rest)]
