"""How much may come in: the smallest room counts, and the size of a pool is that of its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.errors import Overloaded, PoolFull, TooLarge, TooManySubmissions
from headrace.metadata import Metadata
from headrace.model import Chunk, ChunkType, FileType, Job, JobStatus, PushSpec, SubmissionLimits, Upload, now
from headrace.quotas import PoolSizes, Quotas

AT = datetime(2024, 2, 29, 12, 59, 58, 500_000, UTC)


@pytest.fixture
def metadata(database: Path | str) -> Iterator[Metadata]:
    opened = Metadata(database)
    yield opened
    opened.close()


@pytest.fixture
def job(metadata: Metadata) -> Job:
    job = Job("job", "pool", PushSpec("t"), JobStatus.NEW, AT, AT)
    metadata.jobs.add(job)
    return job


def quotas(metadata: Metadata, **limits: int) -> Quotas:
    given = {
        "chunk_bytes": 100,
        "unpacked_bytes": 100,
        "job_bytes": 0,
        "pool_bytes": 0,
        "queued_jobs": 10,
        **limits,
    }
    return Quotas(metadata, submissions=None, size_of=lambda _: 400, **given)


def push(metadata: Metadata, job: Job, size: int, **more: int) -> None:
    chunk = Chunk(
        f"c{os.urandom(4).hex()}", job.id, job.pool_id, 0, ChunkType.UPSERT, size, "", FileType.CSV, AT
    )
    metadata.chunks.add(chunk, **more)


# -- bytes ---------------------------------------------------------------------------------------------


def test_uploads_count_from_their_beginning(metadata: Metadata, job: Job) -> None:
    """With all that they will have, but for the one that becomes a chunk now."""
    metadata.uploads.add(Upload("u", job.id, job.pool_id, "key", 30, ChunkType.UPSERT, AT), most=9)
    of_job, of_pool = quotas(metadata, job_bytes=50), quotas(metadata, pool_bytes=450)
    assert (of_job.room(job).bytes, of_job.room(job, "u").bytes) == (20, 50)
    assert (of_pool.unpacked_room(job).bytes, of_pool.unpacked_room(job, "u").bytes) == (20, 50)
    of_pool.admit(job, 50, "u")
    with pytest.raises(PoolFull):
        of_pool.admit(job, 21)
    with pytest.raises(TooLarge):
        push(metadata, job, 21, job_bytes=50)
    push(metadata, job, 20, job_bytes=50)


def test_the_smallest_room_counts(metadata: Metadata, job: Job) -> None:
    push(metadata, job, 30)
    assert quotas(metadata).room(job).bytes == 100
    assert quotas(metadata, job_bytes=50).room(job).bytes == 20
    assert quotas(metadata, pool_bytes=440).room(job).bytes == 10
    assert quotas(metadata, pool_bytes=440, job_bytes=35).room(job).bytes == 5
    assert quotas(metadata, pool_bytes=10_000, job_bytes=10_000).room(job).bytes == 100


def test_the_refusal_is_that_of_the_smallest(metadata: Metadata, job: Job) -> None:
    assert isinstance(quotas(metadata, job_bytes=50).room(job).refusal, TooLarge)
    assert isinstance(quotas(metadata, job_bytes=90, pool_bytes=440).room(job).refusal, PoolFull)


def test_no_room(metadata: Metadata, job: Job) -> None:
    push(metadata, job, 50)
    with pytest.raises(TooLarge, match="50"):
        quotas(metadata, job_bytes=50).room(job)
    with pytest.raises(PoolFull, match="450"):
        quotas(metadata, pool_bytes=450).room(job)


def test_a_chunk_is_admitted_once_more(metadata: Metadata, job: Job) -> None:
    quotas(metadata, pool_bytes=450).admit(job, 50)
    push(metadata, job, 1)
    with pytest.raises(PoolFull):
        quotas(metadata, pool_bytes=450).admit(job, 50)
    quotas(metadata).admit(job, 10**12)


def test_chunks_that_come_at_once_are_admitted_together(metadata: Metadata, job: Job) -> None:
    quotas(metadata, job_bytes=50, pool_bytes=450).admit_all(job, 50)
    with pytest.raises(TooLarge, match="50 bytes"):
        quotas(metadata, job_bytes=50).admit_all(job, 51)
    with pytest.raises(PoolFull):
        quotas(metadata, pool_bytes=450).admit_all(job, 51)


def test_the_metadata_have_the_last_word_on_a_job(metadata: Metadata, job: Job) -> None:
    push(metadata, job, 30, job_bytes=50)
    push(metadata, job, 20, job_bytes=50)
    with pytest.raises(TooLarge):
        push(metadata, job, 1, job_bytes=50)
    assert metadata.chunks.bytes_of_job(job.id) == 50


def test_chunks_of_jobs_that_will_not_run_take_no_room(metadata: Metadata, job: Job) -> None:
    push(metadata, job, 30)
    assert metadata.chunks.bytes_of_pool("pool", now()) == 30
    assert metadata.chunks.bytes_of_pool("another", now()) == 0
    metadata.jobs.delete("pool", job.id, AT)
    assert metadata.chunks.bytes_of_pool("pool", now()) == 0


def test_a_file_of_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "pool" / "data").mkdir(parents=True)
    (tmp_path / "pool" / "catalog").write_bytes(b"x" * 10)
    (tmp_path / "pool" / "data" / "one").write_bytes(b"x" * 100)
    (tmp_path / "pool" / "staged").hardlink_to(tmp_path / "pool" / "data" / "one")
    (tmp_path / "pool" / "link").symlink_to(tmp_path / "nothing")
    size_of = PoolSizes(tmp_path)
    assert size_of("pool") == 110 + len(str(tmp_path / "nothing"))
    assert size_of("none") == 0


def test_a_size_is_good_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    lasting, fleeting = PoolSizes(tmp_path, fresh_seconds=3600), PoolSizes(tmp_path, fresh_seconds=0)
    assert lasting("pool") == fleeting("pool") == 0
    (tmp_path / "pool" / "file").write_bytes(b"x")
    assert (lasting("pool"), fleeting("pool")) == (0, 1)


# -- executes ------------------------------------------------------------------------------------------


def test_a_full_queue(metadata: Metadata, job: Job) -> None:
    limited = replace(quotas(metadata, queued_jobs=1), submissions=SubmissionLimits(9, 9))
    limited.submit()
    metadata.jobs.queue(job.id, None, AT)
    with pytest.raises(Overloaded):
        limited.submit()


def test_the_clock_is_the_callers(metadata: Metadata) -> None:
    """One in a second, two in an hour; the hour is over in a second and a half, which is two to a client."""
    clock = [AT]
    given = replace(quotas(metadata), submissions=SubmissionLimits(1, 2), clock=lambda: clock[0])
    given.submit()
    with pytest.raises(TooManySubmissions) as caught:
        given.submit()
    assert caught.value.retry_after == 1
    clock[0] += timedelta(seconds=0.5)
    given.submit()
    with pytest.raises(TooManySubmissions, match="NEW still") as caught:
        given.submit()
    assert caught.value.retry_after == 1
    clock[0] += timedelta(seconds=1)
    given.submit()


def test_a_whole_hour_to_wait(metadata: Metadata) -> None:
    given = replace(
        quotas(metadata), submissions=SubmissionLimits(9, 1), clock=lambda: AT.replace(minute=0, second=0)
    )
    given.submit()
    with pytest.raises(TooManySubmissions) as caught:
        given.submit()
    assert caught.value.retry_after == 3600


def test_without_limits_nothing_is_counted(metadata: Metadata) -> None:
    for _ in range(20):
        quotas(metadata).submit()
