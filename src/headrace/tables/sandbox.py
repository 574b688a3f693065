"""Users' reading of lakes, in child processes: their SQL must neither reach nor slow what loads.

Four walls stand around a query: the gate (``sqlgate``) says what SQL may mean, the engine's settings say
which files it may touch, the operating system lets its process reach no other (``confinement``), and the
child's limits say how much time and memory it may take. A child belongs to one lake, for what it gave up it
cannot get back. Exports are our own SQL and pass no gate, but run in children as well, other ones, so that a
slow download holds no query up.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Generator, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

from headrace.children import START_SECONDS, ChildDied, limit_this_process, process_pool
from headrace.errors import (
    Conflict,
    Draining,
    HeadraceError,
    NotFound,
    QueryCancelled,
    QueryRefused,
    QueryTooLong,
)
from headrace.model import TableRef
from headrace.tables import Answer, ExportFormat, reading
from headrace.tables.catalogfiles import move
from headrace.tables.catalogs import Copying
from headrace.tables.lakefiles import LakeFiles, Wall
from headrace.tables.serving import AskingChild
from headrace.warmchildren import NoneFree, Warm, WarmChildren

T = TypeVar("T")

CHUNK_BYTES = 256 << 10
"""An export comes in pieces of this size; the pipe to the child holds one more."""

EXPORT_PATIENCE_S = 60.0
"""How long an export waits for one of the others to end."""

_COPYING_MB = 1024
_COPYING_S = 60.0

ANSWERS = frozenset({Answer, QueryRefused, QueryTooLong})
"""What a child may say besides plain values: it ran somebody else's SQL."""


@dataclass(frozen=True)
class _Seen:
    """What a child has in its home: the catalog as of this state; and all inlined tables it ever knew."""

    state: Hashable | None
    inlined: frozenset[str]


