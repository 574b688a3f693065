"""Users' reading of lakes, in child processes: their SQL must neither reach nor slow what loads.

Three walls stand around a query: the gate (``sqlgate``) says what SQL may mean, the engine's settings say
which files it may touch, and the child's limits say how much time and memory it may take. Exports are our
own SQL and pass no gate, but run in children as well, other ones, so that a slow download holds no query up.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import select
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

import duckdb
from duckdb_extensions import import_extension

from headrace.children import ChildDied, limit_this_process, process_pool
from headrace.conversion import literal, quoted
from headrace.errors import Draining, HeadraceError, Internal, QueryRefused, QueryTooLong
from headrace.model import TableRef
from headrace.tables import Answer, ExportFormat, rejectsview, sqlgate

T = TypeVar("T")

CHUNK_BYTES = 256 << 10
"""An export comes in pieces of this size; the pipe to the child holds one more."""

MAX_ANSWER_BYTES = 32 << 20
"""An answer ends early when its text grows beyond this, however few its rows: the server holds it whole."""

EXPORT_PATIENCE_S = 60.0
"""How long an export waits for one of the others to end."""

_LAKES_AT_ONCE = 4
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class LakeFiles:
    """One pool's lake: its SQLite catalog and the folder of its data."""

    catalog: Path
    data: Path

    @property
    def rejects(self) -> Path:
        """The folder of what could not be stored, beside the lake."""
        return self.catalog.parent / "rejects"


class Sandbox:
    """Warm children for queries, and as many for exports; each starts when it is first needed."""

    def __init__(self, *, processes: int, memory_mb: int, temp: Path | None = None) -> None:
        self._folder = TemporaryDirectory(prefix="headrace-exports-", dir=temp)
        self._pipes = Path(self._folder.name)
        self._queries = process_pool(processes, _start_child, (memory_mb,))
        self._exports = process_pool(processes, _start_child, (memory_mb, self._pipes))
        self._closed = False

    def query(
        self, lake: LakeFiles, tables: Sequence[TableRef], sql: str, *, max_rows: int, seconds: float
    ) -> Answer:
        """One SELECT over these tables of the lake, as of its newest snapshot.

        ``seconds`` count from the moment that a child is free; for that it waits as long at most.
        Raises QueryRefused, QueryTooLong, Draining.
        """
        self._check_open()
        future = self._queries.schedule(_query, (lake, tuple(tables), sql, max_rows), timeout=seconds)
        wait([future], timeout=seconds)
        if future.cancel():
            raise QueryTooLong(f"No process was free for the query within {seconds:g} s; try again later.")
        return self._result(future, f"The query took longer than {seconds:g} s.")

    def export(
        self, lake: LakeFiles, table: TableRef, columns: Sequence[str], format: ExportFormat
    ) -> Generator[bytes]:
        """These columns of a table as a file, in pieces of CHUNK_BYTES; work starts with the first ``next``.

        Whatever goes wrong is raised, late as it may be: a file is complete only when the iterator ends by
        itself. Close it to end the child's work early. Raises QueryTooLong, Draining, Internal.
        """
        self._check_open()
        pipe = self._pipes / uuid4().hex
        with _pipe(pipe) as (reader, writer):
            task = (lake, table, tuple(columns), format.value, pipe)
            future = self._exports.schedule(_export, task)
            # the child may end before it opens the pipe: ours is the end that keeps or gives up the reader
            future.add_done_callback(lambda _: os.close(writer))
            try:
                self._await_start(future, reader)
                while chunk := reader.read(CHUNK_BYTES):
                    yield chunk
                self._result(future, "The export took too long.")
            finally:
                future.cancel()

    def close(self) -> None:
        """Ends all children and their work. May be repeated."""
        self._closed = True
        for pool in (self._queries, self._exports):
            pool.stop()
            pool.join()
        self._folder.cleanup()

    def pids(self) -> list[int]:
        """The children that live now."""
        return [*self._queries.pids(), *self._exports.pids()]

    def _check_open(self) -> None:
        if self._closed:
            raise Draining

    def _await_start(self, future: Future[None], reader: BinaryIO) -> None:
        readable = _wait_readable(reader, EXPORT_PATIENCE_S)
        if not readable and future.cancel():
            raise QueryTooLong(f"No process was free for the export within {EXPORT_PATIENCE_S:g} s.")

    def _result(self, future: Future[T], too_long: str) -> T:
        try:
            return future.result()
        except HeadraceError:
            raise
        except TimeoutError as error:
            raise QueryTooLong(too_long) from error
        except (ChildDied, CancelledError) as error:
            self._check_open()
            raise QueryTooLong("The process died, most likely of its use of memory.") from error
        except Exception as error:
            raise Internal from error


