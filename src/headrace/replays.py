"""Sending the rejects of a job again, once: a job of its own, made from the rows that were kept.

The rows are written anew as CSV in our own dialect, a chunk for each chunk that had any, in their order.
Files first, rows second: the claim on the rejects, the new job and all of its chunks appear in one
transaction, the job being QUEUED already. A crash before it leaves files that nobody knows, and the next
start sweeps them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from uuid import uuid4

from headrace.chunks import ChunkStore
from headrace.crashpoints import crash_point
from headrace.errors import NotReplayable
from headrace.metadata import Metadata
from headrace.model import (
    Chunk,
    CsvOptions,
    DeclaredColumn,
    FileType,
    Job,
    JobStatus,
    JobType,
    Key,
    PushSpec,
    now,
)
from headrace.pushes import Pushes, check, follow_up, not_honoured
from headrace.rejectfiles import RejectFiles
from headrace.replayrows import Rows

_SHOWN_LEFT = 10


@dataclass(frozen=True)
class Corrections:
    """What a client corrects; None and empty: as in the job that is replayed. Bad rows are allowed anew.

    ``leave``: rows that can't be read even so are left, not the whole replay refused.
    """

    columns: tuple[DeclaredColumn, ...] = ()
    csv: CsvOptions | None = None
    max_rejected_rows: int | None = None
    max_rejected_share: float | None = None
    leave: bool = False


@dataclass(frozen=True)
class Left:
    """A row that cannot be sent again."""

    chunk: Chunk
    line: int
    reason: str

    @property
    def told(self) -> str:
        return f"chunk {self.chunk.number}, line {self.line}: {self.reason}"


@dataclass
class Gathered:
    """The new chunks, and the rows that did not get into any."""

    chunks: list[Chunk] = field(default_factory=list)
    rows: int = 0
    left: list[Left] = field(default_factory=list)


@dataclass(frozen=True)
class Replays:
    metadata: Metadata
    chunks: ChunkStore
    rejects: RejectFiles
    pushes: Pushes
    max_chunk_bytes: int
    on_chunk: Callable[[Chunk], None]

    def replay(self, pool_id: str, job_id: str, corrections: Corrections, by: Key) -> Job:
        """A new job, QUEUED, with the rejects of one that is DONE. Raises NotReplayable, InvalidRequest."""
        of = self.pushes.get(pool_id, job_id)
        _refuse(of)
        self._refuse_again(of)
        csv = (of.spec.csv or CsvOptions()).corrected(corrections.csv)
        spec = corrected(of.spec, corrections, csv)
        check(replace(spec, csv=csv))
        job = follow_up(of, spec, by)
        try:
            gathered = self._gather(of, job, csv)
            _refuse_rows(gathered, corrections)
            self.pushes.quotas.admit_all(job, sum(chunk.bytes for chunk in gathered.chunks))
            crash_point("kept")
            self.pushes.quotas.submit()
            most = self.pushes.quotas.queued_jobs
            job = job.with_logs(*_logs(of, gathered), *not_honoured(spec))
            if not self.metadata.jobs.add_replay(of, job, gathered.chunks, most=most):
                raise _taken(self.pushes.get(pool_id, job_id))
        except BaseException:
            self.chunks.drop(job.id)
            raise
        crash_point("queued")
        for chunk in gathered.chunks:
            self.on_chunk(chunk)
        self.pushes.on_queue()
        return job

    def _gather(self, of: Job, job: Job, csv: CsvOptions) -> Gathered:
        gathered = Gathered()
        for chunk in self.metadata.chunks.list(of.id):
            if chunk.report and chunk.report.rejected:
                self._rewrite(chunk, job, Rows(chunk, csv), gathered)
        return gathered

    def _rewrite(self, chunk: Chunk, job: Job, rows: Rows, gathered: Gathered) -> None:
        """The rejects of a chunk as new ones of the same type: one, unless it grew too large."""
        writer = ChunkWriter(self.chunks, job, chunk, rows.header)
        try:
            for line in self._lines(chunk, rows, gathered):
                if not writer.has_room(len(line), self.max_chunk_bytes):
                    gathered.chunks.append(writer.keep(len(gathered.chunks) + 1))
                    writer = ChunkWriter(self.chunks, job, chunk, rows.header)
                writer.write(line)
                writer.rows += 1
            if writer.rows:
                gathered.chunks.append(writer.keep(len(gathered.chunks) + 1))
        finally:
            writer.discard_unless_kept()

    def _lines(self, chunk: Chunk, rows: Rows, gathered: Gathered) -> Iterator[bytes]:
        for reject in self.rejects.of(chunk):
            try:
                lines = rows.lines(reject)
            except ValueError as error:
                gathered.left.append(Left(chunk, reject.line, str(error)))
                continue
            gathered.rows += len(lines)
            yield from lines

    def _refuse_again(self, of: Job) -> None:
        """Only to save the work: the claim decides."""
        holder = self.metadata.jobs.get(of.pool_id, of.replayed_by) if of.replayed_by else None
        if holder and holder.status is not JobStatus.ERROR and not holder.undone_at:
            raise _taken(of)


def _taken(of: Job) -> NotReplayable:
    return NotReplayable(
        f"The rejects of the job {of.id} were replayed already, by the job {of.replayed_by}."
    )


def _refuse(job: Job) -> None:
    if job.status is JobStatus.ERROR:
        raise NotReplayable(
            f"The job {job.id} ended in ERROR: none of its rows was loaded. Correct it and push it anew."
        )
    if job.status is not JobStatus.DONE:
        raise NotReplayable(f"The job {job.id} is {job.status}: only of a DONE job rejects can be replayed.")
    if job.undone_at or job.undo_began_at:
        raise NotReplayable(f"The job {job.id} was undone: its rejects belong to nothing any more.")
    if job.counts is None or not job.counts.rejected:
        raise NotReplayable(f"The job {job.id} has no rejects.")


def _refuse_rows(gathered: Gathered, corrections: Corrections) -> None:
    left = gathered.left
    if not left and not gathered.rows:
        raise NotReplayable("The rejects of the job are gone.")
    if left and (not corrections.leave or not gathered.rows):
        first = left[0]
        raise NotReplayable(
            f"Of {len(left) + gathered.rows} rows {len(left)} cannot be sent again; the first: {first.told}.",
            where={"chunk": first.chunk.number, "line": first.line},
            hint="correct csvParsingOptions, or leave such rows behind with leaveUnreadable",
        )


def _logs(of: Job, gathered: Gathered) -> list[str]:
    lines = [f"Replays {gathered.rows} rejected rows of the job {of.id}."]
    lines += [f"Left behind: {left.told}." for left in gathered.left[:_SHOWN_LEFT]]
    if (more := len(gathered.left) - _SHOWN_LEFT) > 0:
        lines.append(f"Left behind: {more} more rows.")
    return lines


# -- the new job ---------------------------------------------------------------------------------------


def corrected(spec: PushSpec, corrections: Corrections, csv: CsvOptions) -> PushSpec:
    """What the new job asks for: a DELTA on the same tables, its CSV in our own dialect."""
    return replace(
        spec,
        type=JobType.DELTA,
        file_type=FileType.CSV,
        keys=spec.key_columns,  # corrected columns may not mark them
        columns=corrections.columns or spec.columns,
        csv=replace(csv, separator=None, quote=None, escape=None, line_ending=None, charset=None),
        max_rejected_rows=corrections.max_rejected_rows,
        max_rejected_share=corrections.max_rejected_share,
    )


# -- its chunks ----------------------------------------------------------------------------------------


class ChunkWriter:
    """A chunk that no client sent."""

    def __init__(self, store: ChunkStore, job: Job, like: Chunk, header: bytes) -> None:
        self._id, self._job, self._like = str(uuid4()), job, like
        self._incoming = store.receive(job.id, self._id)
        self._hash = hashlib.sha256()
        self._size = self.rows = 0
        self._kept = False
        self.write(header)

    def has_room(self, size: int, limit: int) -> bool:
        """A row always finds some in a chunk that has none."""
        return not self.rows or self._size + size <= limit

    def write(self, data: bytes) -> None:
        self._size += len(data)
        self._hash.update(data)
        self._incoming.write(data)

    def keep(self, number: int) -> Chunk:
        self._incoming.keep()
        self._incoming.release()
        self._kept = True
        return Chunk(
            self._id,
            self._job.id,
            self._job.pool_id,
            number,
            self._like.type,
            self._size,
            self._hash.hexdigest(),
            FileType.CSV,
            now(),
            stored_sha256=self._hash.hexdigest(),
        )

    def discard_unless_kept(self) -> None:
        if not self._kept:
            self._incoming.discard()
