"""The jobs of a pool: all of them ever, the newest first, by state, table, time and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query

from headrace.metadata.jobs import JobFilter
from headrace.model import Job, JobStatus, Key, Permission, Pool, now
from headrace.permissions import decide
from headrace.web.context import Asking, Offset, Services, Use

_PAGE = 50


class Since(StrEnum):
    EVER = ""
    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"


_AGO = {Since.HOUR: timedelta(hours=1), Since.DAY: timedelta(days=1), Since.WEEK: timedelta(days=7)}


@dataclass(frozen=True)
class Wanted:
    """What the form above the list says."""

    status: str = ""
    table: str = ""
    since: Since = Since.EVER
    key: str = ""

    @property
    def filter(self) -> JobFilter:
        known = self.status in set(JobStatus)
        return JobFilter(
            status=JobStatus(self.status) if known else None,
            table=self.table.strip() or None,
            created_by=self.key or None,
            since=now() - _AGO[self.since] if self.since in _AGO else None,
        )

    @property
    def query(self) -> str:
        said = {name: str(value) for name, value in vars(self).items() if value}
        return urlencode(said)

    @property
    def any(self) -> bool:
        return self != Wanted()


def wanted(
    status: str = "",
    table: Annotated[str, Query(max_length=512)] = "",
    since: Since = Since.EVER,
    key: str = "",
) -> Wanted:
    return Wanted(status, table, since, key)


@dataclass(frozen=True)
class JobLine:
    job: Job
    bytes: int | None
    who: str

    @property
    def ms(self) -> float | None:
        """From its execution to its end."""
        job = self.job
        if not job.queued_at or not job.finished_at:
            return None
        return (job.finished_at - job.queued_at).total_seconds() * 1000


@dataclass(frozen=True)
class JobsPage:
    pool: Pool
    lines: Sequence[JobLine]
    wanted: Wanted
    keys: Mapping[str, str]
    newer: str | None
    older: str | None


def list_jobs(
    pool_id: str, use: Use, key: Asking, wanted: Annotated[Wanted, Depends(wanted)], offset: Offset = 0
) -> JobsPage:
    jobs = use.pushes.ledger(pool_id, key, limit=_PAGE + 1, offset=offset, wanted=wanted.filter)
    return JobsPage(
        use.pools.get(pool_id),
        lines(use, jobs[:_PAGE], key),
        wanted,
        names_of_keys(use, key),
        _page(wanted, offset - _PAGE) if offset else None,
        _page(wanted, offset + _PAGE) if len(jobs) > _PAGE else None,
    )


def lines(use: Services, jobs: Sequence[Job], by: Key) -> list[JobLine]:
    sizes, names = use.pushes.sizes(jobs), names_of_keys(use, by)
    return [
        JobLine(_without_logs(job), sizes.get(job.id), names.get(job.created_by or "", "–")) for job in jobs
    ]


def names_of_keys(use: Services, by: Key) -> dict[str, str]:
    """Who may be told: others' names are for administrators."""
    if not decide(by, Permission.ADMIN).allowed:
        return {by.id: by.name}
    return {key.id: key.name for key in use.keys.list()}


def _without_logs(job: Job) -> Job:
    return replace(job, logs=())


def _page(wanted: Wanted, offset: int) -> str:
    more = {"offset": str(max(0, offset))} if offset > 0 else {}
    return "?" + "&".join(part for part in (wanted.query, urlencode(more)) if part)
