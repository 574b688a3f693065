"""Pools take turns; within a pool it is first come, first served per table, however long the queue is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from headrace.errors import Overloaded
from headrace.metadata import Metadata
from headrace.metadata.claims import _LOOKED_AT
from headrace.model import Chunk, ChunkType, Counts, FileType, Job, JobStatus, PushSpec, StageReport

START = datetime(2024, 2, 29, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)


class Queue(Metadata):
    """The metadata with a clock of its own: each call is a second later."""

    def __init__(self, where: Path | str) -> None:
        super().__init__(where)
        self._seconds = count()

    def later(self) -> datetime:
        return START + timedelta(seconds=next(self._seconds))

    def push(self, pool: str, table: str = "t", *, staged: bool = True, most: int | None = None) -> str:
        at = self.later()
        job = Job(f"{pool}-{at.timestamp():.0f}", pool, PushSpec(table), JobStatus.NEW, at, at)
        self.jobs.add(job)
        if not staged:
            details = (ChunkType.UPSERT, 10, "sha", FileType.CSV, at)
            self.chunks.add(Chunk(f"chunk of {job.id}", job.id, pool, 0, *details))
        assert self.jobs.queue(job.id, None, at, most=most)
        return job.id

    def claim(self) -> Job | None:
        return self.jobs.claim("worker", self.later(), LEASE)

    def finish(self, job: Job) -> None:
        assert self.jobs.finish(job, JobStatus.DONE, at=self.later(), counts=Counts(), logs=[], phases_ms={})

    def run_all(self) -> str:
        """The pools in the order in which their jobs were claimed, one after the other."""
        order = ""
        while job := self.claim():
            order += job.pool_id
            self.finish(job)
        return order


@pytest.fixture
def queue(database: Path | str) -> Iterator[Queue]:
    opened = Queue(database)
    yield opened
    opened.close()


def test_pools_take_turns(queue: Queue) -> None:
    for pool in "aaaabbc":
        queue.push(pool)
    assert queue.run_all() == "abcabaa"


def test_who_comes_late_does_not_wait_behind_a_long_queue(queue: Queue) -> None:
    for _ in range(20):
        queue.push("a", "t")
    for _ in range(3):
        job = queue.claim()
        assert job
        queue.finish(job)
    late = queue.push("b")
    job = queue.claim()
    assert job and job.id == late


def test_two_workers_serve_two_pools(queue: Queue) -> None:
    for table in "tuvw":
        queue.push("a", table)
    queue.push("b")
    assert [job.pool_id for job in (queue.claim(), queue.claim(), queue.claim()) if job] == ["a", "b", "a"]


def test_a_pool_that_cannot_go_on_leaves_its_turn_to_the_next(queue: Queue) -> None:
    queue.push("a", staged=False)
    other = queue.push("b")
    job = queue.claim()
    assert job and job.id == other
    queue.chunks.staged("chunk of a-" + str(int(START.timestamp())), StageReport(1, 0, ()), 1)
    job = queue.claim()
    assert job and job.pool_id == "a"


def test_more_jobs_than_a_claim_looks_at_hide_no_other_pool(queue: Queue) -> None:
    queue.push("a", staged=False)
    for _ in range(_LOOKED_AT):
        queue.push("a")
    other = queue.push("b")
    job = queue.claim()
    assert job and job.id == other
    assert queue.claim() is None


def test_a_job_that_is_given_back_does_not_come_again_at_once(queue: Queue) -> None:
    """Its pool is held by another process, say; a third one must not wait for that."""
    for pool in "ab":
        queue.push(pool)
    held = queue.claim()
    assert held and held.pool_id == "a" and queue.jobs.release(held.id, held.fence)
    assert [job.pool_id for job in (queue.claim(), queue.claim()) if job] == ["b", "a"]


def test_the_order_of_one_table_stays(queue: Queue) -> None:
    pushed = [queue.push(pool, table) for pool, table in ("at", "bt", "at", "au", "bt", "at")]
    claimed = []
    while job := queue.claim():
        claimed.append(job.id)
        queue.finish(job)
    assert [i for i in claimed if i.startswith("a")] == [i for i in pushed if i.startswith("a")]
    assert [i for i in claimed if i.startswith("b")] == [i for i in pushed if i.startswith("b")]


def test_an_expired_lease_comes_up_again_in_its_turn(queue: Queue) -> None:
    queue.push("a")
    lost = queue.claim()
    assert lost and queue.claim() is None
    again = queue.jobs.claim("worker", START + timedelta(seconds=600), LEASE)
    assert again and (again.id, again.fence) == (lost.id, 2)


def test_a_queue_has_a_bound(queue: Queue) -> None:
    for table in "tuv":
        queue.push("a", table, most=3)
    assert queue.jobs.queued() == 3
    with pytest.raises(Overloaded) as caught:
        queue.push("b", most=3)
    assert caught.value.retry_after
    refused = queue.jobs.list("b")[0]
    assert refused.status is JobStatus.NEW
    job = queue.claim()
    assert job and queue.jobs.queue(refused.id, None, START, most=3)


OF_THE_FEW = ("jobs_by_status", "jobs_being_undone", "jobs_pkey")


def test_a_claim_walks_through_no_ended_job(queue: Queue) -> None:
    """However many jobs a pool has had: all that is asked is found by an index of the jobs that wait."""
    queue.push("a")
    asked: list[tuple[str, Any]] = []
    event.listen(
        queue.engine,
        "before_cursor_execute",
        lambda *said: asked.append((str(said[2]), said[3])),
        named=False,
    )
    assert queue.claim()
    reads = [(text, values) for text, values in asked if text.startswith("SELECT")]
    assert reads
    with queue.engine.connect() as db:
        for text, values in reads:
            of_jobs = ways_to_jobs(db, text, values)
            assert all(any(index in way for index in OF_THE_FEW) for way in of_jobs), of_jobs


def ways_to_jobs(db: Connection, text: str, values: Any) -> list[str]:
    """How the database would find the jobs of a query."""
    if db.dialect.name == "sqlite":
        steps = [row.detail for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
        return [step for step in steps if step.split()[1] == "jobs"]
    db.exec_driver_sql("SET LOCAL enable_seqscan = off")  # it takes one for the few rows of a test
    plan = [str(line) for (line,) in db.exec_driver_sql(f"EXPLAIN {text}", values)]
    ways = [line for line in plan if " on jobs  " in line or "Bitmap Index Scan" in line]
    return [way for way in ways if "Bitmap Heap Scan" not in way]
