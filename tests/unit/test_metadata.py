"""What the server knows beside the tables, in a real database: its schema, its states, its races."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from headrace.errors import Conflict, JobLocked, Overloaded
from headrace.metadata import Metadata, schema
from headrace.metadata.audit import AuditFilter
from headrace.metadata.codec import dump_report, dump_spec, read_report, read_spec
from headrace.metadata.dialects import clock
from headrace.model import (
    STRING,
    AuditEntry,
    Chunk,
    ChunkState,
    ChunkType,
    Column,
    Connection,
    Counts,
    Cut,
    FileType,
    Job,
    JobStatus,
    Key,
    KeyKind,
    Permission,
    Pool,
    PushSpec,
    Reject,
    SigningKey,
    StageReport,
    decimal,
    now,
)

START = datetime(2024, 2, 29, 12, 0, 0, 123456, UTC)
LEASE = timedelta(seconds=60)
THREADS = 8


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Books(Metadata):
    """The metadata, and short ways to fill it."""

    def __init__(self, where: Path | str) -> None:
        super().__init__(where)
        self._numbers = count(1)

    def new(self, table: str = "t", pool: str = "p", **spec: Any) -> str:
        number = next(self._numbers)
        job = Job(f"job-{number:03}", pool, PushSpec(table, **spec), JobStatus.NEW, later(number), START)
        self.jobs.add(job)
        return job.id

    def queued(self, table: str = "t", pool: str = "p", **spec: Any) -> str:
        job_id = self.new(table, pool, **spec)
        assert self.jobs.queue(job_id, None, START)
        return job_id

    def chunk(self, job_id: str) -> Chunk:
        number = next(self._numbers)
        details = (ChunkType.UPSERT, 10, "sha", FileType.CSV, later(number))
        return self.chunks.add(Chunk(f"chunk-{number:03}", job_id, "p", 0, *details))

    def job(self, job_id: str, pool: str = "p") -> Job:
        found = self.jobs.get(pool, job_id)
        assert found
        return found

    def claim(self, at: datetime = START) -> Job | None:
        return self.jobs.claim("worker", at, LEASE)

    def claimed(self, at: datetime = START) -> str | None:
        job = self.claim(at)
        return job.id if job else None

    def finish(self, job: Job, status: JobStatus = JobStatus.DONE) -> bool:
        end = {"counts": Counts(1, 1), "logs": ["done"], "phases_ms": {"commit": 1}}
        return self.jobs.finish(job, status, at=later(9), **end)


@pytest.fixture
def books(database: Path | str) -> Iterator[Books]:
    opened = Books(database)
    yield opened
    opened.close()


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """What eight threads get that begin together; an error instead of a result where there was one."""
    barrier = Barrier(THREADS)

    def run(number: int) -> Any:
        barrier.wait()
        try:
            return work(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(run, range(THREADS)))


# -- the schema ----------------------------------------------------------------------------------------


def migrate(books: Metadata, how: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "headrace:metadata/migrations")
    with books.engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        how(config, revision)


def test_the_migrations_make_the_schema_of_the_code(books: Books) -> None:
    with books.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_down_and_up_again(books: Books) -> None:
    migrate(books, command.downgrade, "base")
    assert inspect(books.engine).get_table_names() == ["alembic_version"]
    migrate(books, command.upgrade, "head")
    with books.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    books.chunk(books.new())


REVISIONS = ["0001", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010"]


def test_no_revision_is_left_out() -> None:
    scripts = ScriptDirectory("src/headrace/metadata/migrations")
    assert [script.revision for script in scripts.walk_revisions()] == REVISIONS[::-1]


@pytest.mark.parametrize("revision", REVISIONS)
def test_up_from_every_revision(books: Books, revision: str) -> None:
    migrate(books, command.downgrade, revision)
    migrate(books, command.upgrade, "head")
    with books.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    books.chunk(books.new())


def test_several_servers_that_start_at_once_migrate_once(database: Path | str) -> None:
    opened = at_once(lambda _: Metadata(database))
    assert all(isinstance(found, Metadata) for found in opened), opened
    assert len({found.signing.installation_id() for found in opened}) == 1
    for found in opened:
        found.close()


def test_what_was_written_is_there_when_it_is_opened_again(database: Path | str) -> None:
    first = Books(database)
    chunk = first.chunk(first.new())
    first.close()
    second = Metadata(database)
    assert list(second.chunks.list(chunk.job_id)) == [chunk]
    assert second.ping()
    second.close()


DURABLE = {
    "sqlite": {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2, "PRAGMA foreign_keys": 1},
    "postgresql": {"SHOW synchronous_commit": "on"},
}


def test_a_commit_survives_a_power_loss(books: Books) -> None:
    settings = DURABLE[books.engine.dialect.name]
    with books.engine.connect() as connection:
        assert {asked: connection.exec_driver_sql(asked).scalar() for asked in settings} == settings


def test_moments_keep_their_zone_and_microseconds(books: Books) -> None:
    tokyo = START.astimezone(timezone(timedelta(hours=9)))
    books.pools.add(Pool("p", "pool", tokyo))
    found = books.pools.get("p")
    assert found and found.created_at == START and found.created_at.tzinfo is UTC


# -- words as JSON -------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.builds(PushSpec, max_rejected_share=st.none() | st.floats(0, 1)))
def test_a_spec_survives_the_database(spec: PushSpec) -> None:
    assert read_spec(json.loads(json.dumps(dump_spec(spec)))) == spec


@settings(max_examples=100, deadline=None)
@given(st.from_type(StageReport))
def test_a_report_survives_the_database(report: StageReport) -> None:
    assert read_report(json.loads(json.dumps(dump_report(report)))) == report


def test_a_job_survives_the_database(books: Books) -> None:
    spec = PushSpec("t", keys=("a",), mirror_names=("m",))
    job = Job("j", "p", spec, JobStatus.NEW, START, START, created_by="key", logs=("a line",))
    books.jobs.add(job)
    assert books.job("j") == job
    assert books.jobs.get("another pool", "j") is None


# -- states --------------------------------------------------------------------------------------------


def test_the_way_of_a_job(books: Books) -> None:
    job_id = books.new()
    assert books.jobs.queue(job_id, "changed_at", later(1))
    queued = books.job(job_id)
    assert (queued.status, queued.order_column, queued.queued_at) == ("QUEUED", "changed_at", later(1))
    running = books.claim(later(2))
    assert running and running == books.job(job_id)
    assert (running.status, running.fence, running.started_at, running.last_ping) == (
        "RUNNING",
        1,
        later(2),
        later(2),
    )
    assert books.jobs.check_mine(job_id, 1)
    assert books.finish(running)
    done = books.job(job_id)
    assert (done.status, done.finished_at, done.counts, done.logs) == (
        "DONE",
        later(9),
        Counts(1, 1),
        ("done",),
    )
    assert not books.jobs.check_mine(job_id, 1)
    assert books.claim() is None


def test_a_job_is_queued_once(books: Books) -> None:
    job_id = books.new()
    assert sorted(map(str, at_once(lambda n: books.jobs.queue(job_id, str(n), START)))) == [
        *["False"] * 7,
        "True",
    ]
    for status in (JobStatus.DONE, JobStatus.ERROR):
        job = books.claim()
        assert job and not books.jobs.queue(job.id, None, START)
        assert books.finish(job, status)
        assert not books.jobs.queue(job.id, None, START)
        books.queued()
    assert not books.jobs.queue("no such job", None, START)


def test_a_job_is_claimed_once(books: Books) -> None:
    ids = {books.queued(f"t{n}") for n in range(5)}
    claimed = at_once(lambda _: books.claimed())
    assert {c for c in claimed if c} == ids
    assert claimed.count(None) == 3


def test_jobs_on_one_table_run_one_after_the_other_in_their_order(books: Books) -> None:
    created = [books.new() for _ in range(3)]
    order = [created[2], created[0], created[1]]
    for job_id in order:
        assert books.jobs.queue(job_id, None, START)
    for expected in order:
        job = books.claim()
        assert job and job.id == expected
        assert books.claim() is None
        assert books.finish(job)


def test_jobs_that_are_queued_at_once_have_an_order(books: Books) -> None:
    ids = [books.new() for _ in range(THREADS)]
    assert at_once(lambda n: books.jobs.queue(ids[n], None, START)) == [True] * THREADS
    ran = []
    while job := books.claim():
        ran.append(job.id)
        assert books.finish(job)
    assert sorted(ran) == ids


SAME: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"table": "t"}, {"table": "T"}, True),
    ({"table": "straße"}, {"table": "STRASSE"}, True),
    ({"table": "t"}, {"table": "u"}, False),
    ({"table": "t"}, {"table": "t", "pool": "q"}, False),
    ({"table": "t", "connection_id": "c"}, {"table": "t"}, False),
    ({"table": "t", "connection_id": "c"}, {"table": "T", "connection_id": "c"}, True),
    ({"table": "t", "mirror_names": ("m",)}, {"table": "M"}, True),
    ({"table": "t"}, {"table": "u", "mirror_names": ("v", "T")}, True),
    ({"table": "t", "mirror_names": ("m",)}, {"table": "u", "mirror_names": ("M",)}, True),
]


@pytest.mark.parametrize(("first", "second", "waits"), SAME)
def test_a_job_waits_for_an_older_one_that_names_its_table(
    books: Books, first: dict[str, Any], second: dict[str, Any], waits: bool
) -> None:
    ids = [books.queued(**first), books.queued(**second)]
    assert [books.claimed(), books.claimed()] == [ids[0], None if waits else ids[1]]


def test_a_job_waits_for_one_that_waits(books: Books) -> None:
    first = books.queued("a")
    books.queued("b", mirror_names=("a",))
    books.queued("b")
    other = books.queued("c")
    assert [books.claimed() for _ in range(3)] == [first, other, None]


def test_a_chunk_that_is_not_staged_holds_its_job_and_the_younger_ones(books: Books) -> None:
    first = books.new()
    chunks = [books.chunk(first), books.chunk(first)]
    books.jobs.queue(first, None, START)
    second, other = books.queued(), books.queued("other")
    assert [books.claimed(), books.claimed()] == [other, None]
    books.chunks.failed(chunks[0].id, "a reason", 1)
    assert books.claimed() is None
    books.chunks.staged(chunks[1].id, StageReport(1, 0, ()), 1)
    job = books.claim()
    assert job and job.id == first and books.finish(job)
    assert books.claimed() == second


# -- leases --------------------------------------------------------------------------------------------


def test_a_job_whose_lease_is_over_is_claimed_again(books: Books) -> None:
    books.queued()
    books.queued()  # waits for the older one, however that ends
    old = books.claim()
    assert old and books.claim(later(60)) is None
    new = books.claim(later(61))
    assert new and (new.id, new.fence, new.started_at) == (old.id, 2, START)
    assert (books.jobs.check_mine(old.id, 1), books.jobs.check_mine(old.id, 2)) == (False, True)


def test_leases_run_by_the_clock_of_the_database(books: Books) -> None:
    with books.engine.connect() as db:
        before, between, after = clock(db), books.now(), clock(db)
    assert before <= between <= after
    assert between.tzinfo and between.utcoffset() == timedelta(0)


def test_a_sign_of_life_lengthens_the_lease(books: Books) -> None:
    books.queued()
    job = books.claim()
    assert job
    books.jobs.heartbeat([(job.id, job.fence), ("no such job", 1)], later(50), LEASE)
    assert books.job(job.id).last_ping == later(50)
    assert books.claim(later(109)) is None
    assert books.claim(later(111))


def test_who_lost_a_job_can_no_longer_write(books: Books) -> None:
    job_id = books.queued()
    old, new = books.claim(), books.claim(later(61))
    assert old and new
    books.jobs.heartbeat([(job_id, old.fence)], later(200), LEASE)
    assert not books.finish(old, JobStatus.ERROR)
    assert books.job(job_id) == new
    assert books.finish(new)
    assert not books.finish(new)


def test_after_a_crash_every_running_job_is_queued_again_in_its_place(books: Books) -> None:
    first, second = books.queued(), books.queued()
    running = books.claim()
    done = books.queued("other")
    assert running and books.claimed() == done
    assert books.jobs.requeue_all() == 2
    assert not books.finish(running)
    assert books.jobs.requeue_all() == 0
    again = books.claim()
    assert again and (again.id, again.fence) == (first, 2)
    assert books.job(second).status is JobStatus.QUEUED


# -- chunks --------------------------------------------------------------------------------------------


def test_chunks_are_numbered_without_gaps_under_eight_threads(books: Books) -> None:
    jobs = [books.new(), books.new("u")]
    added = at_once(lambda _: [books.chunk(job) for _ in range(5) for job in jobs])
    assert all(isinstance(found, list) for found in added)
    for job in jobs:
        chunks = books.chunks.list(job)
        assert [c.number for c in chunks] == list(range(1, 5 * THREADS + 1))
        assert {(c.id, c.number) for c in chunks} == {
            (c.id, c.number) for found in added for c in found if c.job_id == job
        }


def test_a_chunk_counts_or_is_refused_when_its_job_is_queued_meanwhile(books: Books) -> None:
    for _ in range(5):
        job_id = books.new()

        def work(number: int, job_id: str = job_id) -> Any:
            if number:
                return [books.chunk(job_id) for _ in range(3)]
            assert books.jobs.queue(job_id, None, START)
            return books.chunks.list(job_id)

        at_the_end, *added = at_once(work)
        assert list(books.chunks.list(job_id)) == list(at_the_end)
        assert all(isinstance(found, list | JobLocked) for found in added)


def test_only_a_new_job_takes_chunks(books: Books) -> None:
    job_id = books.queued()
    with pytest.raises(JobLocked):
        books.chunk(job_id)
    running = books.claim()
    with pytest.raises(JobLocked):
        books.chunk(job_id)
    assert running and books.finish(running)
    gone = books.new()
    books.jobs.delete("p", gone, START)
    for closed in (job_id, gone, "no such job"):
        with pytest.raises(JobLocked):
            books.chunk(closed)
        assert list(books.chunks.list(closed)) == []


def test_states_of_a_chunk(books: Books) -> None:
    chunk, other = books.chunk(books.new()), books.chunk(books.new("u"))
    assert list(books.chunks.unstaged()) == [chunk, other]
    report = StageReport(
        5,
        1,
        (Column("a", decimal(18, 2)), Column("b", STRING, 80)),
        (Cut("b", 80, 2, 100),),
        (Reject(2, "a", "x", "DECIMAL(18,2)", "value-does-not-fit"),),
        ("a note",),
    )
    books.chunks.staged(chunk.id, report, 7)
    books.chunks.failed(other.id, "damaged", 8)
    assert list(books.chunks.unstaged()) == []
    staged = replace(chunk, state=ChunkState.STAGED, report=report, staging_ms=7)
    assert list(books.chunks.list(chunk.job_id)) == [staged]
    failed = replace(other, state=ChunkState.FAILED, problem="damaged", staging_ms=8)
    assert list(books.chunks.list(other.job_id)) == [failed]


def test_a_chunk_is_staged_for_the_first_time_once(books: Books) -> None:
    """A second one would take what a load is at work with from under it."""
    chunk = books.chunk(books.new())
    spec, report = books.job(chunk.job_id).spec, StageReport(1, 0, ())
    assert books.chunks.waits(chunk.id)
    done = at_once(lambda n: books.chunks.staged(chunk.id, report, n, under=spec))
    assert sorted(done) == [*[False] * 7, True]
    assert not books.chunks.waits(chunk.id)
    assert not books.chunks.failed(chunk.id, "too late", 1, under=spec)
    assert books.chunks.list(chunk.job_id)[0].state is ChunkState.STAGED
    assert books.chunks.staged(chunk.id, report, 9), "again, in the types that its job agreed on"


def test_no_chunk_waits_of_a_job_that_will_not_run(books: Books) -> None:
    chunk = books.chunk(books.new())
    books.jobs.delete("p", chunk.job_id, START)
    assert not books.chunks.waits(chunk.id)


def test_chunks_of_jobs_that_will_not_run_need_no_staging(books: Books) -> None:
    deleted, dropped, done, waits = (books.chunk(books.new(f"t{n}")) for n in range(4))
    books.jobs.delete("p", deleted.job_id, START)
    books.jobs.queue(dropped.job_id, None, START)
    books.jobs.delete("p", dropped.job_id, START)
    books.jobs.queue(waits.job_id, None, START)
    books.jobs.queue(done.job_id, None, START)
    books.chunks.staged(done.id, StageReport(1, 0, ()), 1)
    job = books.claim()
    assert job and job.id == done.job_id and books.finish(job)
    assert list(books.chunks.unstaged()) == [waits]
    ids = [c.job_id for c in (deleted, dropped, done, waits)]
    assert books.jobs.unfinished(ids) == {waits.job_id}
    assert books.jobs.unfinished([]) == set()


# -- rejects that are sent again -----------------------------------------------------------------------


def replay_of(books: Books, of: Job, name: str, most: int | None = None) -> bool:
    job = Job(name, "p", PushSpec("t"), JobStatus.QUEUED, START, START, queued_at=START)
    sent = Chunk(f"{name}-1", name, "p", 1, ChunkType.UPSERT, 10, "sha", FileType.CSV, START)
    return books.jobs.add_replay(of, job, [sent], most=most)


def done(books: Books) -> Job:
    books.queued()
    job = books.claim()
    assert job and books.finish(job)
    return books.job(job.id)


def test_rejects_are_replayed_once_however_many_try(books: Books) -> None:
    of = done(books)
    assert sorted(map(str, at_once(lambda n: replay_of(books, of, f"r{n}")))) == [*["False"] * 7, "True"]
    holder = books.job(of.id).replayed_by
    assert holder
    assert {j.id for j in books.jobs.list("p")} == {of.id, holder}
    assert [c.job_id for c in books.chunks.unstaged()] == [holder]
    books.chunks.staged(f"{holder}-1", StageReport(1, 0, ()), 1)
    assert books.claimed() == holder


def test_rejects_are_free_again_when_their_job_ended_in_error(books: Books) -> None:
    of = done(books)
    assert replay_of(books, of, "first") and not replay_of(books, of, "second")
    books.chunks.staged("first-1", StageReport(1, 0, ()), 1)
    job = books.claim()
    assert job and not replay_of(books, of, "second")
    assert books.finish(job, JobStatus.ERROR)
    assert replay_of(books, of, "second")
    books.jobs.delete("p", "second", START)  # while it waits: it ends in ERROR
    assert replay_of(books, of, "third")
    assert books.job(of.id).replayed_by == "third"


def test_a_replay_keeps_to_the_length_of_the_queue(books: Books) -> None:
    of = done(books)
    books.queued()
    with pytest.raises(Overloaded):
        replay_of(books, of, "r", most=1)
    assert books.job(of.id).replayed_by is None and books.jobs.get("p", "r") is None
    assert replay_of(books, of, "r", most=2)


def test_rejects_of_a_job_that_was_deleted_are_not_replayed(books: Books) -> None:
    of = done(books)
    books.jobs.delete("p", of.id, START)
    assert not replay_of(books, of, "r")
    assert books.jobs.get("p", "r") is None


# -- jobs that a client deletes ------------------------------------------------------------------------


def test_a_deleted_job_stays_in_the_ledger_only(books: Books) -> None:
    kept, gone = books.new(), books.new()
    assert books.jobs.delete("another pool", gone, START) is None
    assert books.jobs.delete("p", gone, later(5)) is JobStatus.NEW
    assert books.jobs.delete("p", gone, later(6)) is None
    assert [j.id for j in books.jobs.list("p")] == [kept]
    assert [j.id for j in books.jobs.ledger("p", limit=10, offset=0)] == [gone, kept]
    assert [j.id for j in books.jobs.ledger("p", limit=1, offset=1)] == [kept]
    assert books.job(gone).deleted_at == later(5)
    assert not books.jobs.queue(gone, None, START)


def test_a_queued_job_that_is_deleted_never_runs(books: Books) -> None:
    first, second = books.queued(), books.queued()
    assert books.jobs.delete("p", first, later(5)) is JobStatus.QUEUED
    gone = books.job(first)
    assert (gone.status, gone.error_code, gone.finished_at) == ("ERROR", "deleted", later(5))
    assert gone.logs == ("The job was deleted before it ran.",)
    assert books.claimed() == second


def test_a_running_job_that_is_deleted_runs_to_its_end(books: Books) -> None:
    books.queued()
    job = books.claim()
    assert job and books.jobs.delete("p", job.id, START) is JobStatus.RUNNING
    assert books.jobs.check_mine(job.id, job.fence)
    assert books.finish(job)
    assert books.job(job.id).status is JobStatus.DONE


def test_counts_by_status(books: Books) -> None:
    books.new()
    books.queued()
    books.queued()
    assert books.jobs.counts_by_status() == {"NEW": 1, "QUEUED": 2}


# -- pools ---------------------------------------------------------------------------------------------


def test_pools(books: Books) -> None:
    pools = [Pool(f"p{n}", "a name", later(n), {"tags": [{"name": "é"}], "n": n}) for n in range(3)]
    for pool in pools:
        books.pools.add(pool)
    assert list(books.pools.list()) == pools
    assert list(books.pools.list(offset=1, limit=1)) == [pools[1]]
    assert books.pools.count() == 3
    changed = replace(pools[0], name="another", attributes={})
    assert books.pools.update(changed) and books.pools.get("p0") == changed
    assert not books.pools.update(replace(changed, id="no such pool"))
    with pytest.raises(Conflict, match="p1"):
        books.pools.add(pools[1])


def test_a_pool_goes_with_its_connections_and_its_jobs(books: Books) -> None:
    books.pools.add(Pool("p", "pool", START))
    connection = Connection("c", "p", "a connection", START, {"type": "SAP"})
    books.pools.add_connection(connection)
    with pytest.raises(Conflict):
        books.pools.add_connection(connection)
    assert list(books.pools.connections("p")) == [connection]
    assert books.pools.connection("q", "c") is None
    job_id = books.new()
    assert books.pools.delete("p", later(1))
    assert (books.pools.get("p"), list(books.pools.connections("p"))) == (None, [])
    assert books.job(job_id).deleted_at == later(1)
    assert not books.jobs.queue(job_id, None, START)
    assert not books.pools.delete("p", later(2))


def test_a_pool_with_work_under_way_stays(books: Books) -> None:
    books.pools.add(Pool("p", "pool", START))
    books.queued()
    books.queued("t", pool="another")
    with pytest.raises(Conflict, match="queued or running"):
        books.pools.delete("p", START)
    job = books.claim()
    with pytest.raises(Conflict, match="queued or running"):
        books.pools.delete("p", START)
    assert job and books.finish(job)
    assert books.pools.delete("p", START)


def test_a_pool_is_deleted_or_has_the_job_never_both(books: Books) -> None:
    for number in range(5):
        pool = f"p{number}"
        books.pools.add(Pool(pool, "pool", START))
        job_id = books.new(pool=pool)

        def work(thread: int, pool: str = pool, job_id: str = job_id) -> Any:
            if thread % 2:
                return books.pools.delete(pool, START)
            return books.jobs.queue(job_id, None, START)

        at_once(work)
        queued = books.job(job_id, pool).status is JobStatus.QUEUED
        assert queued == (books.pools.get(pool) is not None)


def test_a_connection_can_be_deleted_alone(books: Books) -> None:
    books.pools.add(Pool("p", "pool", START))
    books.pools.add_connection(Connection("c", "p", "a connection", START))
    assert not books.pools.delete_connection("q", "c")
    assert books.pools.delete_connection("p", "c")
    assert not books.pools.delete_connection("p", "c")


# -- keys ----------------------------------------------------------------------------------------------


def test_keys(books: Books) -> None:
    every = Key("k1", "admin", KeyKind.APPLICATION, "hr_app_", frozenset({Permission.ADMIN}), None, START)
    bound = replace(
        every,
        id="k2",
        kind=KeyKind.PERSONAL,
        permissions=frozenset({Permission.PUSH, Permission.READ}),
        pool_ids=frozenset({"p", "q"}),
        tables=frozenset({"sales_*", "t"}),
        created_at=later(1),
        expires_at=later(2),
    )
    none = replace(every, id="k3", kind=KeyKind.CLIENT, pool_ids=frozenset(), created_at=later(2))
    for number, key in enumerate((every, bound, none)):
        books.keys.add(key, f"hash {number}")
    assert list(books.keys.list()) == [every, bound, none]
    assert list(books.keys.list([KeyKind.CLIENT])) == [none]
    assert [books.keys.by_hash(f"hash {n}", START) for n in range(4)] == [every, bound, none, None]
    assert [books.keys.get(id) for id in ("k2", "k9")] == [bound, None]
    with pytest.raises(IntegrityError):
        books.keys.add(replace(every, id="k4"), "hash 0")
    assert books.keys.revoke("k1", later(3))
    assert not books.keys.revoke("k1", later(4))
    assert books.keys.by_hash("hash 0", START) == replace(every, revoked_at=later(3))


@pytest.fixture
def key(books: Books) -> Key:
    made = Key("k", "a key", KeyKind.CLIENT, "hr_cli_", frozenset({Permission.PUSH}), None, START)
    books.keys.add(made, "first")
    return made


def test_a_rotated_key_has_two_secrets_for_a_while(books: Books, key: Key) -> None:
    assert books.keys.rotate("k", "second", "new", later(10))
    rotated = replace(key, prefix="new", previous_until=later(10))
    assert [books.keys.by_hash(h, later(9)) for h in ("first", "second")] == [rotated, rotated]
    assert [books.keys.by_hash(h, later(10)) for h in ("first", "second")] == [None, rotated]
    assert set(books.keys.hashes("k", later(9))) == {"first", "second"}
    assert list(books.keys.hashes("k", later(10))) == ["second"]
    assert list(books.keys.hashes("nobody", START)) == []


def test_a_rotation_without_overlap_ends_the_generation(books: Books, key: Key) -> None:
    assert books.keys.rotate("k", "second", "new", later(10))
    assert books.keys.rotate("k", "third", "newer", None)
    ended = replace(key, prefix="newer", generation=1)
    assert [books.keys.by_hash(h, START) for h in ("first", "second", "third")] == [None, None, ended]


def test_a_key_is_disabled_and_enabled(books: Books, key: Key) -> None:
    assert books.keys.disable("k", later(1))
    assert not books.keys.disable("k", later(2))
    assert books.keys.get("k") == replace(key, disabled_at=later(1))
    assert books.keys.enable("k")
    assert not books.keys.enable("k")
    assert books.keys.get("k") == key


def test_a_revoked_key_stays_so(books: Books, key: Key) -> None:
    assert books.keys.revoke("k", later(1))
    assert not books.keys.rotate("k", "second", "new", None)
    assert not books.keys.disable("k", later(2))
    assert not books.keys.enable("k")
    assert books.keys.get("k") == replace(key, revoked_at=later(1))


def test_when_a_key_was_used(books: Books, key: Key) -> None:
    books.keys.used({"k": later(5), "nobody": later(5)})
    assert books.keys.get("k") == replace(key, last_used_at=later(5))


# -- the keys that sign --------------------------------------------------------------------------------


def test_an_installation_has_one_name(books: Books) -> None:
    assert UUID(books.signing.installation_id())
    assert books.signing.installation_id() == books.signing.installation_id()


def test_keys_that_sign(books: Books) -> None:
    leeway = timedelta(seconds=60)
    one = SigningKey("one", "pem", START, 100)
    two = SigningKey("two", "pem", later(50), 10)
    assert books.signing.signer() is None
    assert books.signing.replace(None, one, leeway=leeway)
    assert not books.signing.replace(None, two, leeway=leeway), "somebody was faster"
    assert books.signing.lengthen("one", 200)
    assert books.signing.replace(one, two, leeway=leeway)
    assert not books.signing.lengthen("one", 300), "it signs no more"
    retired = replace(one, longest_token_s=200, retired_at=later(50), verifies_until=later(310))
    assert books.signing.signer() == two
    assert list(books.signing.verifiers(later(309))) == [two, retired]
    assert list(books.signing.verifiers(later(310))) == [two]
    books.signing.forget(later(311))
    assert list(books.signing.verifiers(START)) == [two]


def test_one_of_many_makes_the_first_key_that_signs(books: Books) -> None:
    def make(number: int) -> bool:
        return books.signing.replace(None, SigningKey(str(number), "pem", START, 1), leeway=timedelta(0))

    assert sorted(at_once(make)) == [False] * (THREADS - 1) + [True]


# -- the audit -----------------------------------------------------------------------------------------

DAY = timedelta(days=1)


def entry(at: datetime, action: str = "create-key", **more: Any) -> AuditEntry:
    return AuditEntry(at, "k", "a key", "192.0.2.1", action, 200, "request", **more)


def actions(found: Sequence[AuditEntry]) -> list[str]:
    return [e.action for e in found]


def test_an_entry_survives_the_database(books: Books) -> None:
    made = entry(now(), code="forbidden", pool_id="p", job_id="j", subject="s", times=3)
    books.audit.add([made], DAY)
    assert list(books.audit.page(AuditFilter(), before=None, limit=9)) == [replace(made, number=1)]


def test_pages_of_the_audit(books: Books) -> None:
    books.audit.add([entry(now(), str(n)) for n in range(5)], DAY)
    first = books.audit.page(AuditFilter(), before=None, limit=2)
    second = books.audit.page(AuditFilter(), before=first[-1].number, limit=9)
    assert actions([*first, *second]) == ["4", "3", "2", "1", "0"]
    assert not books.audit.page(AuditFilter(), before=second[-1].number, limit=9)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (AuditFilter(), 3),
        (AuditFilter(action="push"), 1),
        (AuditFilter(pool_id="p", status=200), 2),
        (AuditFilter(job_id="j"), 1),
        (AuditFilter(subject="s"), 1),
        (AuditFilter(peer="192.0.2.1", actor_id="k"), 3),
        (AuditFilter(actor_id="another"), 0),
        (AuditFilter(since=later(1)), 2),
        (AuditFilter(until=later(1)), 1),
        (AuditFilter(since=later(1), until=later(2)), 1),
    ],
)
def test_filters_of_the_audit(books: Books, wanted: AuditFilter, count: int) -> None:
    books.audit.add(
        [
            entry(START, "push", pool_id="p", job_id="j"),
            entry(later(1), pool_id="p"),
            entry(later(2), subject="s"),
        ],
        timedelta(days=36500),
    )
    assert len(books.audit.page(wanted, before=None, limit=9)) == count


REPLACE = {
    "sqlite": "INSERT OR REPLACE INTO audit SELECT * FROM audit",
    "postgresql": "TRUNCATE audit",
}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET status = 200",
        "UPDATE audit SET kept_until = '2000-01-01'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE number = 1",
        "<replace>",
    ],
)
def test_the_database_refuses_to_change_the_audit(books: Books, statement: str) -> None:
    books.audit.add([entry(now())], DAY)
    statement = statement.replace("<replace>", REPLACE[books.engine.dialect.name])
    with pytest.raises(IntegrityError, match="append-only"), books.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert len(books.audit.page(AuditFilter(), before=None, limit=9)) == 1


def test_old_entries_are_pruned_and_young_ones_are_not(books: Books) -> None:
    books.audit.add([entry(now() - 2 * DAY, "old"), entry(now() - DAY / 2, "young")], DAY)
    assert books.audit.prune(now()) == 1
    assert actions(books.audit.page(AuditFilter(), before=None, limit=9)) == ["young"]
    with pytest.raises(IntegrityError, match="append-only"):
        books.audit.prune(now() + DAY)  # whatever our clock says
