"""From BEGIN to COMMIT of a lake's transaction: one snapshot whose files are durable, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import duckdb

from headrace.crashpoints import crash_point
from headrace.tables.catalog import Lake
from headrace.tables.lakedata import ATTEMPTS, LakeData


def new_attempt(lake: Lake, name: str) -> str:
    """A folder that no other try ever has: a COMMIT that nobody answered may still arrive."""
    return f"{lake.files.data.place}{ATTEMPTS}/{name}-{uuid4().hex[:12]}"


@contextmanager
def one_snapshot(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, attempt: str, last_check: Callable[[], None]
) -> Iterator[None]:
    """``attempt`` is the folder of what is added; ``last_check`` may raise right before the commit.

    The engine syncs its catalog and no Parquet file, so every file that the transaction adds or writes is
    made to survive here, before the commit.
    """
    data = lake.files.data
    cursor.execute("BEGIN")
    try:
        with data.written():
            yield
        data.settle(attempt)
        crash_point("before-commit")
        last_check()
        crash_point("committing")
    except BaseException:
        rollback(cursor)
        data.remove(attempt)
        raise
    try:
        cursor.execute("COMMIT")
    except BaseException:
        rollback(cursor)  # its files stay: an error does not prove that nothing was committed
        raise
    crash_point("committed")


@contextmanager
def transaction(cursor: duckdb.DuckDBPyConnection, data: LakeData) -> Iterator[None]:
    """Of what adds no rows; committed when all that it wrote survives."""
    cursor.execute("BEGIN")
    try:
        with data.written():
            yield
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


def rollback(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.TransactionException):  # a commit that failed has ended it already
        cursor.execute("ROLLBACK")
