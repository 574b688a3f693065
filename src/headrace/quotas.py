"""How much may come in: bytes of chunks, jobs and pools; jobs in the queue, in a second, in an hour."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from pathlib import Path

from headrace.errors import HeadraceError, Overloaded, PoolFull, TooLarge, TooManySubmissions
from headrace.metadata import Metadata
from headrace.model import Job, SubmissionLimits, now

_MEASURED_SECONDS = 10.0


class PoolSizes:
    """Bytes in the folders of pools, and ``elsewhere``.

    A walk costs about 1 ms for 100 files: it is good for ten seconds.
    """

    def __init__(
        self,
        pools: Path,
        *,
        elsewhere: Callable[[str], int] = lambda _: 0,
        fresh_seconds: float = _MEASURED_SECONDS,
    ) -> None:
        self._pools = pools
        self._elsewhere = elsewhere
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, int]] = {}

    def __call__(self, pool_id: str) -> int:
        with self._lock:
            at, size = self._known.get(pool_id, (-self._fresh_seconds, 0))
        if time.monotonic() - at < self._fresh_seconds:
            return size
        size = _bytes_in(self._pools / pool_id) + self._elsewhere(pool_id)
        with self._lock:
            self._known[pool_id] = (time.monotonic(), size)
        return size


def _bytes_in(folder: Path) -> int:
    """Of all files below; one with several names (staged, and part of a table) counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(f"{root}/{name}")
            except FileNotFoundError:
                continue  # upkeep goes on meanwhile
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


@dataclass(frozen=True)
class Room:
    """So many bytes may come; what to say to more of them."""

    bytes: int
    refusal: HeadraceError


@dataclass(frozen=True)
class Quotas:
    """0 is no limit, for ``job_bytes`` and ``pool_bytes``; ``submissions`` None is none."""

    metadata: Metadata
    chunk_bytes: int
    unpacked_bytes: int
    job_bytes: int
    pool_bytes: int
    queued_jobs: int
    submissions: SubmissionLimits | None
    size_of: Callable[[str], int]
    clock: Callable[[], datetime] = field(default=now)

    # -- bytes -----------------------------------------------------------------------------------------

    def room(self, job: Job, apart_from: str | None = None) -> Room:
        """The most bytes that the next chunk of the job may have as it is sent. Raises TooLarge, PoolFull.

        Unfinished uploads count as what they will have; ``apart_from`` is the one that becomes this chunk.
        """
        return self._room(job, Room(self.chunk_bytes, TooLarge(_too_large(self.chunk_bytes))), apart_from)

    def unpacked_room(self, job: Job, apart_from: str | None = None) -> Room:
        """The most bytes that it may have when it is unpacked. Raises TooLarge, PoolFull."""
        words = _too_large(self.unpacked_bytes)
        return self._room(
            job, Room(self.unpacked_bytes, TooLarge(f"Unpacked, {words[0].lower()}{words[1:]}")), apart_from
        )

    def _room(self, job: Job, chunk: Room, apart_from: str | None) -> Room:
        rooms = [chunk]
        if self.job_bytes:
            promised = self.metadata.uploads.bytes_of_job(job.id, apart_from=apart_from)
            left = self.job_bytes - self.metadata.chunks.bytes_of_job(job.id) - promised
            rooms.append(Room(left, TooLarge(self._job_too_large())))
        if self.pool_bytes:
            rooms.append(Room(self._left_in(job.pool_id, apart_from), PoolFull(self._pool_full())))
        room = min(rooms, key=lambda room: room.bytes)
        if room.bytes <= 0:
            raise room.refusal
        return room

    def admit_all(self, job: Job, size: int) -> None:
        """All chunks of a job that come at once. Raises TooLarge, PoolFull."""
        if self.job_bytes and size > self.job_bytes:
            raise TooLarge(self._job_too_large())
        self.admit(job, size)

    def admit(self, job: Job, size: int, apart_from: str | None = None) -> None:
        """Once more, when the chunk is here: others have come meanwhile. Raises PoolFull."""
        if self.pool_bytes and size > self._left_in(job.pool_id, apart_from):
            raise PoolFull(self._pool_full())

    def _left_in(self, pool_id: str, apart_from: str | None) -> int:
        waiting = self.metadata.chunks.bytes_of_pool(pool_id, self.clock())
        waiting += self.metadata.uploads.bytes_of_pool(pool_id, apart_from=apart_from)
        return self.pool_bytes - self.size_of(pool_id) - waiting

    def _job_too_large(self) -> str:
        return f"All chunks of a job may have {self.job_bytes} bytes."

    def _pool_full(self) -> str:
        return (
            f"The pool may have {self.pool_bytes} bytes on disk, with old versions of its tables and waiting "
            "chunks: delete jobs that will not be executed or retried, or let old versions expire."
        )

    # -- jobs ------------------------------------------------------------------------------------------

    def submit(self) -> None:
        """Count one execute, if they are limited. Raises Overloaded, TooManySubmissions."""
        if self.submissions is None:
            return
        if self.metadata.jobs.queued() >= self.queued_jobs:  # it shall not count: queueing will refuse it
            raise Overloaded(f"{self.queued_jobs} jobs wait already; try again in a moment.")
        limits = self.submissions
        wait = self.metadata.submissions.take(limits, self.clock())
        if wait is not None:
            raise TooManySubmissions(
                f"The team may execute {limits.per_second} jobs in a second and {limits.per_hour} in a full "
                "hour (UTC); the job is NEW still.",
                retry_after=max(1, ceil(wait.total_seconds())),
            )


def _too_large(limit: int) -> str:
    return f"A chunk may have {limit} bytes; split the file and send its parts as chunks of the same job."
