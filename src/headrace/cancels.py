"""Calling off a job that was executed and has not been committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from headrace.errors import Cancelled, NotCancellable
from headrace.model import Job, JobStatus, now
from headrace.pushes import Pushes


class CleanUp(Protocol):
    def __call__(self, job: Job, *, keep_chunks: bool) -> None: ...


@dataclass(frozen=True)
class Cancels:
    """``await_ended`` waits so many seconds for the end of a job of a pool."""

    pushes: Pushes
    keep_failed: timedelta
    clean_up: CleanUp
    await_ended: Callable[[Job, float], Job]
    seconds: float = 10.0

    def cancel(self, pool_id: str, job_id: str) -> Job:
        """A QUEUED job ends in ERROR at once, a RUNNING one before its commit.

        The job that is answered is RUNNING still if that takes longer than we wait. Raises NotCancellable
        when the job has never been executed, or was committed first.
        """
        before = self.pushes.get(pool_id, job_id)
        _refuse(before)
        until = now() + self.keep_failed if self.keep_failed else None
        self.pushes.metadata.jobs.cancel(job_id, now(), until)
        job = self.pushes.get(pool_id, job_id)
        if job.status is JobStatus.ERROR:
            self.clean_up(job, keep_chunks=until is not None)
        job = self.await_ended(job, self.seconds)
        _refuse(job)
        return job


def _refuse(job: Job) -> None:
    """One that was cancelled before is as the client wants it."""
    if job.status in (JobStatus.QUEUED, JobStatus.RUNNING) or job.error_code == Cancelled.code:
        return
    raise NotCancellable(f"The job {job.id} is {job.status}: only a job that waits or runs can be cancelled.")
