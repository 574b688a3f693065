"""The second entrance: what happens without a request. Chunks are staged, jobs are loaded, crashes mended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import structlog

from headrace.chunks import ChunkStore
from headrace.crashpoints import crash_point
from headrace.durable import disk_fault
from headrace.errors import Busy, ChunkFailed, HeadraceError
from headrace.loading import Loader, TakenOver
from headrace.locks import Locks
from headrace.metadata import Metadata
from headrace.model import (
    STRING,
    Chunk,
    ChunkState,
    ChunkType,
    Column,
    ColumnKind,
    ColumnType,
    CsvOptions,
    DeclaredColumn,
    Job,
    StageReport,
    Table,
    decimal,
    fold,
    now,
)
from headrace.observing import (
    LeaseLost,
    NotStaged,
    Observe,
    Postponed,
    Recovered,
    Staged,
    seconds_since,
    unheard,
)
from headrace.rejectfiles import RejectFiles
from headrace.staged import StagedFiles
from headrace.staging import Stager, StageTask
from headrace.tables import TableEngine, table_to_change
from headrace.turns import Turns
from headrace.undoing import Undos

log = structlog.get_logger()

SETTLED_S = 3600.0
"""What several processes may be at is a stray only after so long."""

_IDLE_SECONDS = 1.0
"""A worker that missed a wake-up looks again after so long."""


@dataclass(frozen=True)
class Staging:
    """How one chunk becomes a staged file, and where it is told."""

    metadata: Metadata
    chunks: ChunkStore
    tables: TableEngine
    stager: Stager
    folder: StagedFiles
    rejects: RejectFiles
    string_length: int | None
    observe: Observe = unheard

    def stage(self, chunk: Chunk) -> None:
        """Stage a received chunk and record the result.

        One that is staged already, or whose job is gone, is left alone. So is one whose schema was corrected
        meanwhile: it is staged again, by whom the correction woke.
        """
        job = self.metadata.jobs.get(chunk.pool_id, chunk.job_id)
        if job is None or not self.metadata.chunks.waits(chunk.id):
            return  # a load may be at work with what was staged: nobody shall change that under it
        start = time.monotonic()
        try:
            table = table_to_change(self.tables, job)
            wanted = wanted_columns(job.spec.columns, table)
            if chunk.type is ChunkType.DELETE:  # whatever else it holds must not fail it
                keys = set(map(fold, job.spec.key_columns))
                wanted = {name: column for name, column in wanted.items() if name in keys}
            report = self._run(job, chunk, wanted, _names(table))
            self.folder.release(job.pool_id, job.id, chunk.id)
        except Busy:
            raise
        except HeadraceError as error:
            if not self.stager.closed:  # else the next start stages it
                self.metadata.chunks.failed(chunk.id, error.message, _ms_since(start), under=job.spec)
                self.observe(NotStaged(chunk, error.message, seconds_since(start)))
            return
        crash_point("staged")
        self.metadata.chunks.staged(chunk.id, report, _ms_since(start), under=job.spec)
        crash_point("stage-recorded")
        self.observe(Staged(chunk, report, seconds_since(start)))

    def again(
        self, job: Job, chunk: Chunk, columns: Sequence[Column], *, aside: Path | None = None
    ) -> StageReport:
        """Stage a chunk once more, in the columns that its job agreed on. Raises ChunkFailed.

        With ``aside`` into that folder, and nobody is told.
        """
        start = time.monotonic()
        wanted = {fold(c.name): c for c in columns}
        report = self._run(job, chunk, wanted, frozenset(wanted), aside)
        if aside:
            return report
        self.metadata.chunks.staged(chunk.id, report, _ms_since(start))
        return report

    def _run(
        self,
        job: Job,
        chunk: Chunk,
        wanted: dict[str, Column],
        fixed: frozenset[str],
        aside: Path | None = None,
    ) -> StageReport:
        target, rejects = self.folder.path(job.pool_id, job.id, chunk.id), self.rejects.path(chunk)
        try:
            with self.chunks.reading(job.id, chunk.id) as source:
                task = StageTask(
                    source=source,
                    target=aside / target.name if aside else target,
                    rejects=aside / rejects.name if aside else rejects,
                    file_type=chunk.file_type,
                    csv=job.spec.csv or CsvOptions(),
                    wanted=wanted,
                    fixed=fixed,
                    keys=frozenset(map(fold, job.spec.key_columns)),
                    string_length=job.spec.fallback_length or self.string_length,
                    infer=job.spec.infer_types,
                    strict_lengths=job.spec.strict_lengths,
                    deletes=chunk.type is ChunkType.DELETE,
                    sha256=chunk.stored_sha256,
                )
                report = self.stager.stage(task)
            if not aside:
                self.folder.publish(job.pool_id, job.id, chunk.id)
                self.rejects.publish(chunk)
            return report
        except HeadraceError:
            raise
        except (OSError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ChunkFailed(f"It could not be staged: {reason}") from error
        except Exception as error:
            log.exception("staging failed", chunk=chunk.id, job=job.id)
            raise ChunkFailed("An error of the server; its log has the details.") from error


def _names(table: Table | None) -> frozenset[str]:
    return frozenset(fold(c.name) for c in table.columns) if table else frozenset()


def wanted_columns(declared: Sequence[DeclaredColumn], table: Table | None) -> dict[str, Column]:
    """What is known of columns before a chunk is read: the table's own come before the client's schema."""
    wanted = {
        fold(c.name): Column(c.name, declared_type(c), c.length) for c in declared if c.kind or c.length
    }
    for column in table.columns if table else ():
        length = wanted[fold(column.name)].length if fold(column.name) in wanted else None
        wanted[fold(column.name)] = Column(column.name, column.type, length)
    return wanted


def declared_type(column: DeclaredColumn) -> ColumnType:
    """FLOAT with decimals is money: exact."""
    if column.kind is ColumnKind.FLOAT and column.decimals:
        return decimal(18 if column.decimals <= 6 else 38, min(column.decimals, 37))
    return ColumnType(column.kind) if column.kind else STRING


def _ms_since(start: float) -> int:
    return round(seconds_since(start) * 1000)


class Worker:
    """Threads that stage and load. Plain and few: the work itself is done in children and by the engine."""

    def __init__(
        self,
        loader: Loader,
        staging: Staging,
        *,
        stagers: int,
        loaders: int,
        lease_seconds: int,
        undos: Undos,
        tell: Callable[[str], None],
        on_loaded: Callable[[str], None],
        locks: Locks,
        shared: bool = False,
        observe: Observe = unheard,
    ) -> None:
        """``tell`` hears of each step of a job, by its pool; ``on_loaded``, when all is done with it.

        ``locks`` and, if ``shared``, the work are those of several processes. Without stagers and loaders it
        leaves all work to them.
        """
        self._metadata = loader.metadata
        self._loader = loader
        self._staging = staging
        self._undos = undos
        self._tell = tell
        self._locks = locks
        self._shared = shared
        self._works = bool(stagers and loaders)
        self._observe = observe
        self._on_loaded = on_loaded
        self._lease = timedelta(seconds=lease_seconds)
        self._name = str(uuid4())
        self._stagers = ThreadPoolExecutor(max(1, stagers), "stage")
        self._turns = Turns()
        self._loaders = [threading.Thread(target=self._load_loop, name=f"load-{n}") for n in range(loaders)]
        self._heartbeat = threading.Thread(target=self._heartbeat_loop, name="heartbeat")
        self._wake = threading.Condition()
        self._wakes = 0
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._running: set[tuple[str, int]] = set()
        self._staging_now: set[str] = set()
        self._stage_again: set[str] = set()
        self._staging_lock = threading.Lock()

    def start(self) -> None:
        """Mend what a crash left, then begin; nothing if others do it."""
        if not self._works:
            return
        self._recover()
        for thread in (*self._loaders, self._heartbeat):
            thread.start()

    def stop(self, seconds: float) -> bool:
        """Finish what is being loaded and begin nothing new; False if that took longer than ``seconds``."""
        self._stopping.set()
        self.wake()
        self._stagers.shutdown(wait=False, cancel_futures=True)
        if not self._works:
            return True
        deadline = time.monotonic() + seconds
        for thread in self._loaders:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._ended.set()
        self._heartbeat.join()
        return not any(thread.is_alive() for thread in self._loaders)

    def await_stagers(self) -> None:
        """Returns when what is being staged has been: after ``stop``, which lets it go on."""
        self._stagers.shutdown(wait=True)

    @property
    def alive(self) -> bool:
        return not self._works or all(thread.is_alive() for thread in (*self._loaders, self._heartbeat))

    @property
    def held(self) -> int:
        """How many jobs are being loaded."""
        return len(self._running)

    def stage(self, chunk: Chunk) -> None:
        """Stage a chunk soon; one that is being staged, once more afterwards: never twice at a time."""
        if self._stopping.is_set() or not self._works:
            return
        with self._staging_lock:
            if chunk.id in self._staging_now:
                self._stage_again.add(chunk.id)
                return
            self._staging_now.add(chunk.id)
            self._turns.put(chunk)
            self._stagers.submit(self._stage_next)

    def wake(self) -> None:
        """There may be something to load."""
        with self._wake:
            self._wakes += 1
            self._wake.notify_all()

    def forget(self, job: Job) -> None:
        """A client deleted the job before it ran."""
        self._loader.chunks.drop(job.id)
        self._loader.staging_folder.drop(job.pool_id, job.id)
        self._staging.rejects.drop(job.pool_id, job.id)

    def await_staged(self, job_id: str, seconds: float) -> bool:
        """Returns when no chunk of the job waits to be staged; False if that takes longer."""
        chunks = self._metadata.chunks
        return self._await(
            lambda: all(c.state is not ChunkState.RECEIVED for c in chunks.list(job_id)), seconds
        )

    def await_ended(self, job: Job, seconds: float) -> Job:
        """The job as it is when it has ended, or after so many seconds."""
        jobs, found = self._metadata.jobs, [job]

        def ended() -> bool:
            found.append(jobs.get(job.pool_id, job.id) or job)
            return found[-1].status.final

        self._await(ended, seconds)
        return found[-1]

    def _await(self, there: Callable[[], bool], seconds: float) -> bool:
        """Looks again whenever a worker has done something."""
        deadline = time.monotonic() + seconds
        while True:
            wakes = self._wakes
            if there():
                return True
            with self._wake:
                left = deadline - time.monotonic()
                if (
                    self._stopping.is_set()
                    or left <= 0
                    or not self._wake.wait_for(partial(self._woken_since, wakes), left)
                ):
                    return False

    # -- recovery --------------------------------------------------------------------------------------

    def _recover(self) -> None:
        self._undos.recover()
        requeued = 0 if self._shared else self._metadata.jobs.requeue_all()  # else by their leases
        self._sweep()
        unstaged = self._metadata.chunks.unstaged()
        for chunk in unstaged:
            self.stage(chunk)
        if requeued or unstaged:
            self._observe(Recovered(requeued, len(unstaged)))

    def _sweep(self) -> None:
        """Drop what no job needs: parts that were never finished, files without a row, ended jobs' chunks."""
        chunks, folder = self._loader.chunks, self._loader.staging_folder
        present = list(chunks.jobs())
        alive = self._metadata.jobs.unfinished(present) | self._metadata.jobs.retryable(present, now())
        for job_id in present:
            known = [c.id for c in self._metadata.chunks.list(job_id)] if job_id in alive else []
            try:
                if not self._shared:
                    self._adopt_rejects(job_id)
                chunks.sweep(job_id, known, older_s=SETTLED_S if self._shared else 0)
            except OSError:
                log.exception("could not sweep", job=job_id)
        staged = list(folder.jobs())
        alive = self._metadata.jobs.unfinished([job_id for _, job_id in staged])
        for pool_id, job_id in staged:
            if job_id not in alive:
                folder.drop(pool_id, job_id)
        known = [pool.id for pool in self._metadata.pools.list()]
        self._staging.rejects.sweep(known, older_s=SETTLED_S if self._shared else 0)

    def _sweep_failed(self) -> None:
        """Chunks that were kept for a retry, and long enough; of a job that nobody knows yet, none."""
        chunks = self._loader.chunks
        for job_id in self._metadata.jobs.past_retrying(list(chunks.jobs()), now()):
            chunks.drop(job_id)

    def _adopt_rejects(self, job_id: str) -> None:
        """Headrace 0.1 kept them beside the raw chunks."""
        for chunk in self._metadata.chunks.list(job_id):
            name = f"{chunk.id}.rejects.ndjson"
            with suppress(FileNotFoundError), self._loader.chunks.reading(job_id, name) as old:
                self._staging.rejects.adopt(old, chunk)

    # -- loops -----------------------------------------------------------------------------------------

    def _stage_next(self) -> None:
        self._stage(self._turns.take())

    def _stage(self, chunk: Chunk) -> None:
        try:
            self._stage_alone(chunk)
        except Exception:  # of ours or of the moment (a lock, a full disk): it is staged again later
            log.exception("staging failed, and is tried again", chunk=chunk.id, job=chunk.job_id)
        with self._staging_lock:
            self._staging_now.discard(chunk.id)
            again = chunk.id in self._stage_again
            self._stage_again.discard(chunk.id)
        if again:
            self.stage(chunk)
        self._tell(chunk.pool_id)
        self.wake()

    def _stage_alone(self, chunk: Chunk) -> None:
        """Unless another process does: should that die, it is looked for again."""
        if held := self._locks.take("chunk", chunk.id):
            try:
                self._staging.stage(chunk)
            finally:
                held.release()

    def stage_waiting(self) -> None:
        """Stage what others have received."""
        if self._works:
            self._stage_forgotten()

    def _stage_forgotten(self) -> None:
        """Chunks that are received and that nobody stages: their first try failed for no fault of theirs."""
        for chunk in self._metadata.chunks.unstaged():
            if chunk.id not in self._staging_now:
                self.stage(chunk)

    def _load_loop(self) -> None:
        while not self._stopping.is_set():
            wakes = self._wakes
            try:
                found = self._load_next()
            except Exception:
                log.exception("a worker stumbled, and goes on")
                found = False
            if not found:
                with self._wake:
                    self._wake.wait_for(partial(self._woken_since, wakes), _IDLE_SECONDS)

    def _woken_since(self, wakes: int) -> bool:
        return self._wakes != wakes

    def _load_next(self) -> bool:
        """Load the next free job; False if there is none."""
        job = self._metadata.jobs.claim(self._name, self._metadata.now(), self._lease)
        if job is None:
            return False
        crash_point("claimed")
        claimed = (job.id, job.fence)
        self._running.add(claimed)
        self._tell(job.pool_id)
        try:
            self._load(job)
        finally:
            self._running.discard(claimed)
            self._tell(job.pool_id)
            self.wake()  # another job may wait for this one's table
        return True

    def _load(self, job: Job) -> None:
        try:
            self._loader.load(job)
        except TakenOver:
            self._observe(LeaseLost(job))
            return
        except Busy:
            self._observe(Postponed(job))
            self._metadata.jobs.release(job.id, job.fence)
            return
        except Exception as error:
            self._stumbled(job, error)
            return
        self._on_loaded(job.pool_id)

    def _stumbled(self, job: Job, error: Exception) -> None:
        """ERROR, unless the rows are in the table: then the next claim, after this lease, says DONE."""
        reference = str(uuid4())
        log.exception("load failed", job=job.id, reference=reference)
        if self._loader.is_committed(job):
            return
        if fault := disk_fault(error):
            self._loader.give_up(job, fault.message, fault.code)
            return
        line = f"An error of the server; its log has the details under the reference {reference}."
        self._loader.give_up(job, line)

    def _heartbeat_loop(self) -> None:
        while not self._ended.wait(self._lease.total_seconds() / 4):
            self._safely(self._stage_forgotten, "unstaged chunks could not be looked for")
            self._safely(self._sweep_failed, "chunks of failed jobs could not be swept")
            self._safely(self._undos.recover, "interrupted undos could not be looked for")
            if running := list(self._running):
                self._beat(running)

    def _safely(self, act: Callable[[], None], failed: str) -> None:
        try:
            act()
        except Exception:
            log.exception(failed)

    def _beat(self, running: list[tuple[str, int]]) -> None:
        try:
            self._metadata.jobs.heartbeat(running, self._metadata.now(), self._lease)
        except Exception:
            log.exception("a heartbeat was missed")
