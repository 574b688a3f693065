"""Want of memory in an engine, met with fewer threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import duckdb

from headrace.errors import TooHungry

T = TypeVar("T")


class Thrift:
    """Does once more, with one thread, what has lacked memory: each thread holds rows of its own.

    One such work at a time, so that two that are each too large together both get through.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        self._engine = engine
        self._lock = Lock()

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
    def _one_thread(self) -> Iterator[None]:
        with self._lock, self._engine.cursor() as cursor:
            usual = cursor.execute("SELECT current_setting('threads')").fetchall()[0][0]
            cursor.execute("SET threads = 1")
            try:
                yield
            finally:
                cursor.execute(f"SET threads = {usual}")
