"""Users' reading of Iceberg tables: a lake's catalog that names Iceberg's own files.

The confined children of the lakes read it, so users' SQL means the same over both engines and meets the same
walls. Our Iceberg tables hold no deletions, only whole files, so a list of their files is all that a reader
needs. The catalog is derived: it is brought up to date before it is read, and can be thrown away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from urllib.parse import unquote, urlparse

import duckdb
from duckdb_extensions import import_extension

from headrace.conversion import literal, quoted, sql_type
from headrace.errors import QueryRefused
from headrace.model import CHANGE_DATE, Column, ColumnKind, Table, TableRef
from headrace.tables import Answer, ExportFormat
from headrace.tables.catalog import BOOKS
from headrace.tables.datafolders import DataFolder
from headrace.tables.iceberg import Iceberg, IcebergTable
from headrace.tables.icebergstate import plain
from headrace.tables.lakefiles import LakeFiles
from headrace.tables.sandbox import Sandbox
from headrace.tables.sqlitecatalogs import SqliteCatalog
from headrace.tables.sums import Sums

_CATALOG = "mirror.sqlite"
_MOST_ROUNDS = 200
"""The catalog keeps what it was; after so many changes it is made anew."""


class MirrorReader:
    """``opened`` gives the tables of the engine."""

    def __init__(
        self, root: Path, sandbox: Sandbox, opened: Callable[[], AbstractContextManager[Iceberg]]
    ) -> None:
        self._root = root
        self._sandbox = sandbox
        self._opened = opened
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, LakeFiles] = {}

    def query(
        self,
        pool_id: str,
        tables: Sequence[TableRef],
        sql: str,
        *,
        max_rows: int,
        seconds: float,
        query_id: str | None = None,
        rejects: bool = False,
    ) -> Answer:
        files = self._fresh(pool_id)
        return self._sandbox.query(
            files, tables, sql, max_rows=max_rows, seconds=seconds, query_id=query_id, rejects=rejects
        )

    def cancel(self, pool_id: str, query_id: str) -> None:
        self._sandbox.cancel(self._known.get(pool_id) or self._files(pool_id, None), query_id)

    def export(self, pool_id: str, table: Table, format: ExportFormat) -> Generator[bytes]:
        columns = [*(c.name for c in table.columns), CHANGE_DATE]
        return self._sandbox.export(self._fresh(pool_id), table.ref, columns, format)

    def forget(self, pool_id: str) -> None:
        if files := self._known.pop(pool_id, None):
            self._sandbox.forget(files)

    # -- the catalog -----------------------------------------------------------------------------------

    def _fresh(self, pool_id: str) -> LakeFiles:
        with self._guard:
            lock = self._locks.setdefault(pool_id, threading.Lock())
        with lock, self._opened() as iceberg:
            found = list(iceberg.tables(pool_id))
            files = self._files(pool_id, _folder(found))
            files.rejects.mkdir(parents=True, exist_ok=True)
            files.data.make()
            _bring_up_to_date(self._root / pool_id / _CATALOG, Path(files.data.place), found)
            self._known[pool_id] = files
            return files

    def _files(self, pool_id: str, data: Path | None) -> LakeFiles:
        pool = self._root / pool_id
        catalog = SqliteCatalog(pool / _CATALOG)
        folder = data or pool / "data"
        return LakeFiles(catalog, DataFolder(folder, Sums(folder)), pool / "rejects")


def _folder(found: Sequence[IcebergTable]) -> Path | None:
    """Where the files of a pool's tables are. Raises QueryRefused."""
    if not found:
        return None
    location = urlparse(found[0].table.location())
    if location.scheme not in ("", "file"):
        raise QueryRefused(
            "The tables of this pool are not in a folder of this machine: read them by Spark, or by "
            "whatever else reads the Iceberg catalog."
        )
    return Path(unquote(location.path)).parent


