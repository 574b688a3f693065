"""Why rows of a job could not be stored, what each looked like, and the way to send them again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Form, Query, Response
from fastapi.responses import StreamingResponse

from headrace.console.fixes import Fix, fixes_of
from headrace.console.job import path_of
from headrace.console.rendering import see
from headrace.errors import NotFound
from headrace.model import CsvOptions, Job, JobStatus, Permission
from headrace.permissions import effective
from headrace.rejected import Reason, ToldReject
from headrace.rejectfiles import Alike
from headrace.replays import Corrections
from headrace.retries import as_it_was, retryable
from headrace.web.context import Asking, Offset, Use
from headrace.web.jobs import RejectFormat, get_rejects

_PAGE = 100
_MARKED = re.compile(r">>(.*?)<<", re.S)


@dataclass(frozen=True)
class Group:
    """Rejects for one reason, and what would take them."""

    reason: Reason
    fixes: Sequence[Fix]
    query: str

    @property
    def rows(self) -> int:
        return self.reason.count.rows


@dataclass(frozen=True)
class Line:
    """A row as it was sent, in three parts: the second is what is wrong."""

    told: ToldReject
    before: str
    wrong: str
    after: str


@dataclass(frozen=True)
class RejectsPage:
    job: Job
    groups: Sequence[Group]
    chosen: Alike | None
    lines: Sequence[Line]
    newer: str | None
    older: str | None
    may_push: bool

    @property
    def replays(self) -> bool:
        """Rejects of a job that was loaded are sent again; else the whole job runs again, or comes anew."""
        return self.job.status is JobStatus.DONE

    @property
    def retries(self) -> bool:
        """Its chunks are there still."""
        return retryable(self.job)

    @property
    def again(self) -> str | None:
        """The job that these rows are in now."""
        return self.job.replayed_by if self.replays else self.job.retried_by

    @property
    def total(self) -> int:
        return sum(group.rows for group in self.groups)


def list_rejects(
    pool_id: str,
    job_id: str,
    use: Use,
    key: Asking,
    code: str | None = None,
    column: Annotated[str | None, Query()] = None,
    offset: Offset = 0,
) -> RejectsPage:
    alike = Alike(code, column) if code else None
    told = use.pushes.rejects_of(pool_id, job_id, limit=_PAGE + 1, offset=offset, alike=alike)
    job = use.pushes.ledger_entry(pool_id, job_id)
    return RejectsPage(
        job,
        [_group(reason) for reason in use.pushes.reasons_of(pool_id, job_id)],
        alike,
        [_line(t) for t in told[:_PAGE]],
        _page(alike, offset - _PAGE) if offset else None,
        _page(alike, offset + _PAGE) if len(told) > _PAGE else None,
        Permission.PUSH in effective(key) and job.deleted_at is None,
    )


def download_rejects(pool_id: str, job_id: str, use: Use) -> Response:
    """All of them as a CSV that a person can open, correct and push."""
    answer = get_rejects(pool_id, job_id, use, RejectFormat.CSV, None, 0, None)
    assert isinstance(answer, StreamingResponse)
    return answer


def replay_rejects(
    pool_id: str,
    job_id: str,
    use: Use,
    key: Asking,
    code: Annotated[str, Form()] = "",
    column: Annotated[str | None, Form()] = None,
    fix: Annotated[int, Form(ge=0)] = 0,
) -> Response:
    """Send the rejects again with what is corrected; a job in ERROR runs again, or a NEW one asks for it."""
    job = use.pushes.ledger_entry(pool_id, job_id)
    chosen = _chosen(use.pushes.reasons_of(pool_id, job_id), Alike(code, column or None), fix)
    if job.status is JobStatus.DONE:
        return see(path_of(use.replays.replay(pool_id, job_id, _corrections(job, chosen), key)))
    change = chosen.of_spec if chosen else as_it_was
    again = use.retries.retry if retryable(job) else use.retries.clone
    return see(path_of(again(pool_id, job_id, change, key)))


def _corrections(job: Job, chosen: Fix | None) -> Corrections:
    """As many rows may be bad as in the job."""
    return Corrections(
        chosen.of_columns(job.spec.columns) if chosen else (),
        chosen.of_csv(CsvOptions()) if chosen else None,
        job.spec.max_rejected_rows,
        job.spec.max_rejected_share,
    )


def _chosen(reasons: Sequence[Reason], alike: Alike, fix: int) -> Fix | None:
    """The same fix that the page had shown; no code asks for none."""
    if not alike.code:
        return None
    same = (r for r in reasons if (r.count.code, r.count.column) == (alike.code, alike.column))
    found = [f for reason in same for f in _group(reason).fixes]
    if fix >= len(found):
        raise NotFound("There is no such fix.")
    return found[fix]


def _group(reason: Reason) -> Group:
    count = reason.count
    return Group(reason, fixes_of(reason.hint, count.column), _query(Alike(count.code, count.column)))


def _line(told: ToldReject) -> Line:
    found = _MARKED.search(told.marked)
    if not found:
        return Line(told, told.marked, "", "")
    return Line(told, told.marked[: found.start()], found[1], told.marked[found.end() :])


def _query(alike: Alike) -> str:
    said = {"code": alike.code, **({"column": alike.column} if alike.column is not None else {})}
    return urlencode(said)


def _page(alike: Alike | None, offset: int) -> str:
    more = urlencode({"offset": offset}) if offset > 0 else ""
    return "?" + "&".join(part for part in (_query(alike) if alike else "", more) if part)
