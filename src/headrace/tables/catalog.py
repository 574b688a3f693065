"""A lake's catalog: which tables, versions and receipts it knows.

Asked of the lake itself: information_schema would touch every attached lake.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from headrace.conversion import literal, quoted
from headrace.model import (
    BOOLEAN,
    CHANGE_DATE,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    Column,
    ColumnKind,
    ColumnType,
    Receipt,
    Table,
    TableRef,
    Version,
    decimal,
    fold,
)
from headrace.tables.catalogs import Catalog
from headrace.tables.lakefiles import LakeFiles
from headrace.tables.writer import Writer

BOOKS = "headrace"
"""The lake's schema for what is ours."""

UNDO = "UNDO"
"""The message of a snapshot that took a job back; those of jobs are their types."""

_STORED = {
    "varchar": STRING,
    "int64": INTEGER,
    "float64": FLOAT,
    "boolean": BOOLEAN,
    "date": DATE,
    "time": TIME,
    "timestamp": DATETIME,
}


@dataclass
class Lake:
    """An attached lake: its alias in the engine, its writer lock, which catalog it is, who uses it, when."""

    alias: str
    files: LakeFiles
    catalog: Catalog
    writer: Writer
    identity: Hashable | None = None
    users: int = 0
    used_at: float = 0.0  # on the clock that never goes back

    @property
    def books(self) -> str:
        """What stands before the name of a table of the catalog in the engine's SQL."""
        return self.catalog.books(self.alias)


def table_name(lake: Lake, ref: TableRef) -> str:
    return f"{lake.alias}.{quoted(ref.connection_id or 'main')}.{quoted(ref.name)}"


def all_tables(cursor: duckdb.DuckDBPyConnection, lake: Lake, version: int | None = None) -> list[Table]:
    """Now, or at a version; without the rows of then."""
    return _tables(cursor, lake, version)


def find_table(cursor: duckdb.DuckDBPyConnection, lake: Lake, ref: TableRef) -> Table | None:
    """The table of that name, however it is spelled; the columns of all others are not looked at."""
    names = asked(
        cursor,
        lake,
        "SELECT s.schema_name, t.table_name FROM ducklake_table t "
        f"JOIN ducklake_schema s USING (schema_id) WHERE {alive('t')} AND {alive('s')}",
    )
    spelled = next(((s, t) for s, t in names if ref_of(s, t).folded == ref.folded), None)
    if spelled is None:
        return None
    schema, name = map(literal, spelled)  # not by its id: the table may be made anew in between
    found = _tables(cursor, lake, None, f"s.schema_name = {schema} AND t.table_name = {name}")
    return found[0] if found else None


def _tables(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, version: int | None, wanted: str = "true"
) -> list[Table]:
    rows = asked(
        cursor,
        lake,
        "SELECT s.schema_name, t.table_name, c.column_name, c.column_type, g.value, n.record_count "
        "FROM ducklake_table t JOIN ducklake_schema s USING (schema_id) "
        f"JOIN ducklake_column c ON c.table_id = t.table_id AND {alive('c', version)} "
        "LEFT JOIN ducklake_table_stats n ON n.table_id = t.table_id "
        f"LEFT JOIN ducklake_tag g ON g.object_id = t.table_id AND {alive('g', version)} "
        "AND g.key = 'comment' "
        f"WHERE {wanted} AND {alive('t', version)} AND {alive('s', version)} AND c.parent_column IS NULL "
        f"AND s.schema_name <> '{BOOKS}' ORDER BY t.table_id, c.column_order",
    )
    grouped: dict[tuple[str, str, str | None, str | None], list[tuple[str, str]]] = {}
    for schema, table, column, type, comment, records in rows:
        grouped.setdefault((schema, table, comment, records), []).append((column, type))
    return [_table(*about, columns) for about, columns in grouped.items()]


def asked(cursor: duckdb.DuckDBPyConnection, lake: Lake, query: str) -> list[tuple[Any, ...]]:
    """Answered by the database of the catalog itself: the engine would read all of each table first.

    It sees what is committed. A number that a join may leave out comes as text.
    """
    return cursor.execute(lake.catalog.asking(lake.alias, query)).fetchall()


def ref_of(schema: str, name: str) -> TableRef:
    """The table as we call it."""
    return TableRef(name, None if schema == "main" else schema)


def alive(row: str, version: int | None = None) -> str:
    """The condition that a row of the catalog is of now, or of a version."""
    if version is None:
        return f"{row}.end_snapshot IS NULL"
    ended = f"({row}.end_snapshot IS NULL OR {row}.end_snapshot > {version})"
    return f"{row}.begin_snapshot <= {version} AND {ended}"


def begin_of(cursor: duckdb.DuckDBPyConnection, lake: Lake, ref: TableRef, version: int) -> int | None:
    """The snapshot that made the table which has the name at a version: one that is replaced is another."""
    rows = cursor.execute(
        f"SELECT t.begin_snapshot FROM {lake.books}.ducklake_table t "
        f"JOIN {lake.books}.ducklake_schema s USING (schema_id) WHERE {alive('t', version)} "
        f"AND t.table_name = {literal(ref.name)} AND s.schema_name = {literal(ref.connection_id or 'main')}"
    ).fetchall()
    return int(rows[0][0]) if rows else None


