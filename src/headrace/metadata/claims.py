"""Which queued job is next: pools take turns, and within a pool it is first come, first served per table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, or_, select

from headrace.metadata.schema import EPOCH, chunks, jobs
from headrace.model import ChunkState, JobStatus, PushSpec, TableRef

_LOOKED_AT = 500
"""A claim looks at so many jobs of a pool at the most: whoever waits behind them moves up as they end."""


def _turns(waiting: Any) -> Select[Any]:
    """Pools that have such a job: when they were served last, and the lowest number in their queue."""
    served = jobs.alias("served")
    last_turn = (
        select(served.c.last_ping)
        .where(served.c.pool_id == jobs.c.pool_id, served.c.last_ping.is_not(None))
        .order_by(served.c.last_ping.desc())
        .limit(1)
        .scalar_subquery()
    )
    turns = select(jobs.c.pool_id, last_turn, func.min(jobs.c.queue_number))
    return turns.where(waiting).group_by(jobs.c.pool_id)


_UNSTAGED = (
    select(chunks.c.id)
    .where(chunks.c.job_id == jobs.c.id, chunks.c.state == ChunkState.RECEIVED)
    .exists()
    .label("unstaged")
)


def claimable(at: Any) -> ColumnElement[bool]:
    """A job that waits, or whose worker has given no sign of life for so long that it is taken over."""
    expired = and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_until < at)
    return or_(jobs.c.status == JobStatus.QUEUED, expired)


# asked with every sign that there may be something to load: built once
_EXPIRED_TURNS = _turns(and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_until < bindparam("at")))
_QUEUED_TURNS = _turns(jobs.c.status == JobStatus.QUEUED)
_BEING_UNDONE = select(jobs.c.pool_id, jobs.c.spec).where(jobs.c.undo_began_at > EPOCH)
_WAITING = (
    select(jobs.c.id, jobs.c.spec, jobs.c.status, jobs.c.lease_until, _UNSTAGED)
    .where(jobs.c.status == bindparam("status"), jobs.c.pool_id == bindparam("pool"))
    .order_by(jobs.c.queue_number)
    .limit(_LOOKED_AT)
)


def pools_in_turn(db: Connection, at: datetime) -> Sequence[str]:
    """Pools that have a job to claim; the one that was served longest ago comes first."""
    turns: dict[str, tuple[str, int]] = {}
    for waiting in (_EXPIRED_TURNS, _QUEUED_TURNS):
        for pool_id, last, first in db.execute(waiting, {"at": at}):
            turns.setdefault(pool_id, (last.isoformat() if last else "", first or 0))
    return sorted(turns, key=turns.__getitem__)


def first_free(db: Connection, pool_id: str, at: datetime) -> str | None:
    """The oldest staged job of the pool whose tables no older one names, nor one that is being undone."""
    busy = _being_undone(db, pool_id)
    for row in _waiting(db, pool_id):
        tables = {ref.folded for ref in targets_of(row.spec)}
        expired = row.status == JobStatus.RUNNING and row.lease_until is not None and row.lease_until < at
        if (row.status == JobStatus.QUEUED or expired) and not tables & busy and not row.unstaged:
            return str(row.id)
        busy |= tables
    return None


def _being_undone(db: Connection, pool_id: str) -> set[tuple[str | None, str]]:
    # asked for the pool, too, the database would walk through all jobs that it ever had
    specs = [row.spec for row in db.execute(_BEING_UNDONE) if row.pool_id == pool_id]
    return {ref.folded for spec in specs for ref in targets_of(spec)}


def _waiting(db: Connection, pool_id: str) -> Iterator[Any]:
    """RUNNING jobs before QUEUED ones, each in the order in which they were executed."""
    for status in (JobStatus.RUNNING, JobStatus.QUEUED):
        yield from db.execute(_WAITING, {"status": status, "pool": pool_id})


def targets_of(spec: dict[str, Any]) -> tuple[TableRef, ...]:
    names = PushSpec(
        spec["target_name"], mirror_names=tuple(spec["mirror_names"]), connection_id=spec["connection_id"]
    )
    return names.targets
