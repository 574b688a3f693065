"""Tables in a DuckLake per pool: open Parquet files and a transactional SQLite catalog.

``<pools>/<poolId>/catalog.sqlite`` and ``<pools>/<poolId>/data/``. Global tables live in the lake's schema
``main``, those of a data connection in a schema named by its id, and our own bookkeeping in ``headrace``:
``loads`` has the receipt of every committed job, in the same transaction as its rows.

Facts that this file rests on (each was measured; docs/adr/0002-ducklake.md):

* the catalog must be in WAL mode, or one reader locks the pool;
* two writers on one lake fail at once, so there is one lock per lake around every transaction;
* the engine syncs its catalog and no Parquet file, so we do, before the commit;
* a constant column comes from a path part ``_CELONIS_CHANGE_DATE=<value>`` without touching the file.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from duckdb_extensions import import_extension

from headrace.conversion import literal, quoted, sql_type
from headrace.crashpoints import crash_point
from headrace.durable import sync
from headrace.errors import SchemaMismatch
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
    JobType,
    Receipt,
    Table,
    TableRef,
    UpsertStrategy,
    Version,
    decimal,
    fold,
)
from headrace.tables import Answer, ExportFormat, Load
from headrace.tables.sandbox import LakeFiles, Sandbox
from headrace.tables.upkeep import Upkeep, rows_as_files

_ATTACHED_AT_ONCE = 64
_INLINED_DELETES = 1000
_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between the tries of a load while another process holds the catalog."""

_MOST_COLUMNS = 1900
"""The catalog notes changes in a table of its own with all columns, and SQLite takes 2,000."""

_FEW_ROWS = 50_000
"""Up to so many rows are replaced by deleting them: a new table costs the catalog three times as much."""

_BOOKS = "headrace"
_OURS = ("up", "compact")
"""Folders of the data folder that we write, not the engine."""

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
class _Lake:
    """An attached lake: its alias in the engine, its one writer lock, who is using it."""

    alias: str
    files: LakeFiles
    writer: threading.RLock
    users: int = 0


