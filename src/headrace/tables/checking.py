"""Files of tables are compared with their checksums before their rows count, whoever reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import duckdb

from headrace.conversion import literal
from headrace.errors import TableDamaged
from headrace.model import TableRef, fold
from headrace.tables.catalog import Lake, alive, asked

_ANY_SPELLING = 'u&"'
"""A name that SQL spells by the numbers of its letters."""

_OLD_VERSION = re.compile(r"\bat\b")


def check_files(
    cursor: duckdb.DuckDBPyConnection,
    lake: Lake,
    tables: Collection[TableRef],
    *,
    versions: bool = False,
) -> None:
    """Of these tables now, with ``versions`` of all that are kept. Raises TableDamaged.

    Files that this process has compared are not read again. Only the bare catalog is asked: that may be
    done beside a load.
    """
    lake.files.data.check(files_of(cursor, lake, tables, versions=versions))


def are_as_written(cursor: duckdb.DuckDBPyConnection, lake: Lake, table: TableRef) -> bool:
    """Whether ``check_files`` passes."""
    try:
        check_files(cursor, lake, [table])
    except TableDamaged:
        return False
    return True


def check_named(cursor: duckdb.DuckDBPyConnection, lake: Lake, tables: Iterable[TableRef], sql: str) -> None:
    """Of those tables that a query may read. Raises TableDamaged."""
    said = fold(sql)
    named = [table for table in tables if _may_be_named(fold(table.name), said)]
    check_files(cursor, lake, named, versions=bool(_OLD_VERSION.search(said)))


def _may_be_named(name: str, sql: str) -> bool:
    if _ANY_SPELLING in sql:
        return True
    if name.isidentifier():
        return re.search(rf"(?<!\w){name}(?!\w)", sql) is not None
    return name in sql or name.replace('"', '""') in sql


def files_of(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, tables: Collection[TableRef], *, versions: bool = False
) -> list[str]:
    """Data and deletions; spelled as the catalog spells the tables."""
    if not tables:
        return []
    names = " OR ".join(
        f"(s.schema_name = {literal(t.connection_id or 'main')} AND t.table_name = {literal(t.name)})"
        for t in tables
    )
    return _files(cursor, lake, f"({names})" + ("" if versions else f" AND {alive('t')} AND {alive('f')}"))


def all_files(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> list[str]:
    """Of every version of every table, ours among them."""
    return _files(cursor, lake, "true")


def _files(cursor: duckdb.DuckDBPyConnection, lake: Lake, wanted: str) -> list[str]:
    rows = asked(
        cursor,
        lake,
        " UNION ALL ".join(
            f"SELECT {_place('s')}, {_place('t')}, {_place('f')} FROM {kind} f "
            "JOIN ducklake_table t ON t.table_id = f.table_id "
            f"JOIN ducklake_schema s ON s.schema_id = t.schema_id WHERE {wanted}"
            for kind in ("ducklake_data_file", "ducklake_delete_file")
        ),
    )
    return [_joined(lake.files.data.place, row) for row in rows]


def _place(of: str) -> str:
    return f"{of}.path AS {of}_path, CASE WHEN {of}.path_is_relative THEN 1 ELSE 0 END AS {of}_relative"


def _joined(top: str, places: Sequence[str | int]) -> str:
    path = top
    for place, relative in zip(places[::2], places[1::2], strict=True):
        path = f"{path.rstrip('/')}/{place}" if int(relative) else str(place)
    return path
