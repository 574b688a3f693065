"""Tables in a DuckLake per pool: open Parquet files and a transactional catalog.

The files are in ``<pools>/<poolId>/data/`` or in a store (``lakedata``), the catalog beside them or in a
database (``catalogs``). Global tables live in the lake's schema ``main``, those of a data connection in a
schema named by its id, and our own bookkeeping in ``headrace``: ``loads`` has the receipt of every committed
job, in the same transaction as its rows.

Facts that this file rests on (each was measured; docs/adr/0002-ducklake.md):

* a catalog of SQLite must be in WAL mode, or one reader locks the pool;
* two writers on one lake fail at once, and a reader of its tables beside a writer has crashed the engine
  (both share what it remembers of the schema): one lock per lake around all but what asks the bare catalog,
  held against the other processes of the installation, too;
* the engine syncs its catalog and no Parquet file, so we do, before the commit (``datafolders``);
* a constant column comes from a path part ``_CELONIS_CHANGE_DATE=<value>`` without touching the file.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import duckdb
from duckdb_extensions import import_extension

from headrace.conversion import literal, quoted
from headrace.durable import sync
from headrace.errors import Busy, DatabaseUnreachable, NotUndoable, StorageUnreachable, TooHungry
from headrace.locks import Locks
from headrace.model import (
    CHANGE_DATE,
    Receipt,
    Table,
    TableRef,
    Undoing,
    Version,
    now,
)
from headrace.tables import Answer, Chores, ExportFormat, Load, Preview, Stored
from headrace.tables.catalog import (
    BOOKS,
    Lake,
    all_tables,
    find_table,
    named_jobs,
    receipt_of,
    versions_of,
)
from headrace.tables.catalogs import Catalog, Catalogs
from headrace.tables.checking import check_files, check_named
from headrace.tables.forgetting import forget_receipts
from headrace.tables.inlining import INLINED_DELETES
from headrace.tables.lakedata import LakesData
from headrace.tables.lakefiles import LakeFiles
from headrace.tables.sandbox import Sandbox
from headrace.tables.stored import stored
from headrace.tables.transaction import commit, rehearse
from headrace.tables.undoing import foreseen, undo, undoing_of
from headrace.tables.upkeep import Upkeep
from headrace.tables.writer import Writer
from headrace.thrift import Thrift

_ATTACHED_AT_ONCE = 64
_PAUSES = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 20.0)
"""Seconds between the tries of a load while another process holds the catalog."""

_COUNT_SECONDS = 60.0
_MAKING_S = 30.0

_PREVIEW_PATIENCE = 30.0
"""Seconds that a preview waits for the loads of its pool."""


class DuckLakeTables:
    """The ``TableEngine`` of one machine. ``locks`` are those of all processes that write below ``root``."""

    def __init__(
        self,
        root: Path,
        *,
        memory_mb: int,
        temp: Path,
        locks: Locks,
        catalogs: Catalogs,
        data: LakesData,
        sandbox: Sandbox,
        keep_versions_days: float,
        upkeep_loads: int,
    ) -> None:
        self._root = root
        self._locks = locks
        self._catalogs = catalogs
        self._data = data
        self._guard = threading.Lock()
        self._lakes: dict[str, Lake] = {}
        self._upkeep = Upkeep(keep_days=keep_versions_days, loads=upkeep_loads)
        self._engine = _engine(memory_mb, temp, catalogs, data)
        self._thrift = Thrift(self._engine)
        self._reader = LakeReader(self, sandbox)
        root.mkdir(parents=True, exist_ok=True)

    @property
    def reader(self) -> LakeReader:
        return self._reader

    def close(self) -> None:
        self._engine.close()
        self._catalogs.close()

    def open_pool(self, pool_id: str) -> None:
        with self._cursor(pool_id):
            pass  # attaching creates what is not there

    def forget_all(self) -> None:
        """Let go of every pool: another folder may take the place of this one."""
        for pool_id in list(self._lakes):
            self._let_go(pool_id)

    def _let_go(self, pool_id: str) -> None:
        with self._guard:
            lake = self._lakes.pop(pool_id, None)
        if lake:
            with lake.writer:
                while lake.users:  # readers of this process; they take milliseconds
                    time.sleep(0.01)
                self._engine.cursor().execute(f"DETACH {lake.alias}")

    def drop_pool(self, pool_id: str) -> None:
        self._let_go(pool_id)
        self._reader.forget(pool_id)
        self._catalogs.of(pool_id).drop()
        self._data.of(pool_id).drop()
        shutil.rmtree(self._root / pool_id, ignore_errors=True)

    # -- what is there ---------------------------------------------------------------------------------

    def files(self, pool_id: str) -> LakeFiles:
        catalog, data = self._catalogs.of(pool_id), self._data.of(pool_id)
        return LakeFiles(catalog, data, self._root / pool_id / "rejects")

    def tables(self, pool_id: str) -> Sequence[Table]:
        if not self._catalogs.of(pool_id).identity():
            return ()
        with self._cursor(pool_id) as (cursor, lake):
            return all_tables(cursor, lake)

    def find(self, pool_id: str, ref: TableRef) -> Table | None:
        if not self._catalogs.of(pool_id).identity():
            return None
        with self._cursor(pool_id) as (cursor, lake):
            return find_table(cursor, lake, ref)

    def table(self, pool_id: str, ref: TableRef) -> Table | None:
        found = self.find(pool_id, ref)
        return replace(found, rows=self._reader.count(pool_id, found.ref)) if found else None

    def receipt(self, pool_id: str, job_id: str) -> Receipt | None:
        if not self._catalogs.of(pool_id).identity():
            return None
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            return receipt_of(cursor, lake, job_id)

    def versions(self, pool_id: str, ref: TableRef) -> Sequence[Version]:
        with self._cursor(pool_id) as (cursor, lake):
            return versions_of(cursor, lake, ref)

    def named_jobs(self, pool_id: str) -> Collection[str]:
        if not self._catalogs.of(pool_id).identity():
            return ()
        with self._cursor(pool_id) as (cursor, lake):
            return named_jobs(cursor, lake)

    def forget_jobs(self, pool_id: str, job_ids: Collection[str]) -> int:
        if not self._catalogs.of(pool_id).identity():
            return 0
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            return forget_receipts(cursor, lake, job_ids)

    def stored(self, pool_id: str) -> Stored:
        if not self._catalogs.of(pool_id).identity():
            return Stored(0, ())
        with self._cursor(pool_id) as (cursor, lake):
            return stored(cursor, lake)

    def check(self, pool_id: str, tables: Collection[TableRef], sql: str | None = None) -> None:
        """Whether files are as they were written, of these tables or of those that ``sql`` may name.

        Raises TableDamaged.
        """
        if not tables or not self._catalogs.of(pool_id).identity():
            return
        if self._data.of(pool_id).folder is None:
            return  # a store looks after its bytes
        with self._cursor(pool_id) as (cursor, lake):
            if sql is None:
                check_files(cursor, lake, tables)
            else:
                check_named(cursor, lake, tables, sql)

    # -- loading ---------------------------------------------------------------------------------------

    def load(self, pool_id: str, load: Load) -> Receipt:
        return self._thrift.run(
            lambda: self._committed(pool_id, load, tried=load.fence > 1),
            lambda: self._committed(pool_id, load, tried=True),
        )

    def _committed(self, pool_id: str, load: Load, *, tried: bool) -> Receipt:
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            # asked under the lock: an older claim of this job may have been committing just now
            if tried and (committed := receipt_of(cursor, lake, load.job_id)):
                return committed
            mine = replace(load, still_mine=lambda: _all_mine(load, lake))
            return _patiently(
                lambda: commit(cursor, lake, mine), lambda: receipt_of(cursor, lake, load.job_id)
            )

    def preview(self, pool_id: str, load: Load) -> Preview:
        return self._thrift.run(lambda: self._rehearsed(pool_id, load))

    def _rehearsed(self, pool_id: str, load: Load) -> Preview:
        with self._looking(pool_id) as (cursor, lake):
            return rehearse(cursor, lake, load)

    @contextmanager
    def _looking(self, pool_id: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, Lake]]:
        """The lake while nobody writes to it. Raises Busy."""
        with self._cursor(pool_id) as (cursor, lake):
            if not lake.writer.acquire(_PREVIEW_PATIENCE):
                raise Busy("The pool is being loaded; try again in a moment.")
            try:
                yield cursor, lake
            finally:
                lake.writer.release()

    # -- undoing ---------------------------------------------------------------------------------------

    def undo(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        with _undoable():
            return self._thrift.run(lambda: self._undone(pool_id, job_id, targets))

    def _undone(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            if done := undoing_of(cursor, lake, job_id):
                return done
            return _patiently(
                lambda: undo(cursor, lake, job_id, targets, now()),
                lambda: undoing_of(cursor, lake, job_id),
            )

    def preview_undo(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        with _undoable():
            return self._thrift.run(lambda: self._undo_foreseen(pool_id, job_id, targets))

    def _undo_foreseen(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        with self._looking(pool_id) as (cursor, lake):
            return foreseen(cursor, lake, job_id, targets, now())

    def undoing(self, pool_id: str, job_id: str) -> Undoing | None:
        if not self._catalogs.of(pool_id).identity():
            return None
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            return undoing_of(cursor, lake, job_id)

    # -- upkeep ----------------------------------------------------------------------------------------

    def chores(self, pool_id: str) -> Chores:
        if not self._catalogs.of(pool_id).identity():
            return Chores()
        with self._cursor(pool_id) as (cursor, lake):
            return self._upkeep.chores(cursor, lake)

    def maintain(self, pool_id: str, ref: TableRef) -> None:
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            if table := find_table(cursor, lake, ref):
                check_files(cursor, lake, [table.ref])
                self._upkeep.tidy(cursor, lake, table)

    def expire(self, pool_id: str) -> None:
        if not self._catalogs.of(pool_id).identity():
            return
        with self._cursor(pool_id) as (cursor, lake), lake.writer:
            self._upkeep.expire(cursor, lake)

    # -- lakes -----------------------------------------------------------------------------------------

    @contextmanager
    def _cursor(self, pool_id: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, Lake]]:
        try:
            lake = self._attached(pool_id)
        except duckdb.Error as error:
            raise self._told(error) from error
        cursor = self._engine.cursor()
        try:
            yield cursor, lake
        except duckdb.Error as error:
            raise self._told(error) from error
        finally:
            cursor.close()
            with self._guard:
                lake.users -= 1
                lake.used_at = time.monotonic()

    def _told(self, error: duckdb.Error) -> Exception:
        return StorageUnreachable() if self._data.is_away(error) else _told(error)

    def _attached(self, pool_id: str) -> Lake:
        with self._guard:
            lake = self._known(pool_id) or self._attach(pool_id)
            self._lakes[pool_id] = lake  # the most recently used comes last
            lake.users += 1
            if len(self._lakes) > _ATTACHED_AT_ONCE:
                self._detach_unused(len(self._lakes) - _ATTACHED_AT_ONCE)
            return lake

    def rest(self, idle_seconds: float) -> None:
        with self._guard:
            before = time.monotonic() - idle_seconds
            self._detach_unused(
                sum(not lake.users and lake.used_at < before for lake in self._lakes.values())
            )

    def _known(self, pool_id: str) -> Lake | None:
        """Unless another process has dropped the pool, and there is a new one with its id. Raises Busy."""
        lake = self._lakes.get(pool_id)
        if lake is None or lake.identity == lake.catalog.identity():
            return self._lakes.pop(pool_id, None)
        if lake.users:
            raise Busy("The pool was made anew; try again in a moment.")
        del self._lakes[pool_id]
        self._engine.cursor().execute(f"DETACH {lake.alias}")
        return None

    def _attach(self, pool_id: str) -> Lake:
        catalog = self._catalogs.of(pool_id)
        if catalog.identity():
            return self._open(pool_id, catalog)
        with self._making(pool_id):  # two at once would both make its tables
            lake = self._open(pool_id, catalog)
        for folder in (self._root / pool_id, self._root):  # a load syncs what is in the pool's folder
            sync(folder)
        return lake

    @contextmanager
    def _making(self, pool_id: str) -> Iterator[None]:
        held = self._locks.take("new lake", pool_id, seconds=_MAKING_S)
        if not held:
            raise Busy("The pool is being made; try again in a moment.")
        try:
            yield
        finally:
            held.release()

    def _open(self, pool_id: str, catalog: Catalog) -> Lake:
        files = self.files(pool_id)
        files.data.make()
        files.rejects.mkdir(parents=True, exist_ok=True)  # who reads the pool must see it there
        writer = Writer(self._locks, pool_id)
        lake = Lake("lake_" + pool_id.replace("-", ""), files, catalog, writer)
        cursor = self._engine.cursor()
        cursor.execute(
            f"ATTACH {catalog.attach()} AS {lake.alias} "
            f"(DATA_PATH {literal(files.data.place)}, {catalog.options()})"
        )
        try:
            _make_books(cursor, lake)
            lake.identity = catalog.identity()
        except BaseException:
            cursor.execute(f"DETACH {lake.alias}")  # or the next attempt would find the name taken
            raise
        cursor.close()
        return lake

    def _detach_unused(self, most: int) -> None:
        """Those that were used longest ago, and are not now."""
        unused = [pool_id for pool_id, lake in self._lakes.items() if lake.users == 0]
        for pool_id in unused[:most]:
            self._engine.cursor().execute(f"DETACH {self._lakes.pop(pool_id).alias}")


class LakeReader:
    """Users' SQL and exports, in child processes that see one lake each."""

    def __init__(self, tables: DuckLakeTables, sandbox: Sandbox) -> None:
        self._tables = tables
        self._sandbox = sandbox

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
        self._tables.check(pool_id, tables, sql)
        lake = self._tables.files(pool_id)
        return self._sandbox.query(
            lake, tables, sql, max_rows=max_rows, seconds=seconds, query_id=query_id, rejects=rejects
        )

    def cancel(self, pool_id: str, query_id: str) -> None:
        self._sandbox.cancel(self._tables.files(pool_id), query_id)

    def count(self, pool_id: str, ref: TableRef) -> int:
        """The rows of a table."""
        name = f"{quoted(ref.connection_id or 'main')}.{quoted(ref.name)}"
        counted = f"SELECT count(*) FROM {name}"
        answer = self.query(pool_id, [ref], counted, max_rows=1, seconds=_COUNT_SECONDS)
        return int(str(answer.rows[0][0]))

    def export(self, pool_id: str, table: Table, format: ExportFormat) -> Generator[bytes]:
        self._tables.check(pool_id, [table.ref])
        columns = [*(c.name for c in table.columns), CHANGE_DATE]
        return self._sandbox.export(self._tables.files(pool_id), table.ref, columns, format)

    def forget(self, pool_id: str) -> None:
        self._sandbox.forget(self._tables.files(pool_id))