class DuckLakeTables:
    """The ``TableEngine`` of one machine. Owns the lakes below ``root`` alone."""

    def __init__(
        self, root: Path, *, memory_mb: int, sandbox: Sandbox, keep_versions_days: float, upkeep_loads: int
    ) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._lakes: dict[str, _Lake] = {}
        self._loads_since_upkeep: dict[tuple[str, TableRef], int] = {}
        self._upkeep = Upkeep(keep_days=keep_versions_days)
        self._upkeep_loads = upkeep_loads
        self._engine = _engine(memory_mb, root)
        self._reader = LakeReader(self, sandbox)
        root.mkdir(parents=True, exist_ok=True)

    @property
    def reader(self) -> LakeReader:
        return self._reader

    def close(self) -> None:
        self._engine.close()

    def open_pool(self, pool_id: str) -> None:
        with self._cursor(pool_id):
            pass  # attaching creates what is not there

    def drop_pool(self, pool_id: str) -> None:
        lake = self._lakes.get(pool_id)
        if lake:
            with lake.writer, self._guard:
                self._lakes.pop(pool_id, None)
                self._engine.cursor().execute(f"DETACH {lake.alias}")
        shutil.rmtree(self._root / pool_id, ignore_errors=True)

    # -- what is there ---------------------------------------------------------------------------------

    def files(self, pool_id: str) -> LakeFiles:
        return LakeFiles(self._root / pool_id / "catalog.sqlite", self._root / pool_id / "data")

    def tables(self, pool_id: str) -> Sequence[Table]:
        if not self.files(pool_id).catalog.exists():
            return ()
        with self._cursor(pool_id) as (cursor, lake):
            return _tables(cursor, lake)

    def table(self, pool_id: str, ref: TableRef) -> Table | None:
        found = next((t for t in self.tables(pool_id) if t.ref.folded == ref.folded), None)
        if found is None:
            return None
        with self._cursor(pool_id) as (cursor, lake):
            rows = cursor.execute(f"SELECT count(*) FROM {_name(lake, found.ref)}").fetchall()[0][0]
        return Table(found.ref, found.columns, rows, found.unique_keys)

    def receipt(self, pool_id: str, job_id: str) -> Receipt | None:
        if not self.files(pool_id).catalog.exists():
            return None
        with self._cursor(pool_id) as (cursor, lake):
            return _receipt(cursor, lake, job_id)

    def versions(self, pool_id: str, ref: TableRef) -> Sequence[Version]:
        with self._cursor(pool_id) as (cursor, lake):
            return _versions(cursor, lake, ref)

    # -- loading ---------------------------------------------------------------------------------------

    def load(self, pool_id: str, load: Load) -> Receipt:
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            for pause in _PAUSES:
                try:
                    return _load(cursor, lake, load)
                except duckdb.Error as error:
                    if not _passes(error):
                        raise
                time.sleep(pause)
                if committed := _receipt(cursor, lake, load.job_id):
                    return committed  # the error came after all was done
            return _load(cursor, lake, load)

    def maintain(self, pool_id: str, ref: TableRef) -> None:
        """Every ``upkeep_loads`` loads of a table; the others return at once."""
        due = self._loads_since_upkeep.get((pool_id, ref), 0) + 1
        self._loads_since_upkeep[pool_id, ref] = due % self._upkeep_loads
        if due < self._upkeep_loads:
            return
        table = self.table(pool_id, ref)
        if table:
            with self._cursor(pool_id) as (cursor, lake), lake.writer:
                self._upkeep.run(cursor, lake.alias, table, lake.files.data)

    # -- lakes -----------------------------------------------------------------------------------------

    @contextmanager
    def _cursor(self, pool_id: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, _Lake]]:
        lake = self._attached(pool_id)
        cursor = self._engine.cursor()
        try:
            yield cursor, lake
        finally:
            cursor.close()
            with self._guard:
                lake.users -= 1

    def _attached(self, pool_id: str) -> _Lake:
        with self._guard:
            lake = self._lakes.pop(pool_id, None) or self._attach(pool_id)
            self._lakes[pool_id] = lake  # the most recently used comes last
            lake.users += 1
            if len(self._lakes) > _ATTACHED_AT_ONCE:
                self._detach_idle()
            return lake

    def _attach(self, pool_id: str) -> _Lake:
        files = self.files(pool_id)
        files.data.mkdir(parents=True, exist_ok=True)
        lake = _Lake("lake_" + pool_id.replace("-", ""), files, threading.RLock())
        cursor = self._engine.cursor()
        cursor.execute(
            f"ATTACH {literal(f'ducklake:sqlite:{files.catalog}')} AS {lake.alias} (DATA_PATH "
            f"{literal(f'{files.data}/')}, META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000)"
        )
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {lake.alias}.{_BOOKS}")
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {lake.alias}.{_BOOKS}.loads "
            "(job_id VARCHAR, loaded TIMESTAMP, tables VARCHAR[], receipt VARCHAR)"
        )
        cursor.close()
        return lake

    def _detach_idle(self) -> None:
        for pool_id, lake in list(self._lakes.items()):
            if len(self._lakes) <= _ATTACHED_AT_ONCE:
                return
            if lake.users == 0:
                self._engine.cursor().execute(f"DETACH {lake.alias}")
                del self._lakes[pool_id]


class LakeReader:
    """Users' SQL and exports, in child processes that see one lake each."""

    def __init__(self, tables: DuckLakeTables, sandbox: Sandbox) -> None:
        self._tables = tables
        self._sandbox = sandbox

    def query(self, pool_id: str, sql: str, *, max_rows: int, seconds: float) -> Answer:
        refs = [t.ref for t in self._tables.tables(pool_id)]
        return self._sandbox.query(self._tables.files(pool_id), refs, sql, max_rows=max_rows, seconds=seconds)

    def export(self, pool_id: str, table: Table, format: ExportFormat) -> Iterator[bytes]:
        columns = [*(c.name for c in table.columns), CHANGE_DATE]
        return self._sandbox.export(self._tables.files(pool_id), table.ref, columns, format)


def _engine(memory_mb: int, root: Path) -> duckdb.DuckDBPyConnection:
    for extension in ("ducklake", "sqlite_scanner"):
        import_extension(extension)
    engine = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    engine.execute("LOAD ducklake; LOAD sqlite_scanner")
    engine.execute(
        f"SET memory_limit='{memory_mb}MB'; SET preserve_insertion_order=false; SET TimeZone='UTC'"
    )
    engine.execute(f"SET temp_directory={literal(str(root.parent / 'temp'))}")
    # deletions of a small push stay in the catalog: one file of them per data file would grow quadratically
    engine.execute(f"SET ducklake_default_data_inlining_row_limit={_INLINED_DELETES}")
    return engine


