"""What is old enough goes: jobs that ended long ago, rows that could not be stored, receipts, the audit.

Nothing goes that somebody may still ask for: a job that a version of a table names can be looked at and
undone; one that keeps its chunks, run again; one to which anything was pushed may be executed. A job goes
from outside in, its files, its receipt in the lake, its row: what a crash interrupts, the next sweep finds.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from headrace.metadata import Metadata
from headrace.metadata.forgetting import FIRST, OldJob
from headrace.model import AuditEntry, now
from headrace.rejectfiles import RejectFiles
from headrace.tables import TableEngine

_LOOKED_AT_ONCE = 200

ACTION = "retention"
"""The word of the audit for what went."""


class Kind(StrEnum):
    JOBS = "jobs"  # that ended, or were deleted before they ran: row, chunks' rows, log, rejects
    NEW_JOBS = "new-jobs"  # to which nobody has pushed anything
    REJECTS = "rejects"  # of so many jobs
    RECEIPTS = "receipts"  # in the lakes, of jobs that go
    AUDIT = "audit"  # entries


@dataclass(frozen=True)
class Keeping:
    """How long; None: for ever."""

    jobs: timedelta | None
    rejects: timedelta | None
    new_jobs: timedelta | None


@dataclass(frozen=True)
class Retention:
    """One for a server. ``note`` takes an entry of the audit."""

    metadata: Metadata
    tables: TableEngine
    rejects: RejectFiles
    keeping: Keeping
    note: Callable[[AuditEntry], object]
    _one: threading.Lock = field(default_factory=threading.Lock)

    def foreseen(self) -> Mapping[Kind, int]:
        """What ``sweep`` would let go now; of receipts it says nothing: they go with their jobs."""
        at, found = now(), Counter(dict.fromkeys(Kind, 0))
        for old in self._old_jobs(at):
            found[Kind.JOBS] += len(old)
        for unused in self._unused(at):
            found[Kind.NEW_JOBS] += len(unused)
        for _, jobs in self._old_rejects(at):
            found[Kind.REJECTS] += len(jobs)
        found[Kind.AUDIT] = self.metadata.audit.expired(at)
        return found

    def sweep(self, go_on: Callable[[], bool] = lambda: True) -> Mapping[Kind, int]:
        """Let go of it, a few at a time, and tell the audit how much it was. May be ended, and repeated."""
        with self._one:
            found = Counter(dict.fromkeys(Kind, 0))
            for change in self._changes(now()):
                if not go_on():
                    break
                found.update(change())
        if found.total():
            self.note(_entry(found))
        return found

    def _changes(self, at: datetime) -> Iterator[Callable[[], Mapping[Kind, int]]]:
        """Short ones, each of which may be the last."""
        for pool_id, jobs in self._old_rejects(at):
            yield partial(self._drop_rejects, pool_id, jobs)
        for old in self._old_jobs(at):
            yield partial(self._forget, old, at)
        for unused in self._unused(at):
            yield partial(self._forget_unused, unused, at)
        yield lambda: {Kind.AUDIT: self.metadata.audit.prune(at)}

    # -- what is old -----------------------------------------------------------------------------------

    def _old_jobs(self, at: datetime) -> Iterator[Sequence[OldJob]]:
        if self.keeping.jobs is None:
            return
        before, forgetting = at - self.keeping.jobs, self.metadata.forgetting
        named = _Named(self.tables)
        for part in _parts(lambda last: forgetting.ended(before, at, last)):
            yield [job for job in part if job.id not in named.of(job.pool_id)]
        yield from _parts(lambda last: forgetting.deleted(before, last))

    def _unused(self, at: datetime) -> Iterator[Sequence[OldJob]]:
        if self.keeping.new_jobs is not None:
            before = at - self.keeping.new_jobs
            yield from _parts(lambda last: self.metadata.forgetting.unused(before, last))

    def _old_rejects(self, at: datetime) -> Iterator[tuple[str, Collection[str]]]:
        """By pool; of jobs that nobody knows yet, none."""
        if self.keeping.rejects is None:
            return
        before, by_pool = at - self.keeping.rejects, defaultdict[str, list[str]](list)
        for pool_id, job_id in self.rejects.jobs():
            by_pool[pool_id].append(job_id)
        for pool_id, present in by_pool.items():
            for start in range(0, len(present), _LOOKED_AT_ONCE):
                some = present[start : start + _LOOKED_AT_ONCE]
                yield pool_id, self.metadata.forgetting.without_rejects(some, before, at)

    # -- letting go ------------------------------------------------------------------------------------

    def _forget(self, old: Sequence[OldJob], at: datetime) -> Mapping[Kind, int]:
        receipts, by_pool = 0, defaultdict[str, list[str]](list)
        for job in old:
            self.rejects.drop(job.pool_id, job.id)
            by_pool[job.pool_id].append(job.id)
        for pool_id, job_ids in by_pool.items():
            receipts += self.tables.forget_jobs(pool_id, job_ids)
        return {Kind.RECEIPTS: receipts, Kind.JOBS: self._forget_rows(old, at)}

    def _forget_unused(self, unused: Sequence[OldJob], at: datetime) -> Mapping[Kind, int]:
        return {Kind.NEW_JOBS: self._forget_rows(unused, at)}

    def _forget_rows(self, old: Sequence[OldJob], at: datetime) -> int:
        return self.metadata.forgetting.forget([job.id for job in old], at)

    def _drop_rejects(self, pool_id: str, job_ids: Collection[str]) -> Mapping[Kind, int]:
        for job_id in job_ids:
            self.rejects.drop(pool_id, job_id)
        return {Kind.REJECTS: len(job_ids)}


class _Named:
    """The jobs that versions name, asked once of each pool."""

    def __init__(self, tables: TableEngine) -> None:
        self._tables = tables
        self._known: dict[str, Collection[str]] = {}

    def of(self, pool_id: str) -> Collection[str]:
        if pool_id not in self._known:
            self._known[pool_id] = self._tables.named_jobs(pool_id)
        return self._known[pool_id]


def _parts(ask: Callable[[OldJob], Sequence[OldJob]]) -> Iterator[Sequence[OldJob]]:
    last = FIRST
    while part := ask(last):
        yield part
        last = part[-1]


def _entry(found: Mapping[Kind, int]) -> AuditEntry:
    told = ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
    return AuditEntry(now(), None, "server", "", ACTION, 200, "", subject=told)
