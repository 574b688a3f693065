"""Catalogs that move from files of SQLite into a database of PostgreSQL, and lakes that are compared.

The engine makes an empty catalog there, so that its tables and keys are those of its own; then all rows are
changed for those of the old one, in one transaction with the mark of the step.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from duckdb_extensions import import_extension
from sqlalchemy import Connection

from headrace.conversion import literal, quoted
from headrace.errors import Conflict
from headrace.tables.catalogs import Catalog
from headrace.tables.lakedata import LakesData
from headrace.tables.postgrescatalogs import PostgresCatalog, PostgresCatalogs

_AT_ONCE = 1000

_INLINED = "ducklake_inlined_"

_ROWS_IN = {
    "varchar": "bytea",
    "int64": "bigint",
    "float64": "double precision",
    "boolean": "boolean",
    "time": "time",
    "blob": "bytea",
}
"""How the engine writes rows that it keeps in a catalog there, by the lake's type; decimals are numeric, and
all else is text."""

_OURS = {"row_id": "bigint", "begin_snapshot": "bigint", "end_snapshot": "bigint", "file_id": "bigint"}

_BOUNDS = frozenset({"min_value", "max_value"})
"""What is not known of a column costs a look into its file."""


@dataclass(frozen=True)
class Content:
    """A table: its rows, and a checksum of them in any order."""

    rows: int
    sum: int
    xor: int


class CatalogMoves:
    """``catalogs`` and ``data`` are the new ones; the former are closed with this."""

    def __init__(self, catalogs: PostgresCatalogs, data: LakesData, *, memory_mb: int, temp: Path) -> None:
        self._catalogs = catalogs
        extensions = ("ducklake", "sqlite_scanner", "postgres_scanner", *data.extensions)
        for extension in extensions:
            import_extension(extension)
        self._engine = duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        self._engine.execute("; ".join(f"LOAD {extension}" for extension in extensions))
        self._engine.execute(f"SET enable_progress_bar=false; SET memory_limit='{memory_mb}MB'")
        self._engine.execute(f"SET TimeZone='UTC'; SET temp_directory={literal(str(temp / 'moving'))}")
        catalogs.set_up(self._engine)
        data.set_up(self._engine)

    def copy(self, pool_id: str, books: Path, data: str, mark: Callable[[Connection], None]) -> None:
        """The catalog of a file, whose data lie at ``data``, into the database. May be repeated."""
        catalog = self._catalogs.of(pool_id)
        catalog.drop()
        self._engine.execute(
            f"ATTACH {catalog.attach()} AS made (DATA_PATH {literal(data)}, {catalog.options()})"
        )
        self._engine.execute("DETACH made")
        with closing(sqlite3.connect(books)) as old, self._catalogs.changing() as new:
            _copy_rows(old, new, catalog)
            mark(new)

    def copy_back(self, pool_id: str, target: Path) -> None:
        """The new one as a file, as its readers get it."""
        self._catalogs.of(pool_id).copying()(target)

    def contents_of_file(self, books: Path, data: str) -> dict[tuple[str, str], Content]:
        """Of every table, by schema and name, as the lake of a file has it."""
        options = f"READ_ONLY, DATA_PATH {literal(data)}"
        return self._contents(f"ATTACH {literal(f'ducklake:sqlite:{books}')} AS compared ({options})")

    def contents(self, pool_id: str, data: str) -> dict[tuple[str, str], Content]:
        """The same of the new one."""
        catalog: Catalog = self._catalogs.of(pool_id)
        options = f"READ_ONLY, DATA_PATH {literal(data)}, {catalog.options()}"
        return self._contents(f"ATTACH {catalog.attach()} AS compared ({options})")

    def _contents(self, attach: str) -> dict[tuple[str, str], Content]:
        self._engine.execute(attach)
        try:
            names = self._engine.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'compared'"
            ).fetchall()
            return {(schema, name): self._content(schema, name) for schema, name in names}
        finally:
            self._engine.execute("DETACH compared")

    def _content(self, schema: str, name: str) -> Content:
        table = f"compared.{quoted(schema)}.{quoted(name)}"
        asked = "SELECT count(*), coalesce(sum(hash(t)::HUGEINT), 0), coalesce(bit_xor(hash(t)), 0)"
        [(rows, sum, xor)] = self._engine.execute(f"{asked} FROM {table} t").fetchall()
        return Content(rows, int(sum), int(xor))

    def close(self) -> None:
        self._engine.close()
        self._catalogs.close()


def counts_of_file(books: Path) -> dict[str, int]:
    """How many rows each table of a catalog has, unless it has none."""
    with closing(sqlite3.connect(books)) as old:
        counts = {name: _count(old, name) for name in _tables(old)}
    return {name: count for name, count in counts.items() if count}


def digest_of_file(books: Path) -> str:
    """The same as long as no row of the catalog is another."""
    hash = hashlib.sha256()
    with closing(sqlite3.connect(books)) as old:
        for name in sorted(_tables(old)):
            hash.update(name.encode())
            for row in old.execute(f"SELECT * FROM {quoted(name)}"):
                hash.update(repr(row).encode())
    return hash.hexdigest()


def _count(books: sqlite3.Connection, table: str) -> int:
    [(count,)] = books.execute(f"SELECT count(*) FROM {quoted(table)}")
    return int(count)


def _tables(books: sqlite3.Connection) -> list[str]:
    found = books.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [name for (name,) in found]


# -- rows ----------------------------------------------------------------------------------------------


def _copy_rows(old: sqlite3.Connection, new: Connection, catalog: PostgresCatalog) -> None:
    there = catalog.columns(new)
    _refuse_other_version(old, new, catalog)
    for table in there:
        new.exec_driver_sql(f"DELETE FROM {catalog.schema}.{quoted(table)}")
    for table in _tables(old):
        columns = [str(name) for _, name, *_ in old.execute(f"PRAGMA table_info({quoted(table)})")]
        types = there.get(table) or _made(old, new, catalog, table, columns)
        _fill(old, new, f"{catalog.schema}.{quoted(table)}", table, {name: types[name] for name in columns})


def _refuse_other_version(old: sqlite3.Connection, new: Connection, catalog: PostgresCatalog) -> None:
    asked = "SELECT value FROM {}ducklake_metadata WHERE key = 'version'"
    [(here,)] = old.execute(asked.format(""))
    there = new.exec_driver_sql(asked.format(f"{catalog.schema}.")).scalar_one()
    if here != there:
        raise Conflict(
            "A catalog is of another version: start this Headrace on the folder once, and stop it."
        )


def _made(
    old: sqlite3.Connection, new: Connection, catalog: PostgresCatalog, table: str, columns: Sequence[str]
) -> dict[str, str]:
    """A table for rows that are kept in the catalog: the engine makes it with the table that has them."""
    if not table.startswith(_INLINED):
        raise Conflict(
            f"The catalog for {catalog.schema} has a table {table}, which the engine does not know."
        )
    known = _types_of_rows(old, table)
    types = {name: _OURS.get(name) or known[name] for name in columns}
    made = ", ".join(f"{quoted(name)} {type}" for name, type in types.items())
    new.exec_driver_sql(f"CREATE TABLE {catalog.schema}.{quoted(table)} ({_percented(made)})")
    return types


def _types_of_rows(old: sqlite3.Connection, table: str) -> dict[str, str]:
    """By column; one that was changed since has had other types, and is written in text as well."""
    found = old.execute(
        "SELECT c.column_name, c.column_type FROM ducklake_inlined_data_tables i "
        "JOIN ducklake_column c USING (table_id) WHERE i.table_name = ? AND c.begin_snapshot <= "
        "(SELECT max(begin_snapshot) FROM ducklake_schema_versions v "
        "WHERE v.schema_version <= i.schema_version) ORDER BY c.begin_snapshot",
        [table],
    )
    return {
        name: "numeric" if type.startswith("decimal") else _ROWS_IN.get(type, "varchar")
        for name, type in found
    }


def _fill(old: sqlite3.Connection, new: Connection, place: str, table: str, types: dict[str, str]) -> None:
    names = ", ".join(map(quoted, types))
    places = ", ".join(f"%s::{type}" for type in types.values())
    insert = f"INSERT INTO {_percented(place)} ({_percented(names)}) VALUES ({places})"
    bounds = table.endswith("_stats")
    found = old.execute(f"SELECT {names} FROM {quoted(table)}")
    for rows in _some(found):
        values = [
            tuple(
                _value(name, type, value, bounds)
                for (name, type), value in zip(types.items(), row, strict=True)
            )
            for row in rows
        ]
        new.exec_driver_sql(insert, values)


def _some(found: sqlite3.Cursor) -> Iterator[list[Any]]:
    while rows := found.fetchmany(_AT_ONCE):
        yield rows


def _value(name: str, type: str, value: Any, bounds: bool) -> Any:
    if value is None:
        return None
    if type == "boolean":
        return bool(value)
    if type == "bytea":
        return value if isinstance(value, bytes) else value.encode()
    if isinstance(value, str) and "\x00" in value and bounds and name in _BOUNDS:
        return None
    return value if isinstance(value, int) and type == "bigint" else str(value)


def _percented(sql: str) -> str:
    return sql.replace("%", "%%")