def _passes(error: duckdb.Error) -> bool:
    """Another process holds the catalog for a moment: nothing of ours was committed."""
    return any(words in str(error) for words in ("database is locked", "Transaction conflict"))


# -- one load ------------------------------------------------------------------------------------------


def _load(cursor: duckdb.DuckDBPyConnection, lake: _Lake, load: Load) -> Receipt:
    """One try: wholly or not at all."""
    attempt = lake.files.data / "up" / f"{load.job_id}-{load.fence}"
    _forget_older_attempts(attempt)
    cursor.execute("BEGIN")
    try:
        receipt = _Transaction(cursor, lake, load, attempt).run()
        crash_point("before-commit")
        load.still_mine()
    except BaseException:
        _rollback(cursor)
        shutil.rmtree(attempt, ignore_errors=True)
        raise
    try:
        cursor.execute("COMMIT")
    except BaseException:
        _rollback(cursor)  # its files stay: an error does not prove that nothing was committed
        raise
    crash_point("committed")
    return receipt


class _Transaction:
    """What happens between BEGIN and COMMIT, for every target of one load."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, lake: _Lake, load: Load, attempt: Path) -> None:
        self._cursor = cursor
        self._lake = lake
        self._load = load
        self._attempt = attempt
        self._logs: list[str] = []

    def run(self) -> Receipt:
        receipts = [self._apply(number, ref) for number, ref in enumerate(self._load.targets)]
        receipt = receipts[0]
        self._cursor.execute(
            f"INSERT INTO {self._lake.alias}.{_BOOKS}.loads VALUES (?, ?, ?, ?)",
            [
                receipt.job_id,
                receipt.change_date.replace(tzinfo=None),
                [ref.name for ref in self._load.targets],
                json.dumps(asdict(receipt), default=str),
            ],
        )
        self._cursor.execute(
            f"CALL ducklake_set_commit_message({literal(self._lake.alias)}, 'headrace', "
            f"{literal(self._load.type)}, extra_info => {literal(receipt.job_id)})"
        )
        return receipt

    def _apply(self, number: int, ref: TableRef) -> Receipt:
        folder = self._attempt / str(number)
        existing = next((t for t in _tables(self._cursor, self._lake) if t.ref.folded == ref.folded), None)
        before = _listing(self._lake.files.data)
        if existing is None and not self._load.columns:
            return self._receipt()
        if existing is None and not self._load.upserts and self._load.deletes:
            return self._receipt(not_found=self._load.delete_rows)
        if existing is None or self._load.type is JobType.REPLACE:
            receipt = self._replace(existing, ref, folder)
        else:
            receipt = self._merge(existing, folder)
        _sync(folder, _listing(self._lake.files.data) - before)
        return receipt

    def _replace(self, existing: Table | None, ref: TableRef, folder: Path) -> Receipt:
        load, ref = self._load, existing.ref if existing else ref
        if existing is None or not self._empty(existing):
            self._create(ref)
        self._add(ref, load.upserts, folder)
        return self._receipt(inserted=load.upsert_rows, not_found=load.delete_rows)

    def _empty(self, table: Table) -> bool:
        """Delete all rows of a small table that stays as it is otherwise; False if it must be made anew."""
        load = self._load
        unique = tuple(sorted(map(fold, load.keys))) if load.unique else ()
        same = table.columns == load.columns and table.unique_keys == unique
        if load.type is not JobType.REPLACE or not same or (table.rows or 0) > _FEW_ROWS:
            return False
        with rows_as_files(self._cursor):  # whole files go; inlined, each of their rows would be noted
            self._cursor.execute(f"DELETE FROM {_name(self._lake, table.ref)}")
        return True

    def _create(self, ref: TableRef) -> None:
        load = self._load
        if ref.connection_id:
            self._cursor.execute(
                f"CREATE SCHEMA IF NOT EXISTS {self._lake.alias}.{quoted(ref.connection_id)}"
            )
        if len(load.columns) > _MOST_COLUMNS:
            raise SchemaMismatch(
                f"A table may have {_MOST_COLUMNS} columns; this one has {len(load.columns)}."
            )
        table = _name(self._lake, ref)
        columns = ", ".join(f"{quoted(c.name)} {sql_type(c.type)}" for c in load.columns)
        stamp = f"{quoted(CHANGE_DATE)} TIMESTAMP"
        self._cursor.execute(f"CREATE OR REPLACE TABLE {table} ({', '.join(filter(None, (columns, stamp)))})")
        self._remember(ref, load.columns, unique_keys=load.keys if load.unique else ())

    def _merge(self, table: Table, folder: Path) -> Receipt:
        load = self._load
        columns = self._fit_columns(table)
        missing = [c for c in columns if not any(fold(c.name) == fold(p.name) for p in load.columns)]
        keeps = load.keys and missing and load.strategy is not UpsertStrategy.UPSERT_WITH_NULLIFICATION
        name = _name(self._lake, table.ref)
        known = bool(load.keys) and set(map(fold, load.keys)) == set(table.unique_keys)
        upserts: Sequence[Path] = load.upserts
        if keeps and upserts:
            upserts = [self._with_kept_columns(name, upserts, missing, folder)]
        found = self._delete(name, load.deletes, exact=known)
        updated = self._delete(name, load.upserts, exact=known and load.unique) if load.keys else 0
        self._add(table.ref, upserts, folder)
        unique = table.unique_keys if known and load.unique else ()
        if columns != table.columns or unique != table.unique_keys:
            self._remember(table.ref, columns, unique_keys=unique)
        return self._receipt(
            inserted=load.upsert_rows - updated,
            updated=updated,
            deleted=found,
            not_found=load.delete_rows - found,
        )

    def _fit_columns(self, table: Table) -> tuple[Column, ...]:
        """Add what is new, widen what must be; answers the columns of the table afterwards."""
        load = self._load
        new = [c for c in load.columns if table.column(c.name) is None]
        if new and load.strategy is UpsertStrategy.UPSERT_WITH_UNCHANGED_METADATA:
            names = ", ".join(c.name for c in new)
            raise SchemaMismatch(
                f"The table {table.ref.name} has no column {names}, and {load.strategy} adds none."
            )
        name = _name(self._lake, table.ref)
        for column in new:
            self._cursor.execute(
                f"ALTER TABLE {name} ADD COLUMN {quoted(column.name)} {sql_type(column.type)}"
            )
            self._logs.append(f"The column {column.name} ({column.type}) was added to the table.")
        return (*(self._widened(name, c) for c in table.columns), *new)

    def _widened(self, name: str, column: Column) -> Column:
        pushed = next((c for c in self._load.columns if fold(c.name) == fold(column.name)), None)
        if pushed is None:
            return column
        if pushed.type != column.type:
            self._cursor.execute(
                f"ALTER TABLE {name} ALTER COLUMN {quoted(column.name)} TYPE {sql_type(pushed.type)}"
            )
            self._logs.append(f"The column {column.name} was widened from {column.type} to {pushed.type}.")
        whole = column.length is None or pushed.length is None
        return Column(
            column.name, pushed.type, None if whole else max(column.length or 0, pushed.length or 0)
        )

    def _with_kept_columns(
        self, name: str, upserts: Sequence[Path], missing: Sequence[Column], folder: Path
    ) -> Path:
        """The pushed rows with what the table holds in the columns that the push lacks."""
        load = self._load
        target = _change_date_folder(folder, load.change_date) / "kept.parquet"
        on = " AND ".join(f"t.{quoted(k)} IS NOT DISTINCT FROM s.{quoted(k)}" for k in load.keys)
        keys = ", ".join(f"t.{quoted(k)}" for k in load.keys)
        kept = ", ".join(f"t.{quoted(c.name)}" for c in missing)
        # a table may hold a key twice (it was appended to): its newest row is the one that goes on
        old = (
            f"SELECT {keys}, {kept} FROM {name} t SEMI JOIN ({_read(upserts)}) s ON {on} "
            f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY t.rowid DESC) = 1"
        )
        self._cursor.execute(
            f"COPY (SELECT s.*, {kept} FROM ({_read(upserts)}) s LEFT JOIN ({old}) t ON {on}) "
            f"TO {literal(str(target))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
        return target

    def _delete(self, name: str, files: Sequence[Path], *, exact: bool) -> int:
        """Delete the rows whose key is in ``files``; answers how many rows of the files found one.

        ``exact``: keys are unique on both sides, so that the deleted rows are the found ones.
        """
        if not files:
            return 0
        on = self._on(files)
        rows = _read(files)
        found = 0
        if not exact:
            query = f"SELECT count(*) FROM ({rows}) s SEMI JOIN {name} t ON {on}"
            found = int(self._cursor.execute(query).fetchall()[0][0])
        deleted = self._cursor.execute(f"DELETE FROM {name} t USING ({rows}) s WHERE {on}").fetchall()[0][0]
        return int(deleted) if exact else found

    def _on(self, files: Sequence[Path]) -> str:
        """Keys match NULL-safe; where no file has a NULL plain equality does, and it prunes."""
        nulls = _has_nulls(self._cursor, files, self._load.keys)
        return " AND ".join(
            f"t.{quoted(k)} {'IS NOT DISTINCT FROM' if fold(k) in nulls else '='} s.{quoted(k)}"
            for k in self._load.keys
        )

    def _add(self, ref: TableRef, files: Iterable[Path], folder: Path) -> None:
        """Make staged files part of the table. They are linked, not moved: a failed load finds them again."""
        target = _change_date_folder(folder, self._load.change_date)
        for number, file in enumerate(files):
            final = file if file.parent == target else target / f"{number}.parquet"
            if final != file:
                os.link(file, final)
            self._cursor.execute(
                f"CALL ducklake_add_data_files({literal(self._lake.alias)}, {literal(ref.name)}, "
                f"{literal(str(final))}, schema => {literal(ref.connection_id or 'main')}, "
                f"hive_partitioning => true, allow_missing => true)"
            )

    def _remember(self, ref: TableRef, columns: Sequence[Column], unique_keys: Sequence[str]) -> None:
        """Declared lengths and known uniqueness, as the table's comment: they change with the table."""
        comment = {
            "lengths": {c.name: c.length for c in columns if c.length},
            "unique": sorted(map(fold, unique_keys)),
        }
        self._cursor.execute(
            f"COMMENT ON TABLE {_name(self._lake, ref)} IS {literal(json.dumps(comment, ensure_ascii=False))}"
        )

    def _receipt(
        self, *, inserted: int = 0, updated: int = 0, deleted: int = 0, not_found: int = 0
    ) -> Receipt:
        load = self._load
        return Receipt(
            load.job_id,
            load.change_date,
            inserted,
            updated,
            deleted,
            not_found,
            load.duplicates,
            tuple(dict.fromkeys(self._logs)),
        )


