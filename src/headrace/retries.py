"""Running a failed job again, with other options if need be: a new job takes over its raw chunks.

Files first, rows second: the chunks get a second name, then the claim on them, the new job and all of its
chunks appear in one transaction, the job being QUEUED already. A crash before it leaves names that nobody
knows, and the next start sweeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from headrace.chunks import ChunkStore
from headrace.crashpoints import crash_point
from headrace.errors import NotRetryable
from headrace.metadata import Metadata
from headrace.model import (
    NO_LABEL,
    Chunk,
    ChunkState,
    ChunkType,
    CsvOptions,
    Job,
    JobStatus,
    Key,
    Label,
    PushSpec,
    now,
)
from headrace.pushes import Pushes, follow_up, not_honoured, refuse_delete, refuse_without_keys
from headrace.staging import Stager

Change = Callable[[PushSpec], PushSpec]
"""What becomes of a request."""


@dataclass(frozen=True)
class Retries:
    metadata: Metadata
    chunks: ChunkStore
    stager: Stager
    pushes: Pushes
    on_chunk: Callable[[Chunk], None]

    def clone(self, pool_id: str, job_id: str, change: Change, by: Key) -> Job:
        """A NEW job that asks for the same, but for the change; it has no chunks. Raises InvalidRequest."""
        of = self.pushes.ledger_entry(pool_id, job_id)
        return self.pushes.create(pool_id, change(of.spec), by)

    def retry(self, pool_id: str, job_id: str, change: Change, by: Key) -> Job:
        """A new job, QUEUED, with the chunks of one that ended in ERROR.

        Raises NotRetryable, and InvalidRequest or ChunkUnreadable where the change does not fit.
        """
        of = self.pushes.get(pool_id, job_id)
        _refuse(of)
        spec = change(of.spec)
        self.pushes.admit(pool_id, spec, by)
        job = follow_up(of, spec, by)
        try:
            taken = list(self._taken_over(of, job, None if spec.file_type is of.spec.file_type else NO_LABEL))
            crash_point("kept")
            self.pushes.quotas.submit()
            most = self.pushes.quotas.queued_jobs
            job = job.with_logs(f"Runs the job {of.id} again.", *not_honoured(spec))
            if not self.metadata.jobs.add_retry(of, job, taken, now(), most=most):
                _refuse(self.pushes.get(pool_id, job_id))
                raise _gone(of)
        except FileNotFoundError as error:  # they were swept, or another retry was quicker
            self.chunks.drop(job.id)
            _refuse(self.pushes.get(pool_id, job_id))
            raise _gone(of) from error
        except BaseException:
            self.chunks.drop(job.id)
            raise
        crash_point("queued")
        self.chunks.drop(of.id)
        for chunk in taken:
            self.on_chunk(chunk)
        self.pushes.on_queue()
        return job

    def _taken_over(self, of: Job, job: Job, label: Label | None) -> Iterator[Chunk]:
        """The chunks as those of the new job, looked at with its options."""
        for old in self.metadata.chunks.list(of.id):
            if old.type is ChunkType.DELETE:
                refuse_delete(job.spec)
            chunk = _as_received(old, job)
            self.chunks.take_over(old, chunk)
            with self.chunks.reading(job.id, chunk.id) as path:
                seen = self.stager.look(path, job.spec, label or Label(old.file_type))
            refuse_without_keys(job.spec, seen.file_type, seen.columns)
            yield replace(chunk, file_type=seen.file_type)


def as_it_was(spec: PushSpec) -> PushSpec:
    return spec


def changing(said: Mapping[str, Any]) -> Change:
    """By fields of a PushSpec; of ``csv`` only what is said changes."""
    return partial(changed, changes=said)


def changed(spec: PushSpec, changes: Mapping[str, Any]) -> PushSpec:
    """Corrected columns that mark no keys do not take the keys away."""
    said = dict(changes)
    if csv := said.get("csv"):
        said["csv"] = (spec.csv or CsvOptions()).corrected(csv)
    if "columns" in said and not any(c.primary_key for c in said["columns"]):
        said.setdefault("keys", spec.key_columns)
    return replace(spec, **said)


def retryable(job: Job) -> bool:
    """Whether the job has chunks that a retry would take."""
    kept = job.chunks_until is not None and job.chunks_until > now()
    return job.status is JobStatus.ERROR and kept and not job.retried_by and job.deleted_at is None


def _refuse(job: Job) -> None:
    if job.retried_by:
        raise NotRetryable(
            f"The job {job.id} was run again already: the job {job.retried_by} has its chunks."
        )
    if job.status is not JobStatus.ERROR:
        raise NotRetryable(f"The job {job.id} is {job.status}: only a job in ERROR can be run again.")
    if job.chunks_until is None or job.chunks_until <= now():
        raise _gone(job)


def _gone(job: Job) -> NotRetryable:
    return NotRetryable(
        f"The chunks of the job {job.id} are no longer kept: clone it, and push them anew.",
        hint="failed jobs keep their chunks for keep_failed_hours",
    )


def _as_received(chunk: Chunk, job: Job) -> Chunk:
    return replace(
        chunk,
        id=str(uuid4()),
        job_id=job.id,
        received_at=now(),
        state=ChunkState.RECEIVED,
        report=None,
        problem=None,
        staging_ms=None,
        idempotency_key=None,
    )
