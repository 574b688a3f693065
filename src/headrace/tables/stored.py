"""What the tables of a lake take on the disk, and when upkeep last changed their files."""

from __future__ import annotations

import re
from datetime import datetime

import duckdb

from headrace.tables import Stored, StoredTable
from headrace.tables.catalog import BOOKS, Lake, asked, ref_of

# a table that was replaced leaves its files under another id, for the versions of then
_FILES = f"""
WITH files AS (
  SELECT table_id, end_snapshot, file_size_bytes AS bytes, 1 AS rows FROM ducklake_data_file
  UNION ALL SELECT table_id, end_snapshot, file_size_bytes, 0 FROM ducklake_delete_file
)
SELECT s.schema_name, t.table_name,
  coalesce(sum(CASE WHEN f.end_snapshot IS NULL THEN f.rows END), 0) AS files,
  coalesce(sum(CASE WHEN f.end_snapshot IS NULL THEN f.bytes END), 0) AS bytes,
  coalesce(sum(CASE WHEN f.end_snapshot IS NOT NULL THEN f.bytes END), 0) AS old_bytes
FROM ducklake_table t JOIN ducklake_schema s USING (schema_id) LEFT JOIN files f USING (table_id)
WHERE s.schema_name <> '{BOOKS}'
GROUP BY s.schema_name, t.table_name
HAVING count(CASE WHEN t.end_snapshot IS NULL THEN 1 END) > 0
ORDER BY 2, 1
"""

_IDS = (
    "SELECT t.table_id, s.schema_name, t.table_name FROM ducklake_table t "
    "JOIN ducklake_schema s USING (schema_id)"
)

_UPKEEPS = (
    "SELECT CAST(s.snapshot_time AS VARCHAR), c.changes_made FROM ducklake_snapshot s "
    "JOIN ducklake_snapshot_changes c USING (snapshot_id) WHERE c.commit_message IS NULL "
    "ORDER BY s.snapshot_id"
)

_CHANGED = re.compile(r":(\d+)(?=,|$)")
"""``inserted_into_table:3,deleted_from_table:3``"""


def stored(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> Stored:
    upkeeps = _upkeeps(cursor, lake)
    tables = [
        StoredTable(ref_of(schema, name), int(files), int(size), int(old), upkeeps.get((schema, name)))
        for schema, name, files, size, old in asked(cursor, lake, _FILES)
    ]
    [(versions,)] = asked(cursor, lake, "SELECT count(*) FROM ducklake_snapshot")
    return Stored(int(versions), tuple(tables))


def _upkeeps(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> dict[tuple[str, str], datetime]:
    """By schema and name, from the versions that are kept: those of upkeep have no message."""
    names = {str(id): (schema, name) for id, schema, name in asked(cursor, lake, _IDS)}
    found: dict[tuple[str, str], datetime] = {}
    for at, changes in asked(cursor, lake, _UPKEEPS):
        for id in _CHANGED.findall(changes):
            if id in names:
                found[names[id]] = datetime.fromisoformat(str(at))
    return found