def _receipt(cursor: duckdb.DuckDBPyConnection, lake: _Lake, job_id: str) -> Receipt | None:
    query = f"SELECT receipt FROM {lake.alias}.{_BOOKS}.loads WHERE job_id = ?"
    rows = cursor.execute(query, [job_id]).fetchall()
    return _read_receipt(rows[0][0]) if rows else None


def _read_receipt(text: str) -> Receipt:
    fields = json.loads(text)
    fields["change_date"] = datetime.fromisoformat(fields["change_date"])
    fields["logs"] = tuple(fields["logs"])
    return Receipt(**fields)


def _read(files: Sequence[Path]) -> str:
    listed = ", ".join(literal(str(file)) for file in files)
    return f"SELECT * FROM read_parquet([{listed}], union_by_name=true, hive_partitioning=false)"


def _has_nulls(cursor: duckdb.DuckDBPyConnection, files: Sequence[Path], keys: Sequence[str]) -> set[str]:
    """Folded names of the key columns that may hold a NULL, from the files' own statistics."""
    listed = ", ".join(literal(str(file)) for file in files)
    rows = cursor.execute(
        "SELECT DISTINCT path_in_schema FROM parquet_metadata("
        f"[{listed}]) WHERE stats_null_count IS NULL OR stats_null_count > 0"
    ).fetchall()
    named = {fold(name.strip('"')) for (name,) in rows}
    present = cursor.execute(f"SELECT DISTINCT file_name, name FROM parquet_schema([{listed}])").fetchall()
    lacking = {
        fold(key) for key in keys if sum(fold(name) == fold(key) for _, name in present) < len(set(files))
    }
    return (named & set(map(fold, keys))) | lacking


