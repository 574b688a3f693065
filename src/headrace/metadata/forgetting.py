"""Jobs that are old enough to be forgotten, with their chunks: a few at a time, the oldest first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, delete, exists, or_, select

from headrace.metadata.schema import EPOCH, chunks, jobs, uploads
from headrace.model import JobStatus


@dataclass(frozen=True)
class OldJob:
    """``since``: when it ended, was deleted, or was last changed: a place to go on from."""

    since: datetime
    id: str
    pool_id: str


FIRST = OldJob(EPOCH, "", "")

_FORGOTTEN_AT_ONCE = 200
"""So many in one transaction, for which every other writer waits."""

_ENDED = jobs.c.status.in_((JobStatus.DONE, JobStatus.ERROR))
_DELETED = and_(jobs.c.status == JobStatus.NEW, jobs.c.deleted_at.is_not(None))
_UNUSED = and_(
    jobs.c.status == JobStatus.NEW,
    jobs.c.deleted_at.is_(None),
    ~exists().where(chunks.c.job_id == jobs.c.id),
    ~exists().where(uploads.c.job_id == jobs.c.id),
)
_NOT_BEING_UNDONE = or_(jobs.c.undo_began_at.is_(None), jobs.c.undone_at.is_not(None))


class Forgetting:
    """Every list is a part, after ``last`` of the part before; an empty one is the end."""

    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def ended(self, before: datetime, at: datetime, last: OldJob = FIRST) -> Sequence[OldJob]:
        """Jobs that ended before then and that nothing of the metadata holds: no retry, no undo under way."""
        return self._part(jobs.c.finished_at, _free(at), before, last)

    def deleted(self, before: datetime, last: OldJob = FIRST) -> Sequence[OldJob]:
        """NEW jobs that a client deleted before then."""
        return self._part(jobs.c.deleted_at, _DELETED, before, last)

    def unused(self, before: datetime, last: OldJob = FIRST) -> Sequence[OldJob]:
        """NEW jobs that have no chunk and no part of one, and have not changed since then."""
        return self._part(jobs.c.modified_at, _UNUSED, before, last)

    def _part(
        self, since: ColumnElement[Any], which: ColumnElement[bool], before: datetime, last: OldJob
    ) -> Sequence[OldJob]:
        query: Select[Any] = (
            select(since, jobs.c.id, jobs.c.pool_id)
            .where(since < before, or_(since > last.since, and_(since == last.since, jobs.c.id > last.id)))
            .where(which)
            .order_by(since, jobs.c.id)
            .limit(_FORGOTTEN_AT_ONCE)
        )
        with self._reads.connect() as db:
            return [OldJob(*row) for row in db.execute(query)]

    def without_rejects(self, job_ids: Collection[str], before: datetime, at: datetime) -> set[str]:
        """Which of these jobs ended before then, and so keep their rejects no more."""
        with self._reads.connect() as db:
            wanted = jobs.c.id.in_(job_ids), jobs.c.finished_at < before, _free(at)
            return set(db.execute(select(jobs.c.id).where(*wanted)).scalars())

    def forget(self, job_ids: Collection[str], at: datetime) -> int:
        """Delete these jobs and what is known of their chunks, but for those that are held by now."""
        these, free = select(jobs.c.id).where(jobs.c.id.in_(job_ids)), or_(_free(at), _DELETED, _UNUSED)
        with self._writes.begin() as db:
            db.execute(these.order_by(jobs.c.id).with_for_update())  # what comes to one waits, or came before
            found = list(db.execute(these.where(free)).scalars())
            for table, owner in ((uploads, uploads.c.job_id), (chunks, chunks.c.job_id), (jobs, jobs.c.id)):
                db.execute(delete(table).where(owner.in_(found)))
        return len(found)


def _free(at: datetime) -> ColumnElement[bool]:
    no_retry = or_(jobs.c.chunks_until.is_(None), jobs.c.chunks_until <= at)
    return and_(_ENDED, no_retry, _NOT_BEING_UNDONE)
