"""How things stand, as numbers: the queue, the disk, the lakes, the children.

Looked up when somebody asks, and kept for a moment: all of it are cheap questions. A lake is asked again when
something has changed it, a few of them at a time; until then what is known of it counts.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

import duckdb
import structlog

from headrace import __version__
from headrace.errors import DatabaseUnreachable
from headrace.metadata import Metadata
from headrace.model import JobStatus, now
from headrace.observing import Ended, Maintained, Observation, Undone
from headrace.overview import Overview
from headrace.tables import Stored, TableEngine

log = structlog.get_logger()

Gauge = tuple[str, tuple[str, ...], float]
"""Its name, the values of its labels, and how it stands."""

KEEP_S = 5.0
"""So long an answer counts."""

POOLS_SHOWN = 100
"""The largest pools have figures of their own, all others together are one more."""

OTHERS = "(others)"

LOOK_S = 0.5
"""One answer looks into lakes for so long; the others come with the next ones."""

OLD_S = 600.0
"""A lake is looked at again after so long: another process may have changed it."""


@dataclass(frozen=True)
class LakeFigures:
    """How large a pool is, all of its tables together; ``old_bytes`` are kept for old versions alone."""

    tables: int = 0
    files: int = 0
    bytes: int = 0
    old_bytes: int = 0
    versions: int = 0

    def __add__(self, other: LakeFigures) -> LakeFigures:
        return LakeFigures(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


NO_FIGURES = LakeFigures()


@dataclass(frozen=True)
class Process:
    """What only this process knows of itself."""

    held_leases: Callable[[], int]
    workers_alive: Callable[[], bool]
    sql_children: Callable[[], int]
    sql_running: Callable[[], int]


class Gauges:
    """``now`` is asked from any thread."""

    def __init__(
        self,
        metadata: Metadata,
        lakes: Lakes,
        overview: Overview,
        process: Process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metadata = metadata
        self._lakes = lakes
        self._overview = overview
        self._process = process
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[float, Sequence[Gauge]] | None = None

    def observe(self, seen: Observation) -> None:
        if isinstance(seen, Maintained | Undone):
            self._lakes.changed(seen.pool_id)
        elif isinstance(seen, Ended) and seen.status is JobStatus.DONE:
            self._lakes.changed(seen.job.pool_id)

    def now(self) -> Sequence[Gauge]:
        with self._lock:
            at = self._clock()
            if self._known is None or at - self._known[0] >= KEEP_S:
                self._known = at, list(self._looked_up())
            return self._known[1]

    def _looked_up(self) -> Iterator[Gauge]:
        yield "headrace_build_info", (__version__, duckdb.__version__, platform.python_version()), 1
        disk, process = self._overview.disk(), self._process
        yield "headrace_disk_free_bytes", (), disk.free
        yield "headrace_disk_total_bytes", (), disk.total
        yield "headrace_disk_watermark_bytes", (), disk.least
        yield "headrace_held_leases", (), process.held_leases()
        yield "headrace_workers_alive", (), process.workers_alive()
        yield "headrace_sql_children", (), process.sql_children()
        yield "headrace_sql_running", (), process.sql_running()
        yield from self._of_the_metadata()

    def _of_the_metadata(self) -> Iterator[Gauge]:
        """None of them while the database is away: all the others are told."""
        try:
            yield from [*self._queue(), *self._pools()]
        except DatabaseUnreachable:
            log.warning("gauges of the queue and the lakes are missing: the database is away")

    def _queue(self) -> Iterator[Gauge]:
        waiting = self._metadata.jobs.waiting()
        for status in (JobStatus.NEW, JobStatus.QUEUED, JobStatus.RUNNING):
            yield "headrace_unfinished_jobs", (status,), waiting.jobs.get(status, 0)
        since = waiting.queued_since
        yield "headrace_queue_age_seconds", (), max(0.0, (now() - since).total_seconds()) if since else 0
        chunks, size = self._metadata.chunks.unstaged_size()
        yield "headrace_unstaged_chunks", (), chunks
        yield "headrace_unstaged_bytes", (), size

    def _pools(self) -> Iterator[Gauge]:
        pools = self._metadata.pools.list()
        known = self._lakes.figures([pool.id for pool in pools])
        largest = sorted(pools, key=lambda pool: -known[pool.id].bytes)
        for pool in largest[:POOLS_SHOWN]:
            yield "headrace_pool_info", (pool.id, pool.name), 1
            yield from _of_lake(pool.id, known[pool.id])
        if others := largest[POOLS_SHOWN:]:
            yield from _of_lake(OTHERS, sum((known[pool.id] for pool in others), NO_FIGURES))


def _of_lake(pool: str, figures: LakeFigures) -> Iterator[Gauge]:
    yield "headrace_lake_files", (pool,), figures.files
    yield "headrace_lake_bytes", (pool, "current"), figures.bytes
    yield "headrace_lake_bytes", (pool, "old"), figures.old_bytes
    yield "headrace_lake_versions", (pool,), figures.versions
    yield "headrace_lake_tables", (pool,), figures.tables


def _figures(stored: Stored) -> LakeFigures:
    tables = (LakeFigures(1, t.files, t.bytes, t.old_bytes) for t in stored.tables)
    return sum(tables, LakeFigures(versions=stored.versions))


class Lakes:
    """What is known of each lake, and which of them are to be looked at again."""

    def __init__(self, tables: TableEngine, clock: Callable[[], float] = time.monotonic) -> None:
        self._tables = tables
        self._clock = clock
        self._known: dict[str, tuple[float, LakeFigures]] = {}
        self._changed: set[str] = set()

    def changed(self, pool_id: str) -> None:
        self._changed.add(pool_id)

    def figures(self, pool_ids: Sequence[str]) -> dict[str, LakeFigures]:
        """Of all these pools, as far as they are known; of one that nobody has looked at yet, zeros."""
        self._known = {id: known for id, known in self._known.items() if id in set(pool_ids)}
        end = self._clock() + LOOK_S
        for pool_id in self._due(pool_ids):
            self._look(pool_id)
            if self._clock() >= end:
                break
        nothing = 0.0, NO_FIGURES
        return {id: self._known.get(id, nothing)[1] for id in pool_ids}

    def _due(self, pool_ids: Sequence[str]) -> list[str]:
        """Those that changed, then those that were looked at longest ago."""
        old = self._clock() - OLD_S
        seen = {id: self._known[id][0] if id in self._known else float("-inf") for id in pool_ids}
        due = [id for id in pool_ids if id in self._changed or seen[id] <= old]
        return sorted(due, key=lambda id: (id not in self._changed, seen[id]))

    def _look(self, pool_id: str) -> None:
        self._changed.discard(pool_id)  # first: what changes meanwhile is looked at again
        try:
            found = _figures(self._tables.stored(pool_id))
        except Exception:  # its catalog is held or broken: the others can be told
            log.exception("a lake could not be looked at", pool=pool_id)
            found = self._known.get(pool_id, (0.0, NO_FIGURES))[1]
        self._known[pool_id] = self._clock(), found