def _rollback(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.TransactionException):  # a commit that failed has ended it already
        cursor.execute("ROLLBACK")


# -- files ---------------------------------------------------------------------------------------------


def _change_date_folder(folder: Path, stamp: datetime) -> Path:
    text = stamp.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    target = folder / f"{CHANGE_DATE}={text}"
    target.mkdir(parents=True, exist_ok=True)
    return target


def _forget_older_attempts(attempt: Path) -> None:
    """What a crashed try of the same job left: nothing refers to it, or this load would not run."""
    attempt.parent.mkdir(parents=True, exist_ok=True)
    job_id = attempt.name.rpartition("-")[0]
    for older in attempt.parent.glob(f"{job_id}-*"):
        shutil.rmtree(older)


def _listing(data: Path) -> set[Path]:
    """The files that the engine itself writes (deletions, inserts), which it does not sync."""
    folders = (entry for entry in data.iterdir() if entry.is_dir() and entry.name not in _OURS)
    return {path for folder in folders for path in folder.rglob("*.parquet")}


def _sync(folder: Path, written: Iterable[Path]) -> None:
    added = list(folder.rglob("*.parquet"))
    folders = {folder, folder.parent, folder.parent.parent}
    for file in (*added, *written):
        sync(file)
        os.utime(file)  # an old staged file would look like an orphan to a sweep by age
        folders.add(file.parent)
    for path in folders:
        if path.exists():
            sync(path)


