"""Upkeep of a lake: a push that updates rows in n files leaves n deletions, so small pushes grow dearer
until small files are made one again.

The recipe was measured over a thousand pushes (docs/adr/0002-ducklake.md): free the inlined deletions,
make the small files one, sorted by key, rewrite big files of which more than a fifth is deleted, expire
old versions, remove what nothing refers to any more. The caller holds the lake's writer lock.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import duckdb

from headrace.conversion import literal, quoted
from headrace.model import CHANGE_DATE, Table, fold
from headrace.tables.catalog import Lake, table_name
from headrace.tables.committing import transaction
from headrace.tables.inlining import rows_as_files
from headrace.tables.written import sync_files

_SMALL_BYTES = 256 << 10
_LARGEST_BYTES = 256 << 20
_REWRITE_SHARE = 0.2
_READERS_GRACE = "1 hour"
"""A query that began on a version may go on reading its files for so long."""


class Upkeep:
    """``keep_days``: how long old versions stay readable."""

    def __init__(self, *, keep_days: float) -> None:
        self._keep = f"INTERVAL {round(keep_days * 86400)} SECOND"

    def run(self, cursor: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> None:
        """One round for one table and for the versions of its lake; changes no row."""
        name, data = literal(lake.alias), lake.files.data
        with transaction(cursor, data):
            cursor.execute(f"CALL ducklake_flush_inlined_data({name})")
        if table.column("filename"):  # ours hides the engine's own, by which the small files are chosen
            self._rewrite(cursor, lake, table, share=0.0)
            with transaction(cursor, data):
                cursor.execute(
                    f"CALL ducklake_merge_adjacent_files({name}, {literal(table.ref.name)}, "
                    f"schema => {_schema(table)})"
                )
        else:
            self._compact(cursor, lake, table)
            self._rewrite(cursor, lake, table, share=_REWRITE_SHARE)
        self._expire(cursor, lake)

    def _rewrite(self, cursor: duckdb.DuckDBPyConnection, lake: Lake, table: Table, *, share: float) -> None:
        """Files of which more than this share of rows is deleted, without those rows."""
        with transaction(cursor, lake.files.data):
            cursor.execute(
                f"CALL ducklake_rewrite_data_files({literal(lake.alias)}, {literal(table.ref.name)}, "
                f"schema => {_schema(table)}, delete_threshold => {share})"
            )

    def _compact(self, cursor: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> None:
        files = _small_files(cursor, lake, table)
        if len(files) < 2:
            return
        name, data = table_name(lake, table.ref), lake.files.data
        chosen = f"filename IN ({', '.join(map(literal, files))})"
        columns = ", ".join(quoted(c) for c in (*(c.name for c in table.columns), CHANGE_DATE))
        keys = [c for c in table.columns if fold(c.name) in table.unique_keys]
        # without known keys the order of arrival says which of two rows is the newer
        order = f" ORDER BY {', '.join(quoted(c.name) for c in keys) or 'rowid'}"
        target = data / "compact" / f"{uuid4().hex}.parquet"
        target.parent.mkdir(exist_ok=True)
        with rows_as_files(cursor, lake), transaction(cursor, data):
            rows = cursor.execute(
                f"COPY (SELECT {columns} FROM {name} WHERE {chosen}{order}) TO {literal(str(target))} "
                "(FORMAT parquet, COMPRESSION zstd)"
            ).fetchall()[0][0]
            cursor.execute(f"DELETE FROM {name} WHERE {chosen}")
            if rows:
                cursor.execute(
                    f"CALL ducklake_add_data_files({literal(lake.alias)}, {literal(table.ref.name)}, "
                    f"{literal(str(target))}, schema => {_schema(table)}, hive_partitioning => false)"
                )
            sync_files([target], data)
        if not rows:
            target.unlink()

    def _expire(self, cursor: duckdb.DuckDBPyConnection, lake: Lake) -> None:
        name, books = literal(lake.alias), f"__ducklake_metadata_{lake.alias}"
        # by their numbers: the engine compares times as texts of two forms, and takes a whole day for past;
        # a version is old since the next one: until then it was the table, and the next may be undone
        old = cursor.execute(
            f"SELECT snapshot_id FROM {books}.ducklake_snapshot "
            "QUALIFY lead(snapshot_time::TIMESTAMPTZ) OVER (ORDER BY snapshot_id) "
            f"< now() - {self._keep}"
        ).fetchall()
        if old:
            versions = ", ".join(str(version) for (version,) in old)
            cursor.execute(f"CALL ducklake_expire_snapshots({name}, versions => [{versions}])")
        cursor.execute(
            f"UPDATE {books}.ducklake_files_scheduled_for_deletion "
            "SET schedule_start = replace(schedule_start::VARCHAR, ' ', 'T')"
        )
        # the sweep goes by age: files of the last hour may belong to a reader
        cursor.execute(
            f"CALL ducklake_cleanup_old_files({name}, older_than => now() - INTERVAL '{_READERS_GRACE}')"
        )
        cursor.execute(f"CALL ducklake_delete_orphaned_files({name}, older_than => now() - INTERVAL '1 day')")
        _remove_empty_folders(lake.files.data / "up")


def _schema(table: Table) -> str:
    return literal(table.ref.connection_id or "main")


def _remove_empty_folders(top: Path) -> None:
    """The folders of loads whose files were compacted; nothing is loaded meanwhile."""
    for folder, _, _ in os.walk(top, topdown=False):
        if folder != str(top):
            with suppress(OSError):  # not empty
                Path(folder).rmdir()


def _small_files(cursor: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> Sequence[str]:
    """Ascending while a file is small or at most twice what was picked: sizes stay geometric."""
    files = cursor.execute(
        f"SELECT data_file, data_file_size_bytes FROM ducklake_list_files({literal(lake.alias)}, "
        f"{literal(table.ref.name)}, schema => {_schema(table)}) ORDER BY 2"
    ).fetchall()
    picked: list[str] = []
    total = 0
    for path, size in files:
        if not (size <= _SMALL_BYTES or size <= 2 * total) or total + size > _LARGEST_BYTES:
            break
        picked.append(path)
        total += size
    return picked
