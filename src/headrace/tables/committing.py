"""From BEGIN to COMMIT of a lake's transaction: one snapshot whose files are durable, or nothing at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from headrace.crashpoints import crash_point
from headrace.tables.catalog import Lake
from headrace.tables.written import sync_files, synced


@contextmanager
def one_snapshot(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, attempt: Path, last_check: Callable[[], None]
) -> Iterator[None]:
    """``attempt`` is the folder of what is added; ``last_check`` may raise right before the commit.

    The engine syncs its catalog and no Parquet file, so every file that the transaction adds or writes is
    synced here, before the commit.
    """
    data = lake.files.data
    cursor.execute("BEGIN")
    try:
        with synced(data):
            yield
        sync_files(attempt.rglob("*.parquet"), data)
        crash_point("before-commit")
        last_check()
        crash_point("committing")
    except BaseException:
        rollback(cursor)
        shutil.rmtree(attempt, ignore_errors=True)
        raise
    try:
        cursor.execute("COMMIT")
    except BaseException:
        rollback(cursor)  # its files stay: an error does not prove that nothing was committed
        raise
    crash_point("committed")


@contextmanager
def transaction(cursor: duckdb.DuckDBPyConnection, data: Path) -> Iterator[None]:
    """Of what adds no rows; committed when all that it wrote is synced."""
    cursor.execute("BEGIN")
    try:
        with synced(data):
            yield
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


def rollback(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.TransactionException):  # a commit that failed has ended it already
        cursor.execute("ROLLBACK")