# -- the catalog ---------------------------------------------------------------------------------------


def _name(lake: _Lake, ref: TableRef) -> str:
    return f"{lake.alias}.{quoted(ref.connection_id or 'main')}.{quoted(ref.name)}"


def _tables(cursor: duckdb.DuckDBPyConnection, lake: _Lake) -> list[Table]:
    """Asked of the lake itself: information_schema would touch every attached lake."""
    books = f"__ducklake_metadata_{lake.alias}"
    rows = cursor.execute(
        f"SELECT s.schema_name, t.table_name, c.column_name, c.column_type, g.value, n.record_count "
        f"FROM {books}.ducklake_table t JOIN {books}.ducklake_schema s USING (schema_id) "
        f"JOIN {books}.ducklake_column c ON c.table_id = t.table_id AND c.end_snapshot IS NULL "
        f"LEFT JOIN {books}.ducklake_table_stats n ON n.table_id = t.table_id "
        f"LEFT JOIN {books}.ducklake_tag g ON g.object_id = t.table_id AND g.end_snapshot IS NULL "
        f"AND g.key = 'comment' "
        f"WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND c.parent_column IS NULL "
        f"AND s.schema_name <> '{_BOOKS}' ORDER BY t.table_id, c.column_order"
    ).fetchall()
    grouped: dict[tuple[str, str, str | None, int | None], list[tuple[str, str]]] = {}
    for schema, table, column, type, comment, records in rows:
        grouped.setdefault((schema, table, comment, records), []).append((column, type))
    return [_table(*about, columns) for about, columns in grouped.items()]


def _table(
    schema: str, name: str, comment: str | None, records: int | None, columns: Sequence[tuple[str, str]]
) -> Table:
    known = json.loads(comment) if comment else {}
    lengths: dict[str, int] = known.get("lengths", {})
    return Table(
        TableRef(name, None if schema == "main" else schema),
        tuple(Column(n, _stored(type), lengths.get(n)) for n, type in columns if n != CHANGE_DATE),
        records,
        tuple(known.get("unique", ())),
    )


def _stored(catalog_type: str) -> ColumnType:
    if catalog_type.startswith("decimal("):
        precision, scale = catalog_type.removeprefix("decimal(").removesuffix(")").split(",")
        return decimal(int(precision), int(scale))
    return _STORED.get(catalog_type, ColumnType(ColumnKind.STRING))


def _versions(cursor: duckdb.DuckDBPyConnection, lake: _Lake, ref: TableRef) -> list[Version]:
    books = f"__ducklake_metadata_{lake.alias}"
    ids = cursor.execute(
        f"SELECT t.table_id FROM {books}.ducklake_table t JOIN {books}.ducklake_schema s USING (schema_id) "
        "WHERE t.table_name = ? AND s.schema_name = ?",
        [ref.name, ref.connection_id or "main"],
    ).fetchall()
    wanted = {str(row[0]) for row in ids}
    rows = cursor.execute(
        "SELECT s.snapshot_id, s.snapshot_time::VARCHAR, c.changes_made, c.commit_message, "
        f"c.commit_extra_info FROM {books}.ducklake_snapshot s "
        f"JOIN {books}.ducklake_snapshot_changes c USING (snapshot_id) "
        "ORDER BY 1 DESC"
    ).fetchall()
    return [
        Version(int(id), datetime.fromisoformat(at), job, message or "upkeep")
        for id, at, changes, message, job in rows
        if _touches(changes or "", wanted, ref)
    ]


def _touches(changes: str, table_ids: set[str], ref: TableRef) -> bool:
    """``changes`` reads like ``created_table:"main"."t",inserted_into_table:3,inlined_delete:3``."""
    schema = ref.connection_id or "main"
    if f"{quoted(schema)}.{quoted(ref.name)}" in changes:
        return True
    return any(part.rpartition(":")[2] in table_ids for part in changes.split(","))
