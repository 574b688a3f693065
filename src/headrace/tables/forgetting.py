"""Receipts go when their jobs go: a lake that is loaded for years would only grow by them."""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from headrace.conversion import literal
from headrace.tables.catalog import BOOKS, Lake
from headrace.tables.committing import transaction
from headrace.tables.undoing import name_of_undo


def forget_receipts(cursor: duckdb.DuckDBPyConnection, lake: Lake, job_ids: Collection[str]) -> int:
    """Those of the loads and of their undoings; answers how many."""
    names = [name for job_id in job_ids for name in (job_id, name_of_undo(job_id))]
    if not names:
        return 0
    books, chosen = f"{lake.alias}.{BOOKS}.loads", f"job_id IN ({', '.join(map(literal, names))})"
    [(found,)] = cursor.execute(f"SELECT count(*) FROM {books} WHERE {chosen}").fetchall()
    if found:
        with transaction(cursor, lake.files.data):
            cursor.execute(f"DELETE FROM {books} WHERE {chosen}")
    return int(found)
