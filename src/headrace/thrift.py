"""How many threads an engine has: one for what is small, all for what is large, one for what lacks memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import duckdb

from headrace.errors import TooHungry

T = TypeVar("T")

LARGE_ROWS = 122_880
"""The engine gives a thread so many rows at a time: with fewer a second one has nothing to do.

It is woken all the same, by each statement, and two that look for work cost half as much again as one.
"""


class Thrift:
    """Keeps an engine at one thread while nothing ``large`` is done.

    What has lacked memory is done once more with one thread, whatever its size: each thread holds rows of its
    own. One such work at a time, so that two that are each too large together both get through.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        self._engine = engine
        self._all = int(engine.execute("SELECT current_setting('threads')").fetchall()[0][0])
        self._now = self._all
        self._large = 0
        self._hungry = False
        self._count = Lock()
        self._alone = Lock()
        with self._count:
            self._fit()

    def run(self, work: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """What ``work`` answers, or ``again`` if that has lacked memory. Raises TooHungry."""
        try:
            return work()
        except duckdb.OutOfMemoryException:
            pass
        with self._one_thread():
            try:
                return (again or work)()
            except duckdb.OutOfMemoryException as error:
                raise TooHungry from error

    @contextmanager
    def large(self, rows: int) -> Iterator[None]:
        """Meanwhile the engine has all of its threads, if so many rows are worth it."""
        if rows < LARGE_ROWS:
            yield
            return
        self._change(large=1)
        try:
            yield
        finally:
            self._change(large=-1)

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        with self._alone:
            self._change(hungry=True)
            try:
                yield
            finally:
                self._change(hungry=False)

    def _change(self, *, large: int = 0, hungry: bool | None = None) -> None:
        with self._count:
            self._large += large
            self._hungry = self._hungry if hungry is None else hungry
            self._fit()

    def _fit(self) -> None:
        wanted = self._all if self._large and not self._hungry else 1
        if wanted != self._now:
            with self._engine.cursor() as cursor:
                cursor.execute(f"SET threads = {wanted}")
            self._now = wanted
