"""Upkeep of a lake: a push that updates rows in n files leaves n deletions, so small pushes grow dearer
until small files are made one again.

The recipe was measured over a thousand pushes (docs/adr/0002-ducklake.md): free the inlined deletions,
make the small files one, sorted by key, rewrite big files of which more than a fifth is deleted, expire
old versions, remove what nothing refers to any more. What is due is told by the catalog alone, so that no
restart forgets it. Who changes anything holds the lake's writer lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import duckdb

from headrace.conversion import literal, quoted
from headrace.model import CHANGE_DATE, Table, TableRef, fold
from headrace.tables import Chores
from headrace.tables.catalog import BOOKS, Lake, alive, asked, ref_of, table_name
from headrace.tables.checking import all_files
from headrace.tables.committing import transaction
from headrace.tables.inlining import rows_as_files
from headrace.tables.lakedata import COMPACTED

_SMALL_BYTES = 256 << 10
_LARGE_BYTES = 16 << 20
"""A file of so many bytes is made one with no other any more."""

_REWRITE_SHARE = 0.2
_READERS_GRACE = "1 hour"
"""A query that began on a version may go on reading its files for so long."""

_ORPHANS_GRACE = "1 day"
"""What no version names may be of a load whose COMMIT still arrives."""

_INLINED = "ducklake_inlined_delete_"
"""With the id of a table: where the catalog keeps its deletions."""

_ASKED_AT_ONCE = 400
"""SQLite takes 500 parts of one query."""


class Upkeep:
    """``keep_days``: how long old versions stay readable. ``loads``: so many of a table, and it is due."""

    def __init__(self, *, keep_days: float, loads: int) -> None:
        self._keep = f"INTERVAL {round(keep_days * 86400)} SECOND"
        self._loads = loads

    def chores(self, cursor: duckdb.DuckDBPyConnection, lake: Lake) -> Chores:
        """Only the bare catalog is asked: that may be done beside a load."""
        files, loads = _files(cursor, lake), _loads_with_deletions(cursor, lake)
        due = {
            ref
            for ref, (table_id, of_table) in files.items()
            if _small([f.bytes for f in of_table]) >= max(2, self._loads)
            or any(f.worn for f in of_table)
            or loads.get(table_id, 0) >= self._loads
        }
        return Chores(tuple(due), len(self._old_versions(cursor, lake)) >= self._loads)

    def tidy(self, cursor: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> None:
        """One round for one table; changes no row."""
        name, data = literal(lake.alias), lake.files.data
        with transaction(cursor, data):
            cursor.execute(f"CALL ducklake_flush_inlined_data({name})")
        if table.column("filename"):  # ours hides the engine's own, by which the small files are chosen
            self._make_one(cursor, lake, table.ref)
        else:
            self._compact(cursor, lake, table)
            self._rewrite(cursor, lake, table.ref, share=_REWRITE_SHARE)

    def _make_one(self, cursor: duckdb.DuckDBPyConnection, lake: Lake, ref: TableRef) -> None:
        """All files of a table, by the engine's own means: it merges none of which rows are deleted."""
        self._rewrite(cursor, lake, ref, share=0.0)
        with transaction(cursor, lake.files.data):
            cursor.execute(
                f"CALL ducklake_merge_adjacent_files({literal(lake.alias)}, {literal(ref.name)}, "
                f"schema => {_schema(ref)})"
            )

    def _rewrite(self, cursor: duckdb.DuckDBPyConnection, lake: Lake, ref: TableRef, *, share: float) -> None:
        """Files of which more than this share of rows is deleted, without those rows."""
        with transaction(cursor, lake.files.data):
            cursor.execute(
                f"CALL ducklake_rewrite_data_files({literal(lake.alias)}, {literal(ref.name)}, "
                f"schema => {_schema(ref)}, delete_threshold => {share})"
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
        target = f"{data.make_folder(f'{data.place}{COMPACTED}')}/{uuid4().hex}.parquet"
        with rows_as_files(cursor, lake), transaction(cursor, data):
            rows = cursor.execute(
                f"COPY (SELECT {columns} FROM {name} WHERE {chosen}{order}) TO {literal(target)} "
                "(FORMAT parquet, COMPRESSION zstd)"
            ).fetchall()[0][0]
            cursor.execute(f"DELETE FROM {name} WHERE {chosen}")
            if rows:
                cursor.execute(
                    f"CALL ducklake_add_data_files({literal(lake.alias)}, {literal(table.ref.name)}, "
                    f"{literal(target)}, schema => {_schema(table.ref)}, hive_partitioning => false)"
                )
            data.settle(target)
        if not rows:
            data.remove(target)

    def expire(self, cursor: duckdb.DuckDBPyConnection, lake: Lake) -> None:
        """Drop versions that are old, and the files that nobody needs any more."""
        name = literal(lake.alias)
        if _count_of_receipt_files(cursor, lake) >= max(2, self._loads):
            self._make_one(cursor, lake, TableRef("loads", BOOKS))
        if old := self._old_versions(cursor, lake):
            versions = ", ".join(map(str, old))
            cursor.execute(f"CALL ducklake_expire_snapshots({name}, versions => [{versions}])")
        lake.catalog.tidy(cursor, lake.alias)
        # the sweep goes by age: files of the last hour may belong to a reader
        cursor.execute(
            f"CALL ducklake_cleanup_old_files({name}, older_than => now() - INTERVAL '{_READERS_GRACE}')"
        )
        cursor.execute(
            f"CALL ducklake_delete_orphaned_files({name}, older_than => now() - INTERVAL '{_ORPHANS_GRACE}')"
        )
        lake.files.data.tidy(lambda: all_files(cursor, lake))

    def _old_versions(self, cursor: duckdb.DuckDBPyConnection, lake: Lake) -> Sequence[int]:
        # by their numbers: the engine compares times as texts of two forms, and takes a whole day for past;
        # a version is old since the next one: until then it was the table, and the next may be undone
        old = cursor.execute(
            f"SELECT snapshot_id FROM {lake.books}.ducklake_snapshot "
            "QUALIFY lead(snapshot_time::TIMESTAMPTZ) OVER (ORDER BY snapshot_id) "
            f"< now() - {self._keep}"
        ).fetchall()
        return [version for (version,) in old]


@dataclass(frozen=True)
class _File:
    """A data file of a table as it is now; ``deleted``: of its rows, as far as files say so."""

    bytes: int
    rows: int
    deleted: int

    @property
    def worn(self) -> bool:
        """Small ones go by themselves."""
        return self.bytes > _SMALL_BYTES and self.deleted > _REWRITE_SHARE * self.rows


def _files(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> dict[TableRef, tuple[int, list[_File]]]:
    """Of every table its id and its files, the smallest first."""
    rows = asked(
        cursor,
        lake,
        "SELECT s.schema_name, t.table_name, t.table_id, f.file_size_bytes, f.record_count, d.delete_count "
        "FROM ducklake_data_file f "
        f"JOIN ducklake_table t ON t.table_id = f.table_id AND {alive('t')} "
        f"JOIN ducklake_schema s ON s.schema_id = t.schema_id AND {alive('s')} "
        f"LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id AND {alive('d')} "
        f"WHERE {alive('f')} AND s.schema_name <> '{BOOKS}' ORDER BY f.file_size_bytes",
    )
    found: dict[TableRef, tuple[int, list[_File]]] = {}
    for schema, name, id, size, records, deleted in rows:
        _, files = found.setdefault(ref_of(schema, name), (int(id), []))
        files.append(_File(int(size), int(records), int(deleted or 0)))
    return found


def _count_of_receipt_files(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> int:
    """Every round of upkeep leaves one."""
    [(count,)] = asked(
        cursor,
        lake,
        f"SELECT count(*) FROM ducklake_data_file f JOIN ducklake_table t ON t.table_id = f.table_id "
        f"JOIN ducklake_schema s ON s.schema_id = t.schema_id AND s.schema_name = '{BOOKS}' "
        f"WHERE {alive('f')} AND {alive('t')}",
    )
    return int(count)


def _loads_with_deletions(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> dict[int, int]:
    """By the id of a table, how many loads have left deletions in the catalog."""
    names = asked(cursor, lake, lake.catalog.inlined_deletes)
    ids = [int(name.removeprefix(_INLINED)) for (name,) in names]
    found: dict[int, int] = {}
    for start in range(0, len(ids), _ASKED_AT_ONCE):
        parts = (
            f"SELECT {id}, count(DISTINCT begin_snapshot) FROM {_INLINED}{id}"
            for id in ids[start : start + _ASKED_AT_ONCE]
        )
        found |= {int(id): int(loads) for id, loads in asked(cursor, lake, " UNION ALL ".join(parts))}
    return found


def _schema(ref: TableRef) -> str:
    return literal(ref.connection_id or "main")


def _small_files(cursor: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> Sequence[str]:
    """The files that are to be made one."""
    files = cursor.execute(
        f"SELECT data_file, data_file_size_bytes FROM ducklake_list_files({literal(lake.alias)}, "
        f"{literal(table.ref.name)}, schema => {_schema(table.ref)}) ORDER BY 2"
    ).fetchall()
    return [path for path, _ in files[: _small([size for _, size in files])]]


def _small(sizes: Sequence[int]) -> int:
    """How many of the files, the smallest first, are to be made one.

    A file joins while it is small or no larger than those before it together: so sizes double, and a row is
    written again only that often.
    """
    total = 0
    for number, size in enumerate(sizes):
        if size > _LARGE_BYTES or (number and size > max(_SMALL_BYTES, total)):
            return number
        total += size
    return len(sizes)
