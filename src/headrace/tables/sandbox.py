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
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

import duckdb
import pyarrow as pa
from duckdb_extensions import import_extension

from headrace.children import ChildDied, limit_this_process, process_pool
from headrace.errors import Draining, HeadraceError, Internal, QueryRefused, QueryTooLong
from headrace.model import TableRef
from headrace.tables import sqlgate

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


@dataclass(frozen=True)
class Answer:
    """Rows of a query, fit for JSON: see ``_readings``. ``truncated``: there were more than asked for.

    ``columns`` are pairs of name and engine type; a name may occur twice.
    """

    columns: tuple[tuple[str, str], ...]
    rows: list[list[object]]
    truncated: bool
    milliseconds: int


class ExportFormat(StrEnum):
    CSV = "csv"  # with a header; NULL is empty, the empty string is ""
    PARQUET = "parquet"
    NDJSON = "ndjson"  # one object a line; infinite floats and NaN are strings
    ARROW = "arrow"  # the IPC stream


class Sandbox:
    """Warm children for queries, and as many for exports; each starts when it is first needed."""

    def __init__(self, *, processes: int, memory_mb: int) -> None:
        self._folder = TemporaryDirectory(prefix="headrace-exports-")
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
    ) -> Iterator[bytes]:
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
            raise QueryTooLong("The query's process died, most likely of its use of memory.") from error
        except Exception as error:
            raise Internal from error
