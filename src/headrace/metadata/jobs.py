"""Push jobs and their states.

::

    NEW ──queue──▶ QUEUED ──claim──▶ RUNNING ──finish──▶ DONE | ERROR
                     ▲                  │
                     └─────requeue──────┘   after a crash, or a lost race
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    String,
    and_,
    bindparam,
    cast,
    func,
    insert,
    or_,
    select,
    update,
)

from headrace.errors import Cancelled, KeyReused, Overloaded
from headrace.metadata.claims import claimable, first_free, pools_in_turn
from headrace.metadata.codec import dump_counts, dump_spec, read_counts, read_spec
from headrace.metadata.dialects import alone, hour_of
from headrace.metadata.schema import chunks, jobs, may_still_run
from headrace.metadata.signs import Sign, tell
from headrace.model import Chunk, ChunkState, Counts, Job, JobStatus, PushSpec

# asked many times in the life of a job: built once
_QUEUED = select(func.count()).where(jobs.c.status == JobStatus.QUEUED)
_NEXT_IN_QUEUE = select(func.coalesce(func.max(jobs.c.queue_number), 0) + 1).scalar_subquery()
_ONE = select(jobs).where(jobs.c.id == bindparam("job"), jobs.c.pool_id == bindparam("pool"))
_ADD = insert(jobs)
_MINE = and_(
    jobs.c.id == bindparam("job"), jobs.c.fence == bindparam("held"), jobs.c.status == JobStatus.RUNNING
)
_CHANGE_MINE = update(jobs).where(_MINE)
_ASK_MINE = select(jobs.c.cancel_asked_at).where(_MINE)
_QUEUE = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"), jobs.c.status == JobStatus.NEW, jobs.c.deleted_at.is_(None))
    .values(status=JobStatus.QUEUED, queue_number=_NEXT_IN_QUEUE)
)
_CLAIM = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"), claimable(bindparam("now", type_=jobs.c.started_at.type)))
    .values(
        status=JobStatus.RUNNING,
        fence=jobs.c.fence + 1,
        started_at=func.coalesce(jobs.c.started_at, bindparam("now", type_=jobs.c.started_at.type)),
    )
    .returning(jobs)
)

_TARGET = jobs.c.spec["target_name"].as_string()

_QUEUEING = "queue"
"""Who queues does so alone: queue numbers follow each other, and the queue keeps to its length."""

_ASKED_AT_ONCE = 500

_PRIVATE = ("queue_number", "worker", "lease_until")


@dataclass(frozen=True)
class JobFilter:
    """None: whatever it is. ``table``: a part of its name; ``created_by``: the id of a key."""

    status: JobStatus | None = None
    table: str | None = None
    created_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


ALL_JOBS = JobFilter()


@dataclass(frozen=True)
class Counted:
    """So many jobs that are alike; ``hour`` in which they were created."""

    hour: datetime
    status: JobStatus
    tables: tuple[str, ...]
    jobs: int


@dataclass(frozen=True)
class Waiting:
    """Jobs that have not ended, by their state, and when the one was executed that has queued longest."""

    jobs: Mapping[JobStatus, int]
    queued_since: datetime | None


class Jobs:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    # -- one job ---------------------------------------------------------------------------------------

    def add(self, job: Job) -> Job:
        """Record a new job; one that came before under its idempotency key is answered. Raises KeyReused."""
        with self._writes.begin() as db:
            if job.idempotency_key:
                alone(db, "jobs", job.pool_id, job.idempotency_key)
            if known := _known(db, job):
                return known
            db.execute(_ADD, _row(job))
            return job

    def add_replay(self, of: Job, job: Job, sent: Sequence[Chunk], *, most: int | None = None) -> bool:
        """The QUEUED ``job`` with its chunks, if the rejects of ``of`` are free; False if they are not.

        They are free until a job has them, and again when that has ended in ERROR or was undone. All of it
        is one transaction: there is never a claim without its job, nor a job without all of its chunks.
        Raises Overloaded when ``most`` wait already.
        """
        holder = jobs.alias()
        vain = or_(holder.c.status == JobStatus.ERROR, holder.c.undone_at.is_not(None))
        failed = select(holder.c.id).where(vain)
        free = or_(jobs.c.replayed_by.is_(None), jobs.c.replayed_by.in_(failed))
        here = and_(jobs.c.undone_at.is_(None), jobs.c.undo_began_at.is_(None), free)
        claim = update(jobs).where(jobs.c.id == of.id, jobs.c.deleted_at.is_(None), here)
        return self._add_queued(claim.values(replayed_by=job.id), job, sent, most)

    def add_retry(
        self, of: Job, job: Job, sent: Sequence[Chunk], at: datetime, *, most: int | None = None
    ) -> bool:
        """The QUEUED ``job``, which takes over the chunks of the failed one; False if those are gone.

        As one transaction, as above. Raises Overloaded.
        """
        claim = update(jobs).where(jobs.c.id == of.id, _kept_at(at), jobs.c.deleted_at.is_(None))
        return self._add_queued(claim.values(retried_by=job.id, chunks_until=None), job, sent, most)

    def _add_queued(self, claim: Any, job: Job, sent: Sequence[Chunk], most: int | None) -> bool:
        with self._writes.begin() as db:
            alone(db, _QUEUEING)
            if db.execute(claim).rowcount != 1:
                return False
            db.execute(insert(jobs).values(**_row(job), queue_number=_NEXT_IN_QUEUE))
            if most is not None:
                _refuse_beyond(db, most)
            if sent:
                db.execute(insert(chunks), [vars(chunk) for chunk in sent])
            tell(db, Sign.CHUNK if sent else Sign.JOB, job.id)
            return True

    def get(self, pool_id: str, job_id: str) -> Job | None:
        """The job, deleted or not."""
        with self._reads.connect() as db:
            row = db.execute(_ONE, {"job": job_id, "pool": pool_id}).one_or_none()
        return _job(row) if row else None

    def some(self, pool_id: str, job_ids: Collection[str]) -> dict[str, Job]:
        """Those of these jobs that are known, deleted or not."""
        with self._reads.connect() as db:
            rows = db.execute(select(jobs).where(jobs.c.pool_id == pool_id, jobs.c.id.in_(job_ids)))
            return {row.id: _job(row) for row in rows}

    def list(self, pool_id: str) -> Sequence[Job]:
        """The jobs of a pool that were not deleted, oldest first."""
        query = select(jobs).where(jobs.c.pool_id == pool_id, jobs.c.deleted_at.is_(None))
        with self._reads.connect() as db:
            return [_job(row) for row in db.execute(query.order_by(jobs.c.created_at, jobs.c.id))]

    def ledger(self, pool_id: str, *, limit: int, offset: int, wanted: JobFilter = ALL_JOBS) -> Sequence[Job]:
        """All jobs of a pool ever, newest first."""
        query = _matching(wanted).where(jobs.c.pool_id == pool_id)
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id)
        with self._reads.connect() as db:
            return [_job(row) for row in db.execute(query.limit(limit).offset(offset))]

    def delete(self, pool_id: str, job_id: str, at: datetime) -> JobStatus | None:
        """Hide the job from clients; the ledger keeps it. Answers the status it had, None: no such job."""
        here = and_(jobs.c.id == job_id, jobs.c.pool_id == pool_id, jobs.c.deleted_at.is_(None))
        with self._writes.begin() as db:
            status = db.execute(select(jobs.c.status).where(here).with_for_update()).scalar_one_or_none()
            if status is None:
                return None
            db.execute(
                update(jobs).where(here).values(deleted_at=at, idempotency_key=None, chunks_until=None)
            )
            if status == JobStatus.QUEUED:
                logs = ["The job was deleted before it ran."]
                change = {"status": JobStatus.ERROR, "error_code": "deleted", "finished_at": at, "logs": logs}
                db.execute(update(jobs).where(jobs.c.id == job_id).values(change))
            return JobStatus(status)

    # -- states ----------------------------------------------------------------------------------------

    def queue(
        self,
        job_id: str,
        order_column: str | None,
        at: datetime,
        *,
        key: str | None = None,
        most: int | None = None,
    ) -> bool:
        """NEW to QUEUED, under the client's idempotency key; False if it is no longer NEW.

        Raises Overloaded when ``most`` wait already.
        """
        change = {"order_column": order_column, "execute_key": key, "queued_at": at, "modified_at": at}
        with self._writes.begin() as db:
            alone(db, _QUEUEING)
            queued = db.execute(_QUEUE, {"job": job_id, **change}).rowcount == 1
            if queued and most is not None:
                _refuse_beyond(db, most)
            tell(db, Sign.JOB, job_id)
            return queued

    def respecify(self, job: Job, spec: PushSpec, at: datetime) -> bool:
        """Another spec for a NEW job, whose chunks then wait to be staged again; False if it has changed."""
        new = and_(jobs.c.id == job.id, jobs.c.status == JobStatus.NEW, jobs.c.deleted_at.is_(None))
        received = {"state": ChunkState.RECEIVED, "report": None, "problem": None, "staging_ms": None}
        with self._writes.begin() as db:
            known = db.execute(select(jobs.c.spec).where(new).with_for_update()).scalar_one_or_none()
            if known is None or read_spec(known) != job.spec:
                return False
            db.execute(update(jobs).where(new).values(spec=dump_spec(spec), modified_at=at))
            db.execute(update(chunks).where(chunks.c.job_id == job.id).values(received))
            tell(db, Sign.CHUNK, job.id)
        return True

    def claim(self, worker: str, at: datetime, lease: timedelta) -> Job | None:
        """The oldest queued job of the pool whose turn it is: staged, its tables wanted by nobody older."""
        with self._reads.connect() as db:
            pools = pools_in_turn(db, at)
        for pool_id in pools:
            if job := self._claim_of(pool_id, worker, at, lease):
                return job
        return None

    def _claim_of(self, pool_id: str, worker: str, at: datetime, lease: timedelta) -> Job | None:
        with self._reads.connect() as db:
            if first_free(db, pool_id, at) is None:
                return None  # without taking the lock that every writer needs
        with self._writes.begin() as db:
            alone(db, "claims", pool_id)
            job_id = first_free(db, pool_id, at)
            if job_id is None:
                return None
            signs = {"worker": worker, "lease_until": at + lease, "last_ping": at, "modified_at": at}
            row = db.execute(_CLAIM, {"job": job_id, "now": at, **signs}).one_or_none()
            tell(db, Sign.JOB, job_id)
            return _job(row) if row else None  # it was called off meanwhile

    def heartbeat(self, fences: Iterable[tuple[str, int]], at: datetime, lease: timedelta) -> None:
        """A sign of life of running jobs, given with their fencing numbers."""
        with self._writes.begin() as db:
            for job_id, fence in sorted(fences):  # who locks several rows does so in their order
                signs = {"last_ping": at, "lease_until": at + lease}
                db.execute(_CHANGE_MINE, {"job": job_id, "held": fence, **signs})

    def check_mine(self, job_id: str, fence: int) -> bool:
        """False if another worker has the job now. Raises Cancelled if a client called it off."""
        with self._reads.connect() as db:
            row = db.execute(_ASK_MINE, {"job": job_id, "held": fence}).first()
        if row and row.cancel_asked_at is not None:
            raise Cancelled
        return row is not None

    def cancel(self, job_id: str, at: datetime, chunks_until: datetime | None) -> None:
        """QUEUED to ERROR; of a RUNNING job it is noted, and its worker ends it before the commit."""
        asked = and_(jobs.c.id == job_id, jobs.c.deleted_at.is_(None))
        queued, running = jobs.c.status == JobStatus.QUEUED, jobs.c.status == JobStatus.RUNNING
        with self._writes.begin() as db:
            unclaimed = select(jobs.c.logs).where(asked, queued, jobs.c.fence == 0)
            logs = db.execute(unclaimed.with_for_update()).scalar_one_or_none()
            if logs is None:  # one that was claimed before may be committed
                waits = or_(queued, running)
                db.execute(update(jobs).where(asked, waits).values(cancel_asked_at=at, modified_at=at))
                return
            ended = {
                "status": JobStatus.ERROR,
                "error_code": Cancelled.code,
                "cancel_asked_at": at,
                "finished_at": at,
                "modified_at": at,
                "chunks_until": chunks_until,
                "logs": [*logs, "The job was cancelled before it ran."],
            }
            db.execute(update(jobs).where(asked).values(ended))
            tell(db, Sign.JOB, job_id)

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
        chunks_until: datetime | None = None,
    ) -> bool:
        """RUNNING to DONE or ERROR; False if another worker has taken the job over."""
        change = {
            "status": status,
            "finished_at": at,
            "modified_at": at,
            "last_ping": at,
            "lease_until": None,
            "counts": dump_counts(counts),
            "logs": [*job.logs, *logs],
            "phases_ms": phases_ms,
            "change_date": change_date,
            "error_code": error_code,
            "chunks_until": chunks_until,
        }
        with self._writes.begin() as db:
            tell(db, Sign.JOB, job.id)
            return db.execute(_CHANGE_MINE, {"job": job.id, "held": job.fence, **change}).rowcount == 1

    def release(self, job_id: str, fence: int) -> bool:
        """RUNNING back to QUEUED, for a later claim; False if another worker has taken the job over."""
        back = {"status": JobStatus.QUEUED, "lease_until": None}
        with self._writes.begin() as db:
            return db.execute(_CHANGE_MINE, {"job": job_id, "held": fence, **back}).rowcount == 1

    def requeue_all(self) -> int:
        """Every RUNNING job back to QUEUED: for the start of the only server there is."""
        change = update(jobs).where(jobs.c.status == JobStatus.RUNNING).values(status=JobStatus.QUEUED)
        with self._writes.begin() as db:
            return db.execute(change).rowcount

    def queued(self) -> int:
        """How many jobs wait in the queue of the whole installation."""
        with self._reads.connect() as db:
            return db.execute(_QUEUED).scalar_one()

    def waiting(self) -> Waiting:
        """Of the whole installation; those that clients have deleted do not count."""
        by_status = select(jobs.c.status, func.count()).where(may_still_run).group_by(jobs.c.status)
        oldest = select(func.min(jobs.c.queued_at)).where(jobs.c.status == JobStatus.QUEUED)
        with self._reads.connect() as db:
            counts = {JobStatus(status): count for status, count in db.execute(by_status)}
            return Waiting(counts, db.execute(oldest).scalar_one())

    def unfinished(self, job_ids: Collection[str]) -> set[str]:
        """Which of these jobs may still need their chunks for themselves."""
        return self._among(job_ids, may_still_run)

    def retryable(self, job_ids: Collection[str], at: datetime) -> set[str]:
        """Which of these jobs have failed and keep their chunks for a retry."""
        return self._among(job_ids, _kept_at(at))

    def past_retrying(self, job_ids: Collection[str], at: datetime) -> set[str]:
        """Which of these jobs have ended and do not keep their chunks any more."""
        ended = jobs.c.status.in_((JobStatus.DONE, JobStatus.ERROR))
        return self._among(
            job_ids, and_(ended, or_(jobs.c.chunks_until.is_(None), jobs.c.chunks_until <= at))
        )

    def _among(self, job_ids: Collection[str], condition: Any) -> set[str]:
        asked, found = list(job_ids), set[str]()
        with self._reads.connect() as db:
            for start in range(0, len(asked), _ASKED_AT_ONCE):
                some = jobs.c.id.in_(asked[start : start + _ASKED_AT_ONCE])
                found.update(db.execute(select(jobs.c.id).where(some, condition)).scalars())
        return found

    def counted(
        self, pool_ids: Collection[str] | None, since: datetime | None, *, by_tables: bool
    ) -> Iterator[Counted]:
        """Jobs of these pools (None: of all) that were created ``since``, or, without it, have not ended.

        ``by_tables``: those that write to the same tables apart; else the tables are not told.
        """
        alike = [hour_of(jobs.c.created_at).label("hour"), jobs.c.status]
        if by_tables:
            alike += [_TARGET.label("target"), cast(jobs.c.spec["mirror_names"], String).label("mirrors")]
        query = select(func.count(), *alike).where(
            jobs.c.created_at >= since if since else jobs.c.status.not_in((JobStatus.DONE, JobStatus.ERROR)),
            *([] if since else [jobs.c.deleted_at.is_(None)]),
            *([] if pool_ids is None else [jobs.c.pool_id.in_(pool_ids)]),
        )
        with self._reads.connect() as db:
            found = db.execute(query.group_by(*(column.name for column in alike))).all()
        for count, begins, status, *tables in found:
            at = datetime.strptime(begins, "%Y-%m-%d %H").replace(tzinfo=UTC)
            yield Counted(at, JobStatus(status), _named(*tables), count)

    def counts_by_status(self) -> dict[str, int]:
        with self._reads.connect() as db:
            query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
            return {status: count for status, count in db.execute(query)}


def _named(target: str | None = None, mirrors: str = "[]") -> tuple[str, ...]:
    return (target, *json.loads(mirrors)) if target else ()


def _kept_at(at: datetime) -> Any:
    return and_(jobs.c.status == JobStatus.ERROR, jobs.c.chunks_until > at)


def _matching(wanted: JobFilter) -> Select[Any]:
    query = select(jobs)
    if wanted.status:
        query = query.where(jobs.c.status == wanted.status)
    if wanted.table:
        query = query.where(func.lower(_TARGET).contains(wanted.table.lower(), autoescape=True))
    if wanted.created_by:
        query = query.where(jobs.c.created_by == wanted.created_by)
    if wanted.since:
        query = query.where(jobs.c.created_at >= wanted.since)
    return query.where(jobs.c.created_at < wanted.until) if wanted.until else query


def _row(job: Job) -> dict[str, Any]:
    return {**vars(job), "spec": dump_spec(job.spec), "logs": list(job.logs)}


def _refuse_beyond(db: Connection, most: int) -> None:
    """Within the transaction that queued one more, which the error takes back."""
    if db.execute(_QUEUED).scalar_one() > most:
        raise Overloaded(f"{most} jobs wait already; try again in a moment.")


def _known(db: Connection, job: Job) -> Job | None:
    """The job that was created under the same key before."""
    same_key = (jobs.c.pool_id == job.pool_id) & (jobs.c.idempotency_key == job.idempotency_key)
    row = db.execute(select(jobs).where(same_key)).one_or_none() if job.idempotency_key else None
    if row and read_spec(row.spec) != job.spec:
        raise KeyReused
    return _job(row) if row else None


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