def remember(
    cursor: duckdb.DuckDBPyConnection,
    lake: Lake,
    ref: TableRef,
    columns: Sequence[Column],
    unique_keys: Sequence[str],
) -> None:
    """Declared lengths and known uniqueness, as the table's comment: they change with the table."""
    comment = {
        "lengths": {c.name: c.length for c in columns if c.length},
        "unique": sorted(map(fold, unique_keys)),
    }
    text = literal(json.dumps(comment, ensure_ascii=False))
    cursor.execute(f"COMMENT ON TABLE {table_name(lake, ref)} IS {text}")


def _table(
    schema: str, name: str, comment: str | None, records: str | None, columns: Sequence[tuple[str, str]]
) -> Table:
    known = json.loads(comment) if comment else {}
    lengths: dict[str, int] = known.get("lengths", {})
    return Table(
        ref_of(schema, name),
        tuple(Column(n, _stored(type), lengths.get(n)) for n, type in columns if n != CHANGE_DATE),
        None if records is None else int(records),
        tuple(known.get("unique", ())),
    )


def _stored(catalog_type: str) -> ColumnType:
    if catalog_type.startswith("decimal("):
        precision, scale = catalog_type.removeprefix("decimal(").removesuffix(")").split(",")
        return decimal(int(precision), int(scale))
    return _STORED.get(catalog_type, ColumnType(ColumnKind.STRING))


def versions_of(cursor: duckdb.DuckDBPyConnection, lake: Lake, ref: TableRef) -> list[Version]:
    known = cursor.execute(
        f"SELECT t.table_id, t.begin_snapshot, t.end_snapshot FROM {lake.books}.ducklake_table t "
        f"JOIN {lake.books}.ducklake_schema s USING (schema_id) "
        "WHERE t.table_name = ? AND s.schema_name = ?",
        [ref.name, ref.connection_id or "main"],
    ).fetchall()
    wanted = {str(id) for id, _, _ in known}
    rows = cursor.execute(
        "SELECT s.snapshot_id, s.snapshot_time::VARCHAR, c.changes_made, c.commit_message, "
        f"c.commit_extra_info FROM {lake.books}.ducklake_snapshot s "
        f"JOIN {lake.books}.ducklake_snapshot_changes c USING (snapshot_id) "
        "ORDER BY 1 DESC"
    ).fetchall()
    return [
        Version(
            int(id),
            datetime.fromisoformat(at),
            job,
            message or "upkeep",
            undo=message == UNDO,
            gone=not any(begin <= id and (end is None or id < end) for _, begin, end in known),
        )
        for id, at, changes, message, job in rows
        if _touches(changes or "", wanted, ref)
    ]


def _touches(changes: str, table_ids: set[str], ref: TableRef) -> bool:
    """``changes`` reads like ``created_table:"main"."t",inserted_into_table:3,inlined_delete:3``."""
    schema = ref.connection_id or "main"
    if f"{quoted(schema)}.{quoted(ref.name)}" in changes:
        return True
    return any(part.rpartition(":")[2] in table_ids for part in changes.split(","))


def snapshot_of(cursor: duckdb.DuckDBPyConnection, lake: Lake, job_id: str) -> int | None:
    """The snapshot that a job made; None when it is no longer kept."""
    rows = cursor.execute(
        f"SELECT snapshot_id FROM {lake.books}.ducklake_snapshot_changes "
        f"WHERE commit_extra_info = {literal(job_id)} AND commit_message <> {literal(UNDO)}"
    ).fetchall()
    return int(rows[0][0]) if rows else None


def named_jobs(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> set[str]:
    """The jobs that made, or took back, a version that is kept."""
    query = (
        "SELECT DISTINCT commit_extra_info FROM ducklake_snapshot_changes WHERE commit_extra_info IS NOT NULL"
    )
    return {job_id for (job_id,) in asked(cursor, lake, query)}


def has_snapshot(cursor: duckdb.DuckDBPyConnection, lake: Lake, version: int) -> bool:
    query = f"SELECT 1 FROM {lake.books}.ducklake_snapshot WHERE snapshot_id = {version}"
    return bool(cursor.execute(query).fetchall())


def stamp_of(at: datetime) -> str:
    """As the engine writes a TIMESTAMP, UTC."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def receipt_of(cursor: duckdb.DuckDBPyConnection, lake: Lake, job_id: str) -> Receipt | None:
    query = f"SELECT receipt FROM {lake.alias}.{BOOKS}.loads WHERE job_id = ?"
    rows = cursor.execute(query, [job_id]).fetchall()
    return _read_receipt(rows[0][0]) if rows else None


def _read_receipt(text: str) -> Receipt:
    fields = json.loads(text)
    fields["change_date"] = datetime.fromisoformat(fields["change_date"])
    fields["logs"] = tuple(fields["logs"])
    return Receipt(**fields)