@contextmanager
def _pipe(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A named pipe with both of its ends open: neither side ever waits for the other to open it."""
    os.mkfifo(path, 0o600)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as reader:
            writer = os.open(path, os.O_WRONLY)
            os.set_blocking(descriptor, True)
            with suppress(PermissionError):  # beyond the user's quota of pipes: the usual 64 KiB will do
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
            yield reader, writer
    finally:
        path.unlink(missing_ok=True)


def _wait_readable(reader: BinaryIO, seconds: float) -> bool:
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


# -- in the child --------------------------------------------------------------------------------------


@dataclass
class _Child:
    memory_mb: int
    pipes: Path | None
    lakes: OrderedDict[LakeFiles, _OpenLake]


_this: _Child


def _start_child(memory_mb: int, pipes: Path | None = None) -> None:
    global _this  # noqa: PLW0603  one a process, made once
    limit_this_process(memory_mb)
    with duckdb.connect(config={"threads": "1"}) as engine:
        for extension in ("ducklake", "sqlite_scanner"):
            import_extension(extension, con=engine)
    _this = _Child(memory_mb, pipes, OrderedDict())


def _query(lake: LakeFiles, tables: tuple[TableRef, ...], sql: str, max_rows: int) -> Answer:
    started = time.monotonic()
    shows_rejects = rejectsview.is_free(tables)
    sqlgate.check(sql, (*tables, rejectsview.NAME) if shows_rejects else tables)
    with _reading(lake) as engine:
        if shows_rejects and rejectsview.is_named(sql):
            rejectsview.show(engine, lake.rejects)
        relation = engine.sql(sql)
        columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        rows, truncated = _rows(relation, [type for _, type in columns], max_rows)
    milliseconds = round((time.monotonic() - started) * 1000)
    return Answer(columns, rows, truncated, milliseconds)


# -- lakes in the child --------------------------------------------------------------------------------


class _OpenLake:
    """An engine that sees one lake and nothing else.

    The catalog is pinned: as long as we hold it, no other file gets its inode number, so that a catalog
    made anew under the same path is always told from this one.
    """

    def __init__(self, files: LakeFiles) -> None:
        self._files = files
        # O_PATH: to close another kind of descriptor would drop the locks that SQLite has on the file
        self._pin = os.open(files.catalog, os.O_PATH) if files.catalog.exists() else None
        self.engine = _engine(files, attach=self._pin is not None)

    @property
    def current(self) -> bool:
        try:
            now = self._files.catalog.stat()
        except FileNotFoundError:
            return self._pin is None
        return self._pin is not None and os.path.samestat(os.fstat(self._pin), now)

    def close(self) -> None:
        with suppress(duckdb.Error):
            self.engine.close()
        if self._pin is not None:
            os.close(self._pin)


def _engine(files: LakeFiles, *, attach: bool) -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(
        config={
            "threads": "1",
            "memory_limit": f"{_this.memory_mb}MB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "python_enable_replacements": "false",
        }
    )
    engine.execute("LOAD ducklake; LOAD sqlite_scanner; SET TimeZone = 'UTC'")
    if attach:
        engine.execute(
            f"ATTACH {literal(f'ducklake:sqlite:{files.catalog}')} AS lake "
            f"(READ_ONLY, DATA_PATH {literal(f'{files.data}/')}, META_JOURNAL_MODE 'WAL'); USE lake"
        )
    _confine(engine, [files.data, files.rejects, *([_this.pipes] if _this.pipes else [])])
    return engine


def _confine(engine: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    allowed = ", ".join(literal(f"{folder}/") for folder in folders)
    engine.execute(
        f"SET temp_directory = ''; SET allowed_directories = [{allowed}]; "
        "SET enable_external_access = false; SET lock_configuration = true"
    )


@contextmanager
def _reading(files: LakeFiles) -> Iterator[duckdb.DuckDBPyConnection]:
    """The lake's engine in a transaction: one snapshot. Errors come out as ours, or mean a fault of ours."""
    lake = _opened(files)
    try:
        lake.engine.execute("BEGIN TRANSACTION READ ONLY")
        yield lake.engine
    except _BY_THE_QUERY as error:
        raise QueryRefused(_cleaned(str(error), files)) from error
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        _forget(files)
        raise QueryTooLong("The query needs more memory than it may use.") from error
    except duckdb.Error:
        _forget(files)  # some errors leave an engine unusable
        raise
    finally:
        with suppress(duckdb.Error):
            lake.engine.execute("ROLLBACK")


_BY_THE_QUERY = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.ConstraintException,
    duckdb.InvalidInputException,
    duckdb.InvalidTypeException,
    duckdb.NotImplementedException,
    duckdb.OutOfRangeException,
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.TypeMismatchException,
)


