"""What happens in a child of the sandbox: one lake is opened, the child confined, and then it only reads.

The engine is opened first and everything imported that a query needs; afterwards the system lets the child
open the Parquet files of its lake, the copy of the catalog in its home, and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
from duckdb_extensions import import_extension

from headrace.children import Spoiled, die_with_parent, limit_memory
from headrace.confinement import confine, libraries
from headrace.conversion import literal, quoted
from headrace.errors import QueryRefused, QueryTooLong
from headrace.model import TableRef
from headrace.tables import Answer, asking, rejectsview, sqlgate
from headrace.tables.lakefiles import LakeSeen, Wall

MAX_ANSWER_BYTES = 32 << 20
"""An answer ends early when its text grows beyond this, however few its rows: the server holds it whole."""

CATALOG, PIPE = "catalog.sqlite", "pipe"
"""What is in a child's home: the copy of the catalog, and in that of an export the pipe it writes to."""

_ROWS_AT_ONCE = 1000


@dataclass
class _Child:
    engine: duckdb.DuckDBPyConnection
    walls: frozenset[Wall]
    lake: LakeSeen
    home: Path
    pin: int | None
    """The lake's folder stays open: none that is made anew under its name is ever taken for it."""


_engine: duckdb.DuckDBPyConnection
_asked: Connection
_this: _Child


def start(memory_mb: int, asked: Connection) -> None:
    """All that does not depend on the lake. ``asked``: the pipe to who serves files."""
    global _engine, _asked  # noqa: PLW0603  one a process, made once
    _asked = asked
    limit_memory(memory_mb)
    duckdb.default_connection().close()  # it came with the import, and has a thread
    _engine = _loaded(memory_mb)
    sqlgate.check("SELECT 1", ())


def open_lake(walls: frozenset[Wall], lake: LakeSeen, home: Path, exports: bool) -> None:
    """Make this child one of the lake, for ever."""
    global _this  # noqa: PLW0603
    folder = lake.folder
    pin = os.open(folder, os.O_PATH) if folder and folder.exists() else None
    _this = _Child(_engine, walls, lake, home, pin)
    if folder is None:
        _engine.register_filesystem(asking.file_system(_asked))
    if (home / CATALOG).exists():
        _attach()
    if Wall.ENGINE in walls:
        places = [lake.data, *(f"{folder}/" for folder in (lake.rejects, *lake.more))]
        _lock([*places, *([f"{home}/"] if exports else [])])
    _rows(_engine.sql("SELECT 1, 'x', 0.5, true, now(), [1]"), 9)  # whatever is imported late comes now
    if Wall.SYSTEM in walls:
        _confine(exports)
    die_with_parent()


def _confine(exports: bool) -> None:
    lake, home = _this.lake, _this.home
    reads = [path for path in (*lake.folders, home) if path.exists()]
    if exports:  # one of them imports late, and not much for most
        reads += [path for path in libraries() if not (lake.folder or lake.rejects).is_relative_to(path)]
    confine(reads, [home / PIPE] if exports else [])


def query(tables: tuple[TableRef, ...], sql: str, max_rows: int, rejects: bool) -> Answer:
    started = time.monotonic()
    shows_rejects = rejects and rejectsview.is_free(tables)
    if Wall.GATE in _this.walls:
        sqlgate.check(sql, (*tables, rejectsview.NAME) if shows_rejects else tables)
    with _reading() as engine:
        if shows_rejects and rejectsview.is_named(sql):
            rejectsview.show(engine, _this.lake.rejects)
        relation = engine.sql(sql)
        if relation is None:  # no SELECT: only without the gate
            return Answer((), [], False, 0)
        columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        rows, truncated = _rows(relation, max_rows)
    milliseconds = round((time.monotonic() - started) * 1000)
    return Answer(columns, rows, truncated, milliseconds)


# -- the engine ----------------------------------------------------------------------------------------


def _loaded(memory_mb: int) -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(
        config={
            "threads": "1",
            "memory_limit": f"{memory_mb}MB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "python_enable_replacements": "false",
        }
    )
    for extension in ("ducklake", "sqlite_scanner"):
        import_extension(extension, con=engine)
    engine.execute(
        "LOAD ducklake; LOAD sqlite_scanner; SET TimeZone = 'UTC'; SET enable_progress_bar = false"
    )
    return engine


def _attach() -> None:
    mode = "READ_ONLY, " if Wall.ENGINE in _this.walls else ""
    _engine.execute(
        f"ATTACH {literal(f'ducklake:sqlite:{_this.home / CATALOG}')} AS lake "
        f"({mode}DATA_PATH {literal(_this.lake.data)}); USE lake"
    )


def _lock(places: Sequence[str]) -> None:
    allowed = ", ".join(map(literal, places))
    _engine.execute(
        f"SET temp_directory = ''; SET allowed_directories = [{allowed}]; "
        "SET enable_external_access = false; SET lock_configuration = true"
    )


@contextmanager
def _reading() -> Iterator[duckdb.DuckDBPyConnection]:
    """The lake's engine in a transaction: one snapshot. Errors come out as ours, or mean a fault of ours."""
    engine = _this.engine
    try:
        engine.execute("BEGIN TRANSACTION READ ONLY" if Wall.ENGINE in _this.walls else "BEGIN")
        yield engine
    except _BY_THE_QUERY as error:
        raise QueryRefused(_cleaned(str(error))) from error
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise Spoiled(QueryTooLong("The query needs more memory than it may use.")) from error
    except (duckdb.IOException, duckdb.PermissionException) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    except duckdb.Error as error:  # the others may leave an engine unusable
        raise Spoiled(RuntimeError(f"{type(error).__name__}: {error}")) from error
    finally:
        with suppress(duckdb.Error):
            engine.execute("ROLLBACK")


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


def _cleaned(message: str) -> str:
    """The engine's own words without guesses at other names, the query's text or anything of this server."""
    said = re.split(r"\n\s*LINE \d+:|\s*\bDid you mean\b|\s*\bCandidate ", message, maxsplit=1)[0].strip()
    lake = _this.lake
    ours = (lake.data.removesuffix("/").rpartition("/")[0], str(lake.rejects.parent), str(_this.home))
    if any(place in said for place in ours):
        return "The query cannot be run."
    return said


# -- rows ----------------------------------------------------------------------------------------------


def _rows(relation: duckdb.DuckDBPyRelation, max_rows: int) -> tuple[list[list[object]], bool]:
    expressions, readers = zip(*(_readings(str(type)) for type in relation.types), strict=True)
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


# -- exports -------------------------------------------------------------------------------------------

_COPY_OPTIONS = {
    "csv": "FORMAT csv, HEADER true",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "ndjson": "FORMAT json",
}


def export(table: TableRef, columns: tuple[str, ...], format: str) -> None:
    """These columns of a table, into the pipe."""
    pipe = _this.home / PIPE
    with _reading() as engine:
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
