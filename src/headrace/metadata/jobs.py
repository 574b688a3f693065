"""Push jobs and their states.

::

    NEW ──queue──▶ QUEUED ──claim──▶ RUNNING ──finish──▶ DONE | ERROR
                     ▲                  │
                     └─────requeue──────┘   after a crash, or a lost race
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, insert, or_, select, update

from headrace.metadata.codec import dump_counts, dump_spec, read_counts, read_spec
from headrace.metadata.schema import chunks, jobs, may_still_run
from headrace.model import Chunk, ChunkState, Counts, Job, JobStatus, PushSpec, TableRef

_LOOKED_AT = 500
"""A claim looks at so many queued jobs at the most."""

_PRIVATE = ("queue_number", "worker", "lease_until")


class Jobs:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    # -- one job ---------------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        with self._writes.begin() as db:
            db.execute(insert(jobs).values(_row(job)))

    def add_replay(self, of: Job, job: Job, sent: Sequence[Chunk]) -> bool:
        """The QUEUED ``job`` with its chunks, if the rejects of ``of`` are free; False if they are not.

        They are free until a job has them, and again when that has ended in ERROR. All of it is one
        transaction: there is never a claim without its job, nor a job without all of its chunks.
        """
        holder = jobs.alias()
        failed = select(holder.c.id).where(holder.c.status == JobStatus.ERROR)
        free = or_(jobs.c.replayed_by.is_(None), jobs.c.replayed_by.in_(failed))
        claim = update(jobs).where(jobs.c.id == of.id, jobs.c.deleted_at.is_(None), free)
        with self._writes.begin() as db:
            if db.execute(claim.values(replayed_by=job.id)).rowcount != 1:
                return False
            db.execute(insert(jobs).values(**_row(job), queue_number=_next_in_queue()))
            db.execute(insert(chunks), [vars(chunk) for chunk in sent])
            return True

    def get(self, pool_id: str, job_id: str) -> Job | None:
        """The job, deleted or not."""
        query = select(jobs).where(jobs.c.id == job_id, jobs.c.pool_id == pool_id)
        with self._reads.connect() as db:
            row = db.execute(query).one_or_none()
        return _job(row) if row else None

    def list(self, pool_id: str) -> Sequence[Job]:
        """The jobs of a pool that were not deleted, oldest first."""
        query = select(jobs).where(jobs.c.pool_id == pool_id, jobs.c.deleted_at.is_(None))
        with self._reads.connect() as db:
            return [_job(row) for row in db.execute(query.order_by(jobs.c.created_at, jobs.c.id))]

    def ledger(self, pool_id: str, *, limit: int, offset: int) -> Sequence[Job]:
        """All jobs of a pool ever, newest first."""
        query = select(jobs).where(jobs.c.pool_id == pool_id).order_by(jobs.c.created_at.desc(), jobs.c.id)
        with self._reads.connect() as db:
            return [_job(row) for row in db.execute(query.limit(limit).offset(offset))]

    def delete(self, pool_id: str, job_id: str, at: datetime) -> JobStatus | None:
        """Hide the job from clients; the ledger keeps it. Answers the status it had, None: no such job."""
        here = and_(jobs.c.id == job_id, jobs.c.pool_id == pool_id, jobs.c.deleted_at.is_(None))
        with self._writes.begin() as db:
            status = db.execute(select(jobs.c.status).where(here)).scalar_one_or_none()
            if status is None:
                return None
            db.execute(update(jobs).where(here).values(deleted_at=at))
            if status == JobStatus.QUEUED:
                logs = ["The job was deleted before it ran."]
                change = {"status": JobStatus.ERROR, "error_code": "deleted", "finished_at": at, "logs": logs}
                db.execute(update(jobs).where(jobs.c.id == job_id).values(change))
            return JobStatus(status)

    # -- states ----------------------------------------------------------------------------------------

    def queue(self, job_id: str, order_column: str | None, at: datetime) -> bool:
        """NEW to QUEUED; False if it is no longer NEW."""
        change = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status == JobStatus.NEW, jobs.c.deleted_at.is_(None))
            .values(
                status=JobStatus.QUEUED,
                order_column=order_column,
                queued_at=at,
                modified_at=at,
                queue_number=_next_in_queue(),
            )
        )
        with self._writes.begin() as db:
            return db.execute(change).rowcount == 1

    def claim(self, worker: str, at: datetime, lease: timedelta) -> Job | None:
        """The oldest queued job whose chunks are all staged and whose tables nobody older waits for."""
        if not self._any_to_claim(at):
            return None  # without taking the lock that every writer needs
        with self._writes.begin() as db:
            job_id = _first_free(db, at)
            if job_id is None:
                return None
            db.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(
                    status=JobStatus.RUNNING,
                    fence=jobs.c.fence + 1,
                    worker=worker,
                    lease_until=at + lease,
                    last_ping=at,
                    modified_at=at,
                    started_at=func.coalesce(jobs.c.started_at, at),
                )
            )
            return _job(db.execute(select(jobs).where(jobs.c.id == job_id)).one())

    def _any_to_claim(self, at: datetime) -> bool:
        expired = and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_until < at)
        query = select(jobs.c.id).where(or_(jobs.c.status == JobStatus.QUEUED, expired))
        with self._reads.connect() as db:
            return db.execute(query.limit(1)).first() is not None

    def heartbeat(self, fences: Iterable[tuple[str, int]], at: datetime, lease: timedelta) -> None:
        """A sign of life of running jobs, given with their fencing numbers."""
        with self._writes.begin() as db:
            for job_id, fence in fences:
                db.execute(
                    update(jobs).where(_mine(job_id, fence)).values(last_ping=at, lease_until=at + lease)
                )

    def is_mine(self, job_id: str, fence: int) -> bool:
        with self._reads.connect() as db:
            return db.execute(select(jobs.c.id).where(_mine(job_id, fence))).first() is not None

    def finish(
        self,
        job: Job,
        status: JobStatus,
        *,
        at: datetime,
        counts: Counts,
        logs: Sequence[str],
        phases_ms: dict[str, int],
        change_date: datetime | None = None,
        error_code: str | None = None,
    ) -> bool:
        """RUNNING to DONE or ERROR; False if another worker has taken the job over."""
        change = (
            update(jobs)
            .where(_mine(job.id, job.fence))
            .values(
                status=status,
                finished_at=at,
                modified_at=at,
                last_ping=at,
                lease_until=None,
                counts=dump_counts(counts),
                logs=[*job.logs, *logs],
                phases_ms=phases_ms,
                change_date=change_date,
                error_code=error_code,
            )
        )
        with self._writes.begin() as db:
            return db.execute(change).rowcount == 1

    def release(self, job_id: str, fence: int) -> bool:
        """RUNNING back to QUEUED, for a later claim; False if another worker has taken the job over."""
        change = update(jobs).where(_mine(job_id, fence)).values(status=JobStatus.QUEUED, lease_until=None)
        with self._writes.begin() as db:
            return db.execute(change).rowcount == 1

    def requeue_all(self) -> int:
        """Every RUNNING job back to QUEUED: for the start of the only server there is."""
        change = update(jobs).where(jobs.c.status == JobStatus.RUNNING).values(status=JobStatus.QUEUED)
        with self._writes.begin() as db:
            return db.execute(change).rowcount

    def may_still_run(self, job_id: str) -> bool:
        with self._reads.connect() as db:
            return db.execute(select(jobs.c.id).where(jobs.c.id == job_id, may_still_run)).first() is not None

    def unfinished(self, job_ids: Collection[str]) -> set[str]:
        """Which of these jobs may still need their chunks."""
        query = select(jobs.c.id).where(may_still_run)
        with self._reads.connect() as db:
            return set(db.execute(query).scalars()) & set(job_ids)

    def counts_by_status(self) -> dict[str, int]:
        with self._reads.connect() as db:
            query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
            return {status: count for status, count in db.execute(query)}


def _mine(job_id: str, fence: int) -> Any:
    return and_(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.status == JobStatus.RUNNING)


def _row(job: Job) -> dict[str, Any]:
    return {**vars(job), "spec": dump_spec(job.spec), "logs": list(job.logs)}


def _next_in_queue() -> Any:
    return select(func.coalesce(func.max(jobs.c.queue_number), 0) + 1).scalar_subquery()


def _first_free(db: Connection, at: datetime) -> str | None:
    """First come, first served per table: a job waits for every older one that names one of its tables."""
    busy: set[tuple[str, tuple[str | None, str]]] = set()
    for row in _waiting(db):
        tables = {(row.pool_id, ref.folded) for ref in _targets(row.spec)}
        expired = row.status == JobStatus.RUNNING and row.lease_until is not None and row.lease_until < at
        if (row.status == JobStatus.QUEUED or expired) and not tables & busy and not _unstaged(db, row.id):
            return str(row.id)
        busy |= tables
    return None


def _waiting(db: Connection) -> Sequence[Any]:
    query = (
        select(jobs.c.id, jobs.c.pool_id, jobs.c.spec, jobs.c.status, jobs.c.lease_until)
        .where(jobs.c.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
        .order_by(jobs.c.status.desc(), jobs.c.queue_number)  # RUNNING before QUEUED
        .limit(_LOOKED_AT)
    )
    return db.execute(query).all()


def _unstaged(db: Connection, job_id: str) -> bool:
    query = select(chunks.c.id).where(chunks.c.job_id == job_id, chunks.c.state == ChunkState.RECEIVED)
    return db.execute(query.limit(1)).first() is not None


def _targets(spec: dict[str, Any]) -> tuple[TableRef, ...]:
    names = PushSpec(
        spec["target_name"], mirror_names=tuple(spec["mirror_names"]), connection_id=spec["connection_id"]
    )
    return names.targets


def _job(row: Row[Any]) -> Job:
    fields = {name: value for name, value in row._mapping.items() if name not in _PRIVATE}
    return Job(
        **{
            **fields,
            "spec": read_spec(row.spec),
            "status": JobStatus(row.status),
            "counts": read_counts(row.counts),
            "logs": tuple(row.logs),
        }
    )