def _cleaned(message: str, files: LakeFiles) -> str:
    """The engine's own words without guesses at other names, the query's text or anything of this server."""
    said = re.split(r"\n\s*LINE \d+:|\s*\bDid you mean\b|\s*\bCandidate ", message, maxsplit=1)[0].strip()
    if str(files.catalog.parent) in said or str(files.data) in said:
        return "The query cannot be run."
    return said


def _opened(files: LakeFiles) -> _OpenLake:
    lake = _this.lakes.get(files)
    if lake is None or not lake.current:
        _forget(files)
        lake = _this.lakes[files] = _OpenLake(files)
    _this.lakes.move_to_end(files)
    if len(_this.lakes) > _LAKES_AT_ONCE:
        _forget(next(iter(_this.lakes)))
    return lake


def _forget(files: LakeFiles) -> None:
    if lake := _this.lakes.pop(files, None):
        lake.close()


# -- rows in the child ---------------------------------------------------------------------------------


def _rows(
    relation: duckdb.DuckDBPyRelation, types: Sequence[str], max_rows: int
) -> tuple[list[list[object]], bool]:
    expressions, readers = zip(*map(_readings, types), strict=True)
    shown = relation.project(", ".join(e.format(f"#{n}") for n, e in enumerate(expressions, 1)))
    rows: list[list[object]] = []
    size = 0
    while batch := shown.fetchmany(min(_ROWS_AT_ONCE, max_rows + 1 - len(rows))):
        for raw in batch:
            size += sum(len(v) for v in raw if isinstance(v, str))
            if len(rows) == max_rows or (rows and size > MAX_ANSWER_BYTES):
                return rows, True
            if size > MAX_ANSWER_BYTES:
                raise QueryTooLong(f"One row alone has more than {MAX_ANSWER_BYTES} characters.")
            rows.append([read(value) for read, value in zip(readers, raw, strict=True)])
    return rows, False


_AS_IT_IS = frozenset(
    {
        *("BOOLEAN", "VARCHAR", '"NULL"', "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    }
)


def _readings(type: str) -> tuple[str, Callable[[Any], object]]:
    """How a column of this engine type becomes JSON: an expression for the engine, then a function.

    Whole numbers and text stay; DECIMAL is text, for a JSON number would lose digits; NaN and infinity are
    text; timestamps are ISO 8601 with 'T', blobs base64; lists, structs, maps and JSON are nested JSON;
    every other type is the engine's text.
    """
    if type in _AS_IT_IS:
        return "{}", _same
    if type in ("FLOAT", "DOUBLE"):
        return "{}", _finite
    if type.startswith("TIMESTAMP") and not type.endswith("]"):
        return "replace({}::VARCHAR, ' ', 'T')", _same
    if type == "BLOB":
        return "base64({})", _same
    if type == "JSON" or type.endswith("]") or type.startswith(("STRUCT(", "MAP(", "UNION(")):
        return "to_json({})::VARCHAR", _nested
    return "{}::VARCHAR", _same


def _same(value: object) -> object:
    return value


def _finite(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _nested(value: str | None) -> object:
    return None if value is None else json.loads(value, parse_constant=str)


# -- exports in the child ------------------------------------------------------------------------------

_COPY_OPTIONS = {
    "csv": "FORMAT csv, HEADER true",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "ndjson": "FORMAT json",
}


def _export(lake: LakeFiles, table: TableRef, columns: tuple[str, ...], format: str, pipe: Path) -> None:
    with _reading(lake) as engine:
        source = f"lake.{quoted(table.connection_id or 'main')}.{quoted(table.name)}"
        names = ", ".join(map(quoted, columns))
        if format == "ndjson":
            names = ", ".join(_in_ndjson(name, type) for name, type in _described(engine, names, source))
        select = f"SELECT {names} FROM {source}"
        if format == "arrow":
            _export_arrow(engine, select, pipe)
        else:
            engine.execute(f"COPY ({select}) TO {literal(str(pipe))} ({_COPY_OPTIONS[format]})")


def _described(engine: duckdb.DuckDBPyConnection, names: str, source: str) -> list[tuple[str, str]]:
    rows = engine.execute(f"DESCRIBE SELECT {names} FROM {source}").fetchall()
    return [(name, type) for name, type, *_ in rows]


def _in_ndjson(name: str, type: str) -> str:
    """The engine writes NaN as such, which is no JSON."""
    column = quoted(name)
    if type not in ("FLOAT", "DOUBLE"):
        return column
    return (
        f"CASE WHEN isfinite({column}) THEN to_json({column}) ELSE to_json({column}::VARCHAR) END AS {column}"
    )


def _export_arrow(engine: duckdb.DuckDBPyConnection, select: str, pipe: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415  36 MB, and the server itself has no use for it

    batches = engine.execute(select).to_arrow_reader()
    with pipe.open("wb") as out, pa.ipc.new_stream(out, batches.schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
