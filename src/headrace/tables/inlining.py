"""What a lake keeps in its catalog in place of a file: few deletions of a file, and no row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb

from headrace.conversion import literal
from headrace.tables.catalog import Lake

INLINED_DELETES = 1000
"""So many deletions of a file stay in the catalog: a file of them per push would grow quadratically."""


@contextmanager
def rows_as_files(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> Iterator[None]:
    """Meanwhile nothing is kept in the catalog.

    A file whose last row is deleted would stay; so it goes. A new or changed table gets no table for its
    rows, so that it may have any number of columns.
    """
    _keep(cursor, lake, 0)
    try:
        yield
    finally:
        with suppress(duckdb.TransactionException):  # it failed: more files until upkeep says so again
            _keep(cursor, lake, INLINED_DELETES)


def _keep(cursor: duckdb.DuckDBPyConnection, lake: Lake, rows: int) -> None:
    # the lake's own option: the engine's setting is not asked when a table is made
    cursor.execute(f"CALL ducklake_set_option({literal(lake.alias)}, 'data_inlining_row_limit', {rows})")