def _bring_up_to_date(catalog: Path, data: Path, found: Sequence[IcebergTable]) -> None:
    with duckdb.connect() as engine:
        for extension in ("ducklake", "sqlite_scanner"):
            import_extension(extension, con=engine)
        engine.execute("LOAD ducklake; LOAD sqlite_scanner; SET threads = 1; SET TimeZone = 'UTC'")
        engine.execute("SET ducklake_default_data_inlining_row_limit = 0; SET enable_progress_bar = false")
        known, rounds = _attached(engine, catalog, data)
        if rounds > _MOST_ROUNDS:
            engine.execute("DETACH lake")
            for more in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    catalog.with_name(catalog.name + more).unlink()
            known, _ = _attached(engine, catalog, data)
        now = {table.name: _mark(table) for table in found if table.state.table()}
        if now == {name: mark for name, (mark, *_) in known.items()}:
            return
        engine.execute("BEGIN")
        for name, (mark, schema, called) in known.items():
            if now.get(name) != mark:
                _forget(engine, name, schema, called)
        for table in found:
            if table.name in now and known.get(table.name, ("",))[0] != now[table.name]:
                _show(engine, table, now[table.name])
        engine.execute("COMMIT")


def _attached(
    engine: duckdb.DuckDBPyConnection, catalog: Path, data: Path
) -> tuple[dict[str, tuple[str, str, str]], int]:
    engine.execute(
        f"ATTACH {literal(f'ducklake:sqlite:{catalog}')} AS lake (DATA_PATH "
        f"{literal(f'{data}/')}, META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000); USE lake"
    )
    engine.execute(f"CREATE SCHEMA IF NOT EXISTS {BOOKS}")
    rows = engine.execute(
        "SELECT table_name, comment FROM duckdb_tables() "
        f"WHERE database_name = 'lake' AND schema_name = '{BOOKS}'"
    ).fetchall()
    known = {name: tuple((comment or "\n\n").split("\n", 2)) for name, comment in rows}
    [(rounds,)] = engine.execute("SELECT count(*) FROM ducklake_snapshots('lake')").fetchall()
    return {name: (c[0], c[1], c[2]) for name, c in known.items()}, int(rounds)


def _mark(table: IcebergTable) -> str:
    entry = table.state.now
    return f"{table.snapshot_id}:{entry.version if entry else 0}"


def _forget(engine: duckdb.DuckDBPyConnection, name: str, schema: str, called: str) -> None:
    engine.execute(f"DROP VIEW IF EXISTS lake.{quoted(schema)}.{quoted(called)}")
    engine.execute(f"DROP TABLE lake.{BOOKS}.{quoted(name)}")


def _show(engine: duckdb.DuckDBPyConnection, found: IcebergTable, mark: str) -> None:
    table = found.state.table()
    assert table is not None
    columns = [(plain(c.name), _stored_as(c)) for c in table.columns]
    columns.append((plain(CHANGE_DATE), "TIMESTAMP"))
    listed = ", ".join(f"{quoted(name)} {type}" for name, type in columns)
    engine.execute(f"CREATE TABLE lake.{BOOKS}.{quoted(found.name)} ({listed})")
    for path in _data_files(found):
        engine.execute(
            f"CALL ducklake_add_data_files('lake', {literal(found.name)}, {literal(path)}, "
            f"schema => '{BOOKS}', allow_missing => true, ignore_extra_columns => true)"
        )
    schema = table.ref.connection_id or "main"
    engine.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{quoted(schema)}")
    names = ", ".join([*map(_shown, table.columns), quoted(plain(CHANGE_DATE))])
    engine.execute(
        f"CREATE VIEW lake.{quoted(schema)}.{quoted(table.ref.name)} AS "
        f"SELECT {names} FROM lake.{BOOKS}.{quoted(found.name)}"
    )
    comment = literal(f"{mark}\n{schema}\n{table.ref.name}")
    engine.execute(f"COMMENT ON TABLE lake.{BOOKS}.{quoted(found.name)} IS {comment}")


def _stored_as(column: Column) -> str:
    return "BIGINT" if column.type.kind is ColumnKind.TIME else sql_type(column.type)


def _shown(column: Column) -> str:
    stored = quoted(plain(column.name))
    if column.type.kind is ColumnKind.TIME:
        stored = f"CAST(TIME '00:00:00' + to_microseconds({stored}) AS TIME)"
    return f"{stored} AS {quoted(column.name)}"


def _data_files(found: IcebergTable) -> list[str]:
    if found.snapshot_id is None:
        return []
    tasks = found.table.newScan().planFiles()
    try:
        each, found_files = tasks.iterator(), []
        while each.hasNext():
            found_files.append(unquote(urlparse(str(each.next().file().location())).path))
        return found_files
    finally:
        tasks.close()
