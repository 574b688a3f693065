"""The work behind the requests: chunks are staged, jobs are loaded, and what a crash left is mended.

The metadata, the chunks and the threads are real; what stages, loads and undoes takes notes.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import wait_for
from headrace.chunks.disk import DiskChunks
from headrace.errors import Busy, ChunkFailed, DiskFull
from headrace.loading import TakenOver
from headrace.locks import LocksOfProcess
from headrace.metadata import Metadata
from headrace.model import (
    INTEGER,
    STRING,
    Chunk,
    ChunkState,
    ChunkType,
    Column,
    ColumnKind,
    Counts,
    CsvOptions,
    DeclaredColumn,
    FileType,
    Job,
    JobStatus,
    JobType,
    PushSpec,
    StageReport,
    Table,
    TableRef,
    now,
)
from headrace.observing import LeaseLost, NotStaged, Observation, Postponed, Recovered, Staged
from headrace.rejectfiles import RejectFolders
from headrace.staged import StagingFolder
from headrace.staging import StageTask
from headrace.worker import SETTLED_S, Staging, Worker

LEASE = timedelta(minutes=1)
REPORT = StageReport(3, 0, (Column("id", INTEGER),))
SPEC = PushSpec("t", JobType.DELTA, keys=("ID",), columns=(DeclaredColumn("id", ColumnKind.INTEGER),))


class Stager:
    """Stages nothing: notes what it is asked, and answers as it is told."""

    def __init__(self) -> None:
        self.closed = False
        self.tasks: list[StageTask] = []
        self.fault: BaseException | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def stage(self, task: StageTask) -> StageReport:
        self.tasks.append(task)
        self.meanwhile()
        if self.fault:
            raise self.fault
        return REPORT


class Tables:
    def __init__(self) -> None:
        self.table: Table | None = None

    def find(self, pool_id: str, ref: TableRef) -> Table | None:
        return self.table


class Undos:
    def __init__(self) -> None:
        self.recovered = 0

    def recover(self) -> None:
        self.recovered += 1


@dataclass
class Loader:
    """Loads nothing: notes what it is given, and does as it is told."""

    metadata: Metadata
    chunks: DiskChunks
    staging_folder: StagingFolder
    loaded: list[Job] = field(default_factory=list)
    given_up: list[tuple[str, str, str | None]] = field(default_factory=list)
    fault: Exception | None = None
    committed: bool = False
    meanwhile: Callable[[], None] = lambda: None

    def load(self, job: Job) -> None:
        self.loaded.append(job)
        self.meanwhile()
        if self.fault:
            raise self.fault
        counts: dict[str, Any] = {"counts": Counts(), "logs": [], "phases_ms": {}}
        assert self.metadata.jobs.finish(job, JobStatus.DONE, at=now(), **counts)

    def is_committed(self, job: Job) -> bool:
        return self.committed

    def give_up(self, job: Job, line: str, code: str | None = None) -> None:
        self.given_up.append((job.id, line, code))
        self.metadata.jobs.finish(
            job, JobStatus.ERROR, at=now(), counts=Counts(), logs=[line], phases_ms={}, error_code=code
        )


class Shop:
    """All that a worker needs, and hands to give it work."""

    def __init__(self, folder: Path, fresh: Path) -> None:
        self.metadata = Metadata(shutil.copy(fresh, folder / "metadata.sqlite"))
        self.chunks = DiskChunks(folder / "chunks", min_free_bytes=0)
        self.folder = StagingFolder(folder / "pools")
        self.rejects = RejectFolders(folder / "pools")
        self.stager, self.tables, self.undos = Stager(), Tables(), Undos()
        self.loader = Loader(self.metadata, self.chunks, self.folder)
        self.locks = LocksOfProcess()
        self.seen: list[Observation] = []
        self.told: list[str] = []
        self.done: list[str] = []
        self._made = 0

    def staging(self, string_length: int | None = None) -> Staging:
        return Staging(
            self.metadata,
            self.chunks,
            self.tables,  # type: ignore[arg-type]  what staging asks of them
            self.stager,  # type: ignore[arg-type]
            self.folder,
            self.rejects,
            string_length,
            self.seen.append,
        )

    def worker(self, **more: Any) -> Worker:
        usual: dict[str, Any] = {"stagers": 1, "loaders": 1, "lease_seconds": 60}
        return Worker(
            self.loader,  # type: ignore[arg-type]
            self.staging(),
            undos=self.undos,  # type: ignore[arg-type]
            tell=self.told.append,
            on_loaded=self.done.append,
            locks=self.locks,
            observe=self.seen.append,
            **{**usual, **more},
        )

    def job(self, spec: PushSpec = SPEC) -> Job:
        self._made += 1
        job = Job(f"job-{self._made}", "p", spec, JobStatus.NEW, now(), now())
        self.metadata.jobs.add(job)
        return job

    def chunk(self, job: Job, type: ChunkType = ChunkType.UPSERT, **more: Any) -> Chunk:
        self._made += 1
        name = f"chunk-{self._made}"
        incoming = self.chunks.receive(job.id, name)
        incoming.write(b"raw")
        incoming.keep()
        chunk = Chunk(name, job.id, job.pool_id, 0, type, 3, name, FileType.CSV, now(), **more)
        return self.metadata.chunks.add(chunk)

    def staged(self, job: Job) -> Chunk:
        chunk = self.chunk(job)
        assert self.metadata.chunks.staged(chunk.id, REPORT, 1)
        self.path(chunk).parent.mkdir(parents=True, exist_ok=True)
        self.path(chunk).touch()
        return self.shown(chunk)

    def path(self, chunk: Chunk) -> Path:
        return self.folder.path(chunk.pool_id, chunk.job_id, chunk.id)

    def queued(self, spec: PushSpec = SPEC) -> Job:
        job = self.job(spec)
        assert self.metadata.jobs.queue(job.id, None, now())
        return job

    def running(self, spec: PushSpec = SPEC, lease: timedelta = LEASE) -> Job:
        self.queued(spec)
        job = self.metadata.jobs.claim("another", now(), lease)
        assert job
        return job

    def ended(
        self, status: JobStatus = JobStatus.DONE, *, kept: timedelta | None = None
    ) -> tuple[Job, Chunk]:
        job = self.job()
        chunk = self.staged(job)
        assert self.metadata.jobs.queue(job.id, None, now())
        claimed = self.metadata.jobs.claim("another", now(), LEASE)
        assert claimed
        counts: dict[str, Any] = {"counts": Counts(), "logs": [], "phases_ms": {}}
        until = now() + kept if kept else None
        assert self.metadata.jobs.finish(claimed, status, at=now(), chunks_until=until, **counts)
        return self.of(job), chunk

    def of(self, job: Job) -> Job:
        found = self.metadata.jobs.get(job.pool_id, job.id)
        assert found
        return found

    def shown(self, chunk: Chunk) -> Chunk:
        [found] = [one for one in self.metadata.chunks.list(chunk.job_id) if one.id == chunk.id]
        return found

    def files(self, job: Job) -> list[str]:
        folder = self.chunks.path(job.id, "x").parent
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def heard(self, kind: type) -> list[Any]:
        return [one for one in self.seen if isinstance(one, kind)]


@pytest.fixture
def shop(tmp_path: Path, fresh: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, fresh)
    yield made
    made.metadata.close()


@pytest.fixture
def start(shop: Shop) -> Iterator[Callable[..., Worker]]:
    """A worker that has started; it ends with the test."""
    started: list[Worker] = []

    def start(**more: Any) -> Worker:
        started.append(shop.worker(**more))
        started[-1].start()
        return started[-1]

    yield start
    for worker in started:
        assert worker.stop(20)
        worker.await_stagers()


# -- staging -------------------------------------------------------------------------------------------


def test_a_chunk_becomes_a_staged_file(shop: Shop) -> None:
    job = shop.job()
    chunk = shop.chunk(job, stored_sha256="of its bytes")
    shop.staging(80).stage(chunk)
    [task] = shop.stager.tasks
    assert task == StageTask(
        source=shop.chunks.path(job.id, chunk.id),
        target=shop.path(chunk),
        rejects=shop.rejects.path(chunk),
        file_type=FileType.CSV,
        csv=CsvOptions(),
        wanted={"id": Column("id", INTEGER)},
        fixed=frozenset(),
        keys=frozenset({"id"}),
        string_length=80,
        infer=False,
        strict_lengths=False,
        deletes=False,
        sha256="of its bytes",
    )
    shown = shop.shown(chunk)
    assert (shown.state, shown.report) == (ChunkState.STAGED, REPORT)
    assert shown.staging_ms is not None
    assert 0 <= shown.staging_ms < 20_000
    [told] = shop.heard(Staged)
    assert (told.chunk, told.report) == (chunk, REPORT)
    assert 0 <= told.seconds < 20


def test_what_the_client_asked_for_goes_with_it(shop: Shop) -> None:
    csv = CsvOptions(separator=";")
    asked = replace(SPEC, csv=csv, fallback_length=7, infer_types=True, strict_lengths=True)
    shop.staging(80).stage(shop.chunk(shop.job(asked)))
    [task] = shop.stager.tasks
    assert (task.csv, task.string_length, task.infer, task.strict_lengths) == (csv, 7, True, True)


def test_what_the_table_has_is_wanted_as_it_has_it(shop: Shop) -> None:
    shop.tables.table = Table(TableRef("t"), (Column("ID", STRING), Column("more", STRING)))
    shop.staging().stage(shop.chunk(shop.job()))
    [task] = shop.stager.tasks
    assert task.wanted == {"id": Column("ID", STRING), "more": Column("more", STRING)}
    assert task.fixed == {"id", "more"}
    shop.staging().stage(shop.chunk(shop.job(replace(SPEC, type=JobType.REPLACE))))
    assert shop.stager.tasks[1].fixed == frozenset()


def test_of_what_deletes_the_keys_alone_are_wanted(shop: Shop) -> None:
    shop.tables.table = Table(TableRef("t"), (Column("id", INTEGER), Column("more", INTEGER)))
    shop.staging().stage(shop.chunk(shop.job(), ChunkType.DELETE))
    [task] = shop.stager.tasks
    assert task.deletes
    assert task.wanted == {"id": Column("id", INTEGER)}


def test_what_is_staged_already_is_left_alone(shop: Shop) -> None:
    shop.staging().stage(shop.staged(shop.job()))
    stranger = replace(shop.chunk(shop.job()), pool_id="other")
    shop.staging().stage(stranger)
    assert shop.stager.tasks == []
    assert shop.seen == []


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (ChunkFailed("It is damaged."), "It is damaged."),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "It could not be staged: Input/output error"),
        (MemoryError("so much"), "It could not be staged: so much"),
        (ValueError("nobody foresaw it"), "An error of the server; its log has the details."),
    ],
)
def test_why_a_chunk_could_not_be_staged(shop: Shop, fault: Exception, problem: str) -> None:
    shop.stager.fault = fault
    chunk = shop.chunk(shop.job())
    shop.staging().stage(chunk)
    shown = shop.shown(chunk)
    assert (shown.state, shown.problem) == (ChunkState.FAILED, problem)
    assert shown.staging_ms is not None
    [told] = shop.heard(NotStaged)
    assert (told.chunk, told.problem) == (chunk, problem)
    assert 0 <= told.seconds < 20


def test_a_busy_moment_says_nothing_of_a_chunk(shop: Shop) -> None:
    shop.stager.fault = Busy("later")
    chunk = shop.chunk(shop.job())
    with pytest.raises(Busy):
        shop.staging().stage(chunk)
    assert shop.shown(chunk).state is ChunkState.RECEIVED


def test_neither_does_the_end_of_the_server(shop: Shop) -> None:
    shop.stager.fault, shop.stager.closed = ChunkFailed("its child is gone"), True
    chunk = shop.chunk(shop.job())
    shop.staging().stage(chunk)
    assert shop.shown(chunk).state is ChunkState.RECEIVED
    assert shop.seen == []


@pytest.mark.parametrize("fault", [None, ChunkFailed("as it was asked for")])
def test_what_was_staged_under_an_older_schema_does_not_count(shop: Shop, fault: Exception | None) -> None:
    job = shop.job()
    chunk = shop.chunk(job)
    shop.stager.fault = fault
    shop.stager.meanwhile = lambda: shop.metadata.jobs.respecify(job, replace(SPEC, columns=()), now())  # type: ignore[assignment,return-value]
    shop.staging().stage(chunk)
    assert shop.shown(chunk).state is ChunkState.RECEIVED


def test_once_more_in_the_columns_of_the_job(shop: Shop) -> None:
    job = shop.job()
    chunk = shop.staged(job)
    other = Column("Id", STRING)
    shop.metadata.chunks.staged(chunk.id, replace(REPORT, rows=1), 1)
    assert shop.staging().again(job, chunk, [other]) == REPORT
    [task] = shop.stager.tasks
    assert (task.wanted, task.fixed) == ({"id": other}, {"id"})
    assert (task.target, task.rejects) == (shop.path(chunk), shop.rejects.path(chunk))
    assert shop.shown(chunk).report == REPORT


def test_once_more_aside_tells_nobody(shop: Shop, tmp_path: Path) -> None:
    job = shop.job()
    chunk = shop.staged(job)
    shop.metadata.chunks.staged(chunk.id, replace(REPORT, rows=1), 1)
    assert shop.staging().again(job, chunk, [Column("Id", STRING)], aside=tmp_path) == REPORT
    [task] = shop.stager.tasks
    assert (task.target, task.rejects) == (
        tmp_path / f"{chunk.id}.parquet",
        tmp_path / f"{chunk.number}.ndjson",
    )
    assert shop.shown(chunk).report == replace(REPORT, rows=1)


def test_chunks_are_staged_behind_their_receipt(shop: Shop, start: Callable[..., Worker]) -> None:
    worker = start()
    chunk = shop.chunk(shop.job())
    worker.stage(chunk)
    assert worker.await_staged(chunk.job_id, 20)
    assert shop.shown(chunk).state is ChunkState.STAGED
    wait_for(lambda: shop.told == ["p"])


def test_a_chunk_is_never_staged_twice_at_a_time(shop: Shop, start: Callable[..., Worker]) -> None:
    job, begun, go_on = shop.job(), threading.Event(), threading.Event()
    chunk = shop.chunk(job)

    def meanwhile() -> None:
        begun.set()
        assert go_on.wait(20)

    shop.stager.meanwhile = meanwhile
    worker = start(stagers=4)
    worker.stage(chunk)
    assert begun.wait(20)
    assert shop.metadata.jobs.respecify(job, replace(SPEC, columns=()), now())
    worker.stage(chunk)
    worker.stage(chunk)
    assert len(shop.stager.tasks) == 1
    go_on.set()
    assert worker.await_staged(job.id, 20)
    assert len(shop.stager.tasks) == 2
    assert shop.shown(chunk).state is ChunkState.STAGED


def test_a_chunk_that_another_process_stages_is_left_to_it(shop: Shop, start: Callable[..., Worker]) -> None:
    chunk, other = shop.chunk(shop.job()), shop.chunk(shop.job())
    held = shop.locks.take("chunk", chunk.id)
    assert held
    worker = start()
    wait_for(lambda: shop.shown(other).state is ChunkState.STAGED)
    assert shop.shown(chunk).state is ChunkState.RECEIVED
    held.release()
    worker.stage_waiting()
    assert worker.await_staged(chunk.job_id, 20)
    assert shop.locks.take("chunk", chunk.id, seconds=20), "it was given back"


def test_a_stumble_while_staging_is_tried_again(shop: Shop, start: Callable[..., Worker]) -> None:
    worker = start()
    shop.stager.fault = Busy("later")
    chunk = shop.chunk(shop.job())
    worker.stage(chunk)
    wait_for(lambda: shop.told == ["p"])
    shop.stager.fault = None
    worker.stage_waiting()
    assert worker.await_staged(chunk.job_id, 20)


def test_chunks_that_nobody_stages_are_found_again(shop: Shop, start: Callable[..., Worker]) -> None:
    start(lease_seconds=1)
    chunk = shop.chunk(shop.job())
    wait_for(lambda: shop.shown(chunk).state is ChunkState.STAGED)
    assert shop.undos.recovered > 1


# -- loading -------------------------------------------------------------------------------------------


def test_a_queued_job_is_loaded(shop: Shop, start: Callable[..., Worker]) -> None:
    worker = start()
    job = shop.queued()
    worker.wake()
    assert worker.await_ended(job, 20).status is JobStatus.DONE
    wait_for(lambda: shop.done == ["p"] and shop.told == ["p", "p"])
    [loaded] = shop.loader.loaded
    assert (loaded.id, loaded.fence) == (job.id, 1)
    assert worker.held == 0


def test_a_job_behind_another_of_its_table_follows_at_once(shop: Shop, start: Callable[..., Worker]) -> None:
    jobs = [shop.queued() for _ in range(3)]
    worker = start(loaders=2)
    for job in jobs:
        assert worker.await_ended(job, 20).status is JobStatus.DONE
    assert [loaded.id for loaded in shop.loader.loaded] == [job.id for job in jobs]


def test_while_it_is_loaded_its_lease_is_kept(shop: Shop, start: Callable[..., Worker]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def meanwhile() -> None:
        begun.set()
        assert go_on.wait(20)

    shop.loader.meanwhile = meanwhile
    job = shop.queued()
    worker = start(lease_seconds=1)
    assert begun.wait(20)
    assert worker.held == 1
    first = shop.of(job).last_ping
    assert first
    wait_for(lambda: (shop.of(job).last_ping or first) > first + timedelta(seconds=1))
    assert shop.metadata.jobs.claim("another", now(), LEASE) is None
    go_on.set()
    assert worker.await_ended(job, 20).status is JobStatus.DONE
    assert [loaded.fence for loaded in shop.loader.loaded] == [1]


def test_who_was_overtaken_says_so_and_lets_go(shop: Shop, start: Callable[..., Worker]) -> None:
    shop.loader.fault = TakenOver()
    job = shop.queued()
    worker = start()
    [lost] = wait_for(lambda: shop.heard(LeaseLost))
    assert lost.job.id == job.id
    wait_for(lambda: worker.held == 0)
    assert shop.of(job).status is JobStatus.RUNNING
    assert (shop.done, shop.loader.given_up) == ([], [])


def test_a_busy_lake_is_asked_again(shop: Shop, start: Callable[..., Worker]) -> None:
    shop.loader.fault = Busy("later")

    def better() -> None:
        if len(shop.loader.loaded) == 3:
            shop.loader.fault = None

    shop.loader.meanwhile = better
    job = shop.queued()
    worker = start()
    assert worker.await_ended(job, 20).status is JobStatus.DONE
    assert [loaded.fence for loaded in shop.loader.loaded] == [1, 2, 3]
    assert [postponed.job.id for postponed in shop.heard(Postponed)] == [job.id] * 2
    wait_for(lambda: shop.done == ["p"])


def test_what_nobody_foresaw_ends_the_job_with_a_reference(
    shop: Shop, start: Callable[..., Worker], capfd: pytest.CaptureFixture[str]
) -> None:
    shop.loader.fault = ValueError("nobody foresaw it")
    job = shop.queued()
    worker = start()
    assert worker.await_ended(job, 20).status is JobStatus.ERROR
    [(of, line, code)] = shop.loader.given_up
    assert (of, code) == (job.id, None)
    said = "An error of the server; its log has the details under the reference "
    assert line.startswith(said)
    reference = line.removeprefix(said).removesuffix(".")
    assert reference in "".join(capfd.readouterr())
    assert shop.done == []


def test_a_full_disk_is_told_as_one(shop: Shop, start: Callable[..., Worker]) -> None:
    shop.loader.fault = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    job = shop.queued()
    worker = start()
    assert worker.await_ended(job, 20).status is JobStatus.ERROR
    assert shop.loader.given_up == [(job.id, DiskFull().message, DiskFull.code)]


def test_a_stumble_after_the_commit_is_no_error(shop: Shop, start: Callable[..., Worker]) -> None:
    shop.loader.fault, shop.loader.committed = ValueError("after the commit"), True
    job = shop.queued()
    worker = start()
    wait_for(lambda: shop.loader.loaded and worker.held == 0)
    assert shop.of(job).status is JobStatus.RUNNING
    assert shop.loader.given_up == []


def test_a_worker_that_stumbles_goes_on(
    shop: Shop, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = shop.metadata.jobs.claim, threading.Event()

    def claim(*args: Any) -> Job | None:
        if not failed.is_set():
            failed.set()
            raise OSError("the database is away")
        return real(*args)

    monkeypatch.setattr(shop.metadata.jobs, "claim", claim)
    worker = start()
    assert failed.wait(20)
    job = shop.queued()
    worker.wake()
    assert worker.await_ended(job, 20).status is JobStatus.DONE
    assert worker.alive


def test_a_heartbeat_that_fails_is_followed_by_another(
    shop: Shop, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, failed = threading.Event(), threading.Event(), threading.Event()

    def meanwhile() -> None:
        begun.set()
        assert go_on.wait(20)

    def recover() -> None:
        failed.set()
        raise OSError("the database is away")

    shop.loader.meanwhile = meanwhile
    job = shop.queued()
    worker = start(lease_seconds=1)
    assert begun.wait(20)
    monkeypatch.setattr(shop.undos, "recover", recover)
    first = shop.of(job).last_ping
    assert first
    assert failed.wait(20)
    wait_for(lambda: (shop.of(job).last_ping or first) > first)
    go_on.set()
    assert worker.await_ended(job, 20).status is JobStatus.DONE


# -- waiting -------------------------------------------------------------------------------------------


def test_waiting_has_an_end(shop: Shop, start: Callable[..., Worker]) -> None:
    worker = start()
    job = shop.job()
    chunk = shop.chunk(job)
    assert not worker.await_staged(job.id, 0.01)
    assert worker.await_ended(job, 0.01).status is JobStatus.NEW
    assert shop.shown(chunk).state is ChunkState.RECEIVED


def test_who_waits_is_let_go_at_the_end(shop: Shop) -> None:
    worker = shop.worker()
    worker.start()
    job, waited = shop.job(), []
    waiting = threading.Thread(target=lambda: waited.append(worker.await_ended(job, 60)))
    begun = time.monotonic()
    waiting.start()
    assert worker.stop(20)
    waiting.join(30)
    assert [one.id for one in waited] == [job.id]
    assert time.monotonic() - begun < 60
    assert not worker.alive


def test_a_load_that_goes_on_too_long_is_left(shop: Shop) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def meanwhile() -> None:
        begun.set()
        assert go_on.wait(30)

    shop.loader.meanwhile = meanwhile
    shop.queued()
    worker = shop.worker()
    worker.start()
    assert begun.wait(20)
    assert not worker.stop(0.01)
    go_on.set()
    wait_for(lambda: not worker.alive and worker.held == 0)


def test_nothing_new_is_begun_at_the_end(shop: Shop) -> None:
    worker = shop.worker()
    worker.start()
    assert worker.stop(20)
    worker.stage(shop.chunk(shop.job()))
    worker.await_stagers()
    shop.queued()
    worker.wake()
    assert shop.stager.tasks == []
    assert shop.loader.loaded == []


@pytest.mark.parametrize("hands", [{"stagers": 0}, {"loaders": 0}, {"stagers": 0, "loaders": 0}])
def test_without_hands_it_leaves_all_to_others(
    shop: Shop, start: Callable[..., Worker], hands: dict[str, int]
) -> None:
    job = shop.running()
    chunk = shop.chunk(shop.job())
    worker = start(**hands)
    worker.stage(chunk)
    worker.stage_waiting()
    assert worker.alive
    assert shop.of(job).status is JobStatus.RUNNING
    assert (shop.stager.tasks, shop.undos.recovered) == ([], 0)


# -- recovery ------------------------------------------------------------------------------------------


def test_what_a_crash_interrupted_goes_on(shop: Shop, start: Callable[..., Worker]) -> None:
    running, waiting = shop.running(), shop.chunk(shop.job())
    worker = start()
    assert worker.await_staged(waiting.job_id, 20)
    assert worker.await_ended(running, 20).status is JobStatus.DONE
    assert [loaded.fence for loaded in shop.loader.loaded] == [2]
    assert shop.heard(Recovered) == [Recovered(1, 1)]
    assert shop.undos.recovered == 1


@pytest.mark.parametrize("left", ["a job", "a chunk"])
def test_either_alone_is_told(shop: Shop, start: Callable[..., Worker], left: str) -> None:
    if left == "a job":
        shop.running()
    else:
        shop.chunk(shop.job())
    start()
    assert shop.heard(Recovered) == [Recovered(left == "a job", left == "a chunk")]


def test_after_a_good_end_there_is_nothing_to_tell(shop: Shop, start: Callable[..., Worker]) -> None:
    shop.ended()
    start()
    assert shop.heard(Recovered) == []


def test_beside_others_a_job_waits_for_the_end_of_its_lease(shop: Shop, start: Callable[..., Worker]) -> None:
    running, lost = shop.running(), shop.running(replace(SPEC, target_name="u"), -LEASE)
    worker = start(shared=True)
    assert worker.await_ended(lost, 20).status is JobStatus.DONE
    assert shop.of(running).status is JobStatus.RUNNING
    assert shop.heard(Recovered) == []


def test_files_that_no_job_needs_are_dropped(shop: Shop, start: Callable[..., Worker]) -> None:
    new = shop.job()
    kept = shop.staged(new)
    stray = shop.chunks.path(new.id, "never-recorded")
    part = shop.chunks.path(new.id, "unfinished.part")
    for path in (stray, part):
        path.touch()
    (done, of_done), (failed, of_failed) = shop.ended(), shop.ended(JobStatus.ERROR)
    retryable, of_retryable = shop.ended(JobStatus.ERROR, kept=LEASE)
    nobody = shop.chunks.path("nobody", "x")
    nobody.parent.mkdir()
    nobody.touch()
    start()
    assert shop.files(new) == [kept.id]
    assert shop.files(done) == shop.files(failed) == []
    assert shop.files(retryable) == [of_retryable.id]
    assert not nobody.parent.exists()
    assert shop.path(kept).exists()
    assert not shop.path(of_done).exists()
    assert not shop.path(of_failed).exists()
    assert not shop.path(of_retryable).exists(), "its raw bytes are enough"


@pytest.mark.parametrize(("shared", "older_s"), [(False, 0), (True, SETTLED_S)])
def test_what_others_may_be_at_is_a_stray_only_when_it_is_old(
    shop: Shop, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch, shared: bool, older_s: float
) -> None:
    job, asked = shop.job(), []
    kept = shop.staged(job)

    def sweep(job_id: str, known: list[str], *, older_s: float) -> None:
        asked.append((job_id, known, older_s))

    monkeypatch.setattr(shop.chunks, "sweep", sweep)
    start(shared=shared)
    assert asked == [(job.id, [kept.id], older_s)]


def test_a_folder_that_cannot_be_swept_keeps_nobody_from_starting(
    shop: Shop, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shop.job(), shop.job()
    for job in (first, second):
        shop.staged(job)
        shop.chunks.path(job.id, "stray").touch()
    real = shop.chunks.sweep

    def sweep(job_id: str, *args: Any, **more: Any) -> None:
        if job_id == first.id:
            raise OSError(errno.EIO, "a bad block")
        real(job_id, *args, **more)

    monkeypatch.setattr(shop.chunks, "sweep", sweep)
    assert start().alive
    assert "stray" in shop.files(first)
    assert "stray" not in shop.files(second)


def test_rejects_of_version_0_1_are_taken_over(shop: Shop, start: Callable[..., Worker]) -> None:
    chunk = shop.staged(shop.job())
    old = shop.chunks.path(chunk.job_id, f"{chunk.id}.rejects.ndjson")
    old.write_text("{}")
    start()
    assert not old.exists()
    assert shop.rejects.path(chunk).read_text() == "{}"


def test_chunks_kept_for_a_retry_go_when_their_time_is_over(shop: Shop, start: Callable[..., Worker]) -> None:
    short, _ = shop.ended(JobStatus.ERROR, kept=timedelta(milliseconds=1))
    long, chunk = shop.ended(JobStatus.ERROR, kept=LEASE)
    shop.chunks.path("nobody-yet", "x").parent.mkdir()
    worker = start(lease_seconds=1, shared=True)
    wait_for(lambda: shop.files(short) == [])
    assert shop.files(long) == [chunk.id]
    assert worker.alive


def test_of_a_deleted_job_nothing_stays(shop: Shop) -> None:
    job, other = shop.job(), shop.job()
    chunk, of_other = shop.staged(job), shop.staged(other)
    for one in (chunk, of_other):
        shop.rejects.path(one).parent.mkdir(parents=True)
        shop.rejects.path(one).touch()
    shop.worker().forget(job)
    assert shop.files(job) == []
    assert not shop.path(chunk).exists()
    assert not shop.rejects.path(chunk).exists()
    assert shop.files(other) == [of_other.id]
    assert shop.path(of_other).exists()
    assert shop.rejects.path(of_other).exists()