def _all_mine(load: Load, lake: Lake) -> None:
    """Asked last before the commit. Raises what ``still_mine`` raises, and Busy if the lock may be lost."""
    lake.writer.check()
    load.still_mine()


@contextmanager
def _undoable() -> Iterator[None]:
    try:
        yield
    except TooHungry as error:
        raise NotUndoable("Undoing it needs more memory than load_memory_mb.") from error


def _engine(memory_mb: int, temp: Path, catalogs: Catalogs, data: LakesData) -> duckdb.DuckDBPyConnection:
    extensions = ("ducklake", catalogs.extension, *data.extensions)
    for extension in extensions:
        import_extension(extension)
    engine = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    engine.execute("; ".join(f"LOAD {extension}" for extension in extensions))
    engine.execute("SET enable_progress_bar=false")
    engine.execute(
        f"SET memory_limit='{memory_mb}MB'; SET preserve_insertion_order=false; SET TimeZone='UTC'"
    )
    engine.execute(f"SET temp_directory={literal(str(temp / 'lake'))}")
    engine.execute(f"SET ducklake_default_data_inlining_row_limit={INLINED_DELETES}")
    catalogs.set_up(engine)
    data.set_up(engine)
    return engine


def _make_books(cursor: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {lake.alias}.{BOOKS}")
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {lake.alias}.{BOOKS}.loads "
        "(job_id VARCHAR, loaded TIMESTAMP, tables VARCHAR[], receipt VARCHAR)"
    )


T = TypeVar("T")


def _patiently(act: Callable[[], T], done: Callable[[], T | None]) -> T:
    """The act, again while another process holds the catalog; ``done`` tells what a lost try had done."""
    for pause in _PAUSES:
        try:
            return act()
        except duckdb.Error as error:
            if not _passes(error):
                raise
        time.sleep(pause)
        if found := done():
            return found  # the error came after all was done
    return act()


_TAKEN = ("database is locked", "Transaction conflict", "ducklake_snapshot_pkey")
"""Another process holds the catalog, or has committed since this began."""

_AWAY = (
    "Unable to connect to Postgres",
    "server closed the connection",
    "terminating connection",
    'Failed to execute query "ROLLBACK"',  # after a COMMIT that nobody answered
)
"""The database of the catalog is not there for a moment; what was done is in the receipts."""


def _passes(error: duckdb.Error) -> bool:
    return any(words in str(error) for words in (*_TAKEN, *_AWAY))


def _told(error: duckdb.Error) -> Exception:
    if any(words in str(error) for words in _AWAY):
        return DatabaseUnreachable()
    return Busy() if _passes(error) else error
