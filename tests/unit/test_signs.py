"""What a process does is heard by the others, and a listener that lost its connection looks for itself."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue

import pytest

from headrace.metadata import Metadata
from headrace.metadata.signs import Listener, Sign
from headrace.model import Chunk, ChunkType, FileType, Job, JobStatus, PushSpec, now
from postgres import Postgres

Heard = Queue[tuple[Sign, str]]
MISSED = [(Sign.CHUNK, ""), (Sign.JOB, "")]
"""What a listener says when it begins: there may have been something before."""


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def metadata(url: str) -> Iterator[Metadata]:
    opened = Metadata(url)
    yield opened
    opened.close()


@pytest.fixture
def heard(url: str) -> Iterator[Heard]:
    """By another process, which does the same as one with an engine of its own."""
    other, queue = Metadata(url), Heard()
    listener = Listener(other.engine, lambda sign, pool: queue.put((sign, pool)))
    listener.start()
    assert [queue.get(timeout=60) for _ in MISSED] == MISSED
    yield queue
    listener.stop()
    other.close()


def push(metadata: Metadata) -> Job:
    job = Job("j", "pool", PushSpec("t"), JobStatus.NEW, now(), now())
    metadata.jobs.add(job)
    metadata.chunks.add(Chunk("c", "j", "pool", 0, ChunkType.UPSERT, 1, "sha", FileType.CSV, now()))
    return job


def test_what_is_done_is_heard(metadata: Metadata, heard: Heard) -> None:
    job = push(metadata)
    assert heard.get(timeout=60) == (Sign.CHUNK, "pool")
    metadata.chunks.failed("c", "damaged", 1)
    assert heard.get(timeout=60) == (Sign.JOB, "pool")
    assert metadata.jobs.queue(job.id, None, now())
    assert heard.get(timeout=60) == (Sign.JOB, "pool")
    assert heard.empty()


def test_what_was_rolled_back_is_not(metadata: Metadata, heard: Heard) -> None:
    job = push(metadata)
    assert heard.get(timeout=60) == (Sign.CHUNK, "pool")
    with pytest.raises(Exception, match="jobs wait already"):
        metadata.jobs.queue(job.id, None, now(), most=0)
    metadata.chunks.failed("c", "damaged", 1)
    assert heard.get(timeout=60) == (Sign.JOB, "pool")
    assert heard.empty()


def test_after_a_loss_it_says_so(postgres: Postgres, metadata: Metadata, heard: Heard) -> None:
    listens = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    for (pid,) in postgres.run(listens):
        postgres.run(f"SELECT pg_terminate_backend({pid})")
    assert [heard.get(timeout=60) for _ in MISSED] == MISSED
    push(metadata)
    assert heard.get(timeout=60) == (Sign.CHUNK, "pool")