class _Running:
    """A query under way, which can be called off at any moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._warm: Warm | None = None
        self.cancelled = False

    def runs_in(self, warm: Warm | None) -> None:
        with self._lock:
            if warm and self.cancelled:
                raise QueryCancelled
            self._warm = warm

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._warm:
                self._warm.child.kill()  # an engine that is asked to stop may take its time


class Sandbox:
    """Warm children for queries, and others for exports; each starts when it is first needed."""

    def __init__(
        self,
        *,
        processes: int,
        memory_mb: int,
        temp: Path | None = None,
        warm: int = 4,
        walls: frozenset[Wall] = frozenset(Wall),
    ) -> None:
        self._walls = walls
        self._temporary = TemporaryDirectory(prefix="headrace-sql-", dir=temp)
        folder = Path(self._temporary.name)
        start = partial(AskingChild, reading.start, (memory_mb,), ANSWERS)
        self._copies = process_pool(1, limit_this_process, (_COPYING_MB,))
        self._queries = WarmChildren(folder, start, running=processes, idle=warm, spare=True)
        self._exports = WarmChildren(folder, start, running=processes, idle=1, spare=False)
        self._running: dict[tuple[LakeFiles, str], _Running] = {}
        self._lock = threading.Lock()
        self._closed = False

    def query(
        self,
        lake: LakeFiles,
        tables: Sequence[TableRef],
        sql: str,
        *,
        max_rows: int,
        seconds: float,
        query_id: str | None = None,
        rejects: bool = False,
    ) -> Answer:
        """One SELECT over these tables of the lake, as of its newest snapshot, and over ``rejects`` if so.

        ``seconds`` count from the moment that a child is ready; for one to be free it waits as long at most.
        Under its id it can be cancelled. Raises QueryRefused, QueryTooLong, QueryCancelled, Draining; Busy
        when another process holds the catalog, Conflict when a query of the lake has this id.
        """
        self._check_open()
        none_free = f"No process was free for the query within {seconds:g} s; try again later."
        with (
            self._entered(lake, query_id or uuid4().hex) as running,
            self._failing(running, none_free, f"The query took longer than {seconds:g} s."),
            self._queries.borrowed(_key(lake), seconds) as warm,
        ):
            running.runs_in(warm)
            self._prepare(self._queries, warm, lake)
            answer = warm.child.run(reading.query, (tuple(tables), sql, max_rows, rejects), seconds)
            running.runs_in(None)  # from here on its child may be somebody else's
            if not isinstance(answer, Answer):  # it may have fallen into other hands
                raise ChildDied("The child answers something else.")
            return answer

    def cancel(self, lake: LakeFiles, query_id: str) -> None:
        """End a query that waits or runs. Raises NotFound."""
        with self._lock:
            running = self._running.get((lake, query_id))
        if running is None:
            raise NotFound(f"No query {query_id} is running.")
        running.cancel()

    def export(
        self, lake: LakeFiles, table: TableRef, columns: Sequence[str], format: ExportFormat
    ) -> Generator[bytes]:
        """These columns of a table as a file, in pieces of CHUNK_BYTES; work starts with the first ``next``.

        Whatever goes wrong is raised, late as it may be: a file is complete only when the iterator ends by
        itself. Close it to end the child's work early. Raises QueryTooLong, Draining, Busy.
        """
        self._check_open()
        none_free = f"No process was free for the export within {EXPORT_PATIENCE_S:g} s."
        with (
            self._failing(_Running(), none_free, "The export took too long."),
            self._exports.borrowed(_key(lake), EXPORT_PATIENCE_S) as warm,
        ):
            self._prepare(self._exports, warm, lake, exports=True)
            yield from _piped(warm, (table, tuple(columns), format.value))

    def forget(self, lake: LakeFiles) -> None:
        """Let go of a lake that is no more."""
        for children in (self._queries, self._exports):
            children.end(lambda key: isinstance(key, tuple) and key[0] == lake)

    def forget_all(self) -> None:
        """Let go of every lake; the child that waits for its first one stays."""
        for children in (self._queries, self._exports):
            children.end(lambda _key: True)

    def close(self) -> None:
        """Ends all children and their work. May be repeated."""
        self._closed = True
        self._queries.stop()
        self._exports.stop()
        self._copies.stop()
        self._copies.join()
        self._temporary.cleanup()

    def pids(self) -> list[int]:
        """The children that live now and have a lake."""
        return [*self._queries.pids(), *self._exports.pids()]

    @property
    def running(self) -> int:
        """Queries that wait or run."""
        return len(self._running)

    # -- a child ---------------------------------------------------------------------------------------

    def _prepare(self, children: WarmChildren, warm: Warm, lake: LakeFiles, *, exports: bool = False) -> None:
        """The child is one of this lake, and what it has of the catalog is the newest."""
        state = lake.catalog.state()
        seen: _Seen | None = warm.state
        if seen and state is not None and seen.state == state:
            return
        inlined = self._copied(lake, warm) if lake.catalog.identity() else frozenset()
        if seen and not seen.inlined <= inlined:
            # upkeep has dropped an inlined table, and the engine would go on looking for it
            children.renew(warm)
            seen = None
        if seen is None:
            if exports and not (warm.home / reading.PIPE).exists():
                os.mkfifo(warm.home / reading.PIPE, 0o600)
            if lake.data.served:
                assert isinstance(warm.child, AskingChild)
                warm.child.serve(lake.data.served)
            task = (self._walls, lake.seen(), warm.home, exports)
            warm.child.run(reading.open_lake, task, START_SECONDS)
        warm.state = _Seen(state, inlined | (seen.inlined if seen else frozenset()))

    def _copied(self, lake: LakeFiles, warm: Warm) -> frozenset[str]:
        copying = lake.catalog.copying()
        if served := lake.data.served:
            copying = partial(_copy_and_move, copying, served.place)
        target = (warm.home / reading.CATALOG,)
        copied: Future[frozenset[str]] = self._copies.schedule(copying, target, timeout=_COPYING_S)
        return copied.result()

    # -- queries under way -----------------------------------------------------------------------------

    @contextmanager
    def _entered(self, lake: LakeFiles, query_id: str) -> Iterator[_Running]:
        key, running = (lake, query_id), _Running()
        with self._lock:
            if key in self._running:
                raise Conflict(f"A query {query_id} is running.")
            self._running[key] = running
        try:
            yield running
        finally:
            with self._lock:
                del self._running[key]

    def _check_open(self) -> None:
        if self._closed:
            raise Draining

    @contextmanager
    def _failing(self, running: _Running, none_free: str, too_long: str) -> Iterator[None]:
        """What goes wrong with children, as an error of ours."""
        try:
            yield
        except HeadraceError:
            raise
        except NoneFree as error:
            raise QueryTooLong(none_free) from error
        except TimeoutError as error:
            raise QueryTooLong(too_long) from error
        except (ChildDied, CancelledError) as error:
            self._check_open()
            if running.cancelled:
                raise QueryCancelled from error
            raise QueryTooLong("The process died, most likely of its use of memory.") from error
        except Exception:
            self._check_open()
            raise  # a fault of ours: who answers the request logs it


def _copy_and_move(copying: Copying, place: str, target: Path) -> frozenset[str]:
    """A copy that names files as a child does that has to ask for them."""
    unmoved = target.with_name(f"{target.name}.unmoved")
    inlined = copying(unmoved)
    move(unmoved, place)
    unmoved.replace(target)
    return inlined


def _key(lake: LakeFiles) -> Hashable:
    """A folder made anew under the same name is another lake: children hold on to the old one."""
    if lake.data.folder is None:
        return lake, lake.catalog.identity()
    try:
        stat = lake.data.folder.stat()
    except FileNotFoundError:
        return lake, None
    return lake, (stat.st_dev, stat.st_ino)


# -- exports -------------------------------------------------------------------------------------------


def _piped(warm: Warm, task: tuple[Any, ...]) -> Generator[bytes]:
    """What the child writes into its pipe, then whatever went wrong in it."""
    future: Future[None] = Future()
    with _pipe(warm.home / reading.PIPE) as (reader, writer):

        def work() -> None:
            try:
                future.set_result(warm.child.run(reading.export, task, None))
            except Exception as error:
                future.set_exception(error)
            finally:
                os.close(writer)  # the child may have ended before it opened the pipe

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while chunk := reader.read(CHUNK_BYTES):
                yield chunk
            future.result()
        except GeneratorExit:
            if not future.done():
                warm.child.kill()
            raise
        finally:
            thread.join()


@contextmanager
def _pipe(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A named pipe with both of its ends open: neither side ever waits for the other to open it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as reader:
        writer = os.open(path, os.O_WRONLY)
        os.set_blocking(descriptor, True)
        with suppress(PermissionError):  # beyond the user's quota of pipes: the usual 64 KiB will do
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
        yield reader, writer
