"""Jobs that are being undone: meanwhile nothing else may write to their tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine, and_, select, update

from headrace.errors import NotUndoable
from headrace.metadata.claims import targets_of
from headrace.metadata.dialects import alone
from headrace.metadata.schema import EPOCH, jobs
from headrace.model import Job, JobStatus

_UNDER_WAY = and_(jobs.c.undo_began_at > EPOCH, jobs.c.undone_at.is_(None))


class Undoings:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def begin(self, job: Job, key: str | None, at: datetime) -> None:
        """From now on no load of its tables is begun. Raises NotUndoable, also while one is under way."""
        free = and_(
            jobs.c.id == job.id,
            jobs.c.status == JobStatus.DONE,
            jobs.c.undone_at.is_(None),
            jobs.c.undo_began_at.is_(None),
        )
        with self._writes.begin() as db:
            alone(db, "claims", job.pool_id)
            if loading := _at_work(db, job):
                raise NotUndoable(
                    f"The job {loading} is writing to a table of the job {job.id}; wait for it."
                )
            if db.execute(update(jobs).where(free).values(undo_began_at=at, undo_key=key)).rowcount != 1:
                raise NotUndoable(f"The job {job.id} is being undone, or was a moment ago.")

    def finish(self, job_id: str, at: datetime, lines: Sequence[str]) -> bool:
        """It is undone; False if somebody has said so already."""
        here = and_(jobs.c.id == job_id, _UNDER_WAY)
        with self._writes.begin() as db:
            logs = db.execute(select(jobs.c.logs).where(here).with_for_update()).scalar_one_or_none()
            if logs is None:
                return False
            done = {"undone_at": at, "undo_began_at": None, "modified_at": at, "logs": [*logs, *lines]}
            return db.execute(update(jobs).where(here).values(done)).rowcount == 1

    def give_up(self, job_id: str) -> None:
        """It is not undone; its tables are free again."""
        change = update(jobs).where(jobs.c.id == job_id, _UNDER_WAY)
        with self._writes.begin() as db:
            db.execute(change.values(undo_began_at=None, undo_key=None))

    def under_way(self) -> Sequence[tuple[str, str]]:
        """Pool and job of all that a crash may have interrupted."""
        with self._reads.connect() as db:
            query = select(jobs.c.pool_id, jobs.c.id).where(_UNDER_WAY)
            return [(row.pool_id, row.id) for row in db.execute(query)]


def _at_work(db: Connection, job: Job) -> str | None:
    """A job that writes to one of the tables now, or is being undone."""
    wanted = {ref.folded for ref in job.spec.targets}
    for busy in (jobs.c.status == JobStatus.RUNNING, _UNDER_WAY):
        here = select(jobs.c.id, jobs.c.spec).where(busy, jobs.c.pool_id == job.pool_id, jobs.c.id != job.id)
        for row in db.execute(here):
            if wanted & {ref.folded for ref in targets_of(row.spec)}:
                return str(row.id)
    return None
