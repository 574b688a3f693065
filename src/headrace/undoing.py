"""Taking back what a job did to its tables.

First the job is marked, so that nothing else begins to write to its tables; then the lake does it, with a
receipt in the same snapshot; then the job says so. A crash before the commit leaves nothing, one after it is
completed by the next start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from headrace.crashpoints import crash_point
from headrace.errors import NotFound, NotUndoable
from headrace.locks import Locks
from headrace.metadata import Metadata
from headrace.model import Job, JobStatus, Undoing, UndoneTable, now
from headrace.observing import Observe, Undone, unheard
from headrace.tables import TableEngine

log = structlog.get_logger()


@dataclass(frozen=True)
class Undos:
    metadata: Metadata
    tables: TableEngine
    locks: Locks
    observe: Observe = unheard

    def undo(self, pool_id: str, job_id: str, key: str | None = None) -> Undoing:
        """The job's tables become what they were before it. Raises NotUndoable.

        The same request sent again under its idempotency key is answered by what was done.
        """
        job = self._job(pool_id, job_id)
        if key and job.undone_at and job.undo_key == key and (done := self.tables.undoing(pool_id, job_id)):
            return done
        _refuse(job)
        with self._held(job_id) as mine:
            if not mine:
                raise NotUndoable(f"The job {job_id} is being undone.")
            self.metadata.undoings.begin(job, key, now())
            crash_point("claimed")
            return self._undone(job)

    def _undone(self, job: Job) -> Undoing:
        try:
            undoing = self.tables.undo(job.pool_id, job.id, job.spec.targets)
        except Exception:
            self._settle(job.pool_id, job.id)  # an error does not prove that nothing was committed
            raise
        self._finish(undoing)
        self.observe(Undone(job.pool_id, job.id))
        return undoing

    def preview(self, pool_id: str, job_id: str) -> Undoing:
        """What ``undo`` would do now. Raises what it raises, and Busy."""
        job = self._job(pool_id, job_id)
        _refuse(job)
        return self.tables.preview_undo(pool_id, job_id, job.spec.targets)

    def recover(self) -> None:
        """What a crash interrupted was done, as the lake knows, or was not. Nobody may be at it still."""
        for pool_id, job_id in self.metadata.undoings.under_way():
            try:
                with self._held(job_id) as mine:
                    if mine:
                        self._settle(pool_id, job_id)
            except Exception:  # its tables wait for the next time; the others go on
                log.exception("an interrupted undo could not be looked up", job=job_id)

    @contextmanager
    def _held(self, job_id: str) -> Iterator[bool]:
        held = self.locks.take("undo", job_id)
        try:
            yield held is not None
        finally:
            if held:
                held.release()

    def _settle(self, pool_id: str, job_id: str) -> None:
        if undoing := self.tables.undoing(pool_id, job_id):
            self._finish(undoing)
        else:
            self.metadata.undoings.give_up(job_id)

    def _finish(self, undoing: Undoing) -> None:
        self.metadata.undoings.finish(
            undoing.job_id, undoing.at, list(map(_line, undoing.tables)) or [_NOTHING]
        )
        crash_point("finished")

    def _job(self, pool_id: str, job_id: str) -> Job:
        """Also one that a client has deleted: what it loaded is there."""
        job = self.metadata.jobs.get(pool_id, job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        return job


def _refuse(job: Job) -> None:
    if job.status is not JobStatus.DONE:
        raise NotUndoable(f"The job {job.id} is {job.status}: only a job that is DONE can be undone.")
    if job.undone_at:
        raise NotUndoable(f"The job {job.id} was undone already, at {job.undone_at.isoformat()}.")


_NOTHING = "Undone; there was nothing to take back."


def _line(table: UndoneTable) -> str:
    name = table.ref.name
    if table.dropped:
        return f"Undone: the table {name} is gone, with its {table.removed} rows; this job had made it."
    return (
        f"Undone: {table.removed} rows of {name} are gone, {table.restored} are back; "
        f"it has {table.rows} rows, as before this job."
    )
