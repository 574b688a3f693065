"""The story of one load: from a claimed job to DONE or ERROR.

``load`` is told a job once per claim. After a crash the same job is told again under a higher fencing
number; what the lake has committed is then found by its receipt and not loaded a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from headrace.agreeing import agree, columns_that_count, staged_columns
from headrace.chunks import ChunkStore
from headrace.crashpoints import crash_point
from headrace.durable import checksum
from headrace.errors import (
    Busy,
    ChunkFailed,
    DiskFull,
    HeadraceError,
    Internal,
    LoadFailed,
    RowsRejected,
    SchemaMismatch,
)
from headrace.metadata import Metadata
from headrace.model import (
    UNKNOWN,
    Chunk,
    ChunkState,
    ChunkType,
    Column,
    Counts,
    Job,
    JobStatus,
    JobType,
    Receipt,
    StageReport,
    fold,
    now,
)
from headrace.observing import Ended, Observe, unheard
from headrace.reducing import Reduced, Reducer, StagedFile
from headrace.staged import StagedFiles
from headrace.tables import Load, TableDiff, TableEngine, table_to_change
from headrace.telling import (
    Outlook,
    Telling,
    done_counts,
    done_outlook,
    failed_counts,
    failed_outlook,
    rejected_by,
    rows_of,
    staging_logs,
    summary,
)


class TakenOver(Exception):
    """Another worker has claimed the job; this one must not write any more."""


class Restage(Protocol):
    """Stage a chunk again with these columns wanted; raises ChunkFailed.

    With ``aside`` into that folder, with nothing recorded: the chunk itself stays as it is staged.
    """

    def __call__(
        self, job: Job, chunk: Chunk, columns: Sequence[Column], *, aside: Path | None = None
    ) -> StageReport: ...


@dataclass
class Loader:
    """The parts that a load needs; one for all workers of a process."""

    metadata: Metadata
    chunks: ChunkStore
    tables: TableEngine
    reducer: Reducer
    restage: Restage
    staging_folder: StagedFiles
    keep_failed: timedelta = timedelta(0)
    """So long a failed job keeps its raw chunks, to be run again."""
    observe: Observe = unheard

    def load(self, job: Job) -> None:
        """Load one claimed job and finish it. Raises TakenOver."""
        try:
            self._load(job)
        finally:
            self.staging_folder.let_go(job.pool_id, job.id)

    def _load(self, job: Job) -> None:
        told, kept = Telling(), False
        try:
            receipt = self._known_receipt(job)
            if receipt is None:
                staged = self._staged(job, told)
                receipt = self._commit(job, staged, told)
            self._done(job, receipt, told)
        except LoadFailed as error:
            kept = self._failed(job, error.code, error.logs, told)
        except Busy:
            raise
        except HeadraceError as error:
            kept = self._failed(job, error.code, (error.message,), told)
        self.clean_up(job, keep_chunks=kept)

    def preview(self, job: Job) -> Outlook:
        """What executing the NEW job would do by now. Nothing of it stays. Raises Busy."""
        try:
            return self._preview(job)
        finally:
            self.staging_folder.let_go(job.pool_id, job.id)

    def _preview(self, job: Job) -> Outlook:
        with self.staging_folder.aside(job) as folder:
            told = Telling(aside=folder)
            try:
                staged = self._staged(job, told)
                foreseen = self.tables.preview(job.pool_id, self._prepared(job, staged, told))
                return done_outlook(job, told, foreseen)
            except RowsRejected as error:
                return failed_outlook(job, told, error, self._tables_without_rejects(job, told))
            except LoadFailed as error:
                return failed_outlook(job, told, error)

    def _tables_without_rejects(self, job: Job, told: Telling) -> Sequence[TableDiff]:
        """What would become of the tables if the job allowed its bad rows."""
        try:
            load = self._prepared(job, told.chunks, replace(told, logs=[]))
            return self.tables.preview(job.pool_id, load).tables
        except LoadFailed:
            return ()

    def _known_receipt(self, job: Job) -> Receipt | None:
        """A first claim cannot have committed anything, and asking the lake costs."""
        return self.tables.receipt(job.pool_id, job.id) if job.fence > 1 else None

    def _staged(self, job: Job, told: Telling) -> list[Chunk]:
        """The chunks of the job in one agreed schema, all of them good enough. Raises LoadFailed."""
        with told.phase("agree"):
            chunks = self._chunks(job, told)
            told.chunks = chunks
            _refuse_none(job, chunks)
            _refuse_failed(chunks)
            table = table_to_change(self.tables, job)
            columns = agree(job, chunks, table, told.logs)
            chunks = [self._conformed(job, chunk, columns, told) for chunk in chunks]
            told.chunks, told.columns = chunks, columns
            told.logs += staging_logs(job, chunks)
            _refuse_rejects(job, chunks)
            return chunks

    def _chunks(self, job: Job, told: Telling) -> list[Chunk]:
        chunks = self.metadata.chunks.list(job.id)
        if told.aside:  # the job is NEW: what came after it was asked for is not staged yet
            return [c for c in chunks if c.state is not ChunkState.RECEIVED]
        return list(chunks)

    def _conformed(self, job: Job, chunk: Chunk, columns: Sequence[Column], told: Telling) -> Chunk:
        """The chunk staged in the agreed types: again, from its raw bytes, where it was staged otherwise."""
        by_name = {fold(c.name): c for c in columns}
        counting = columns_that_count(job, chunk, staged_columns(chunk))
        staged = [c for c in counting if fold(c.name) in by_name]
        path = self.staging_folder.fetch(chunk.pool_id, chunk.job_id, chunk.id)
        keys = set(map(fold, job.spec.key_columns))
        fits = all(
            _same(c, by_name[fold(c.name)]) or (c.type == UNKNOWN and fold(c.name) not in keys)
            for c in staged
        )
        if fits and _is_as_staged(path, chunk, told):
            return chunk
        if not told.aside:
            self._still_mine(job)
        wanted = columns_that_count(job, chunk, columns)
        if told.aside:
            report = self.restage(job, chunk, wanted, aside=told.aside)
            told.restaged[chunk.id] = told.aside / path.name
        else:
            report = self.restage(job, chunk, wanted)
        return replace(chunk, report=report)

    def _commit(self, job: Job, chunks: Sequence[Chunk], told: Telling) -> Receipt:
        self._still_mine(job)
        load = self._prepared(job, chunks, told)
        crash_point("reduced")
        with told.phase("commit"):
            return self.tables.load(job.pool_id, load)

    def _prepared(self, job: Job, chunks: Sequence[Chunk], told: Telling) -> Load:
        keys = _spelled(job.spec.key_columns, told.columns) if chunks else []
        if job.order_column and not keys:
            told.logs.append("duplicateRemovalColumn has no effect: the job has no keys.")
        with told.phase("reduce"):
            reduced = self._reduced(job, chunks, keys, told)
        return self._as_load(job, reduced, keys, told)

    def _reduced(self, job: Job, chunks: Sequence[Chunk], keys: Sequence[str], told: Telling) -> Reduced:
        files = [self._staged_file(job, chunk, told) for chunk in chunks]
        order = _order_column(job, keys, chunks, told)
        folder = told.aside or self.staging_folder.scratch(job)
        return self.reducer.reduce(
            files, told.columns, keys, order=order, allow_duplicate=job.spec.allow_duplicate, folder=folder
        )

    def _staged_file(self, job: Job, chunk: Chunk, told: Telling) -> StagedFile:
        columns = columns_that_count(job, chunk, staged_columns(chunk))
        path = self.staging_folder.path(chunk.pool_id, chunk.job_id, chunk.id)
        return StagedFile(
            told.restaged.get(chunk.id, path),
            chunk.number,
            chunk.type,
            chunk.report.rows if chunk.report else 0,
            tuple(c for c in columns if c.type != UNKNOWN),
        )

    def _as_load(self, job: Job, reduced: Reduced, keys: Sequence[str], told: Telling) -> Load:
        return Load(
            job_id=job.id,
            fence=job.fence,
            type=job.spec.type,
            targets=job.spec.targets,
            columns=tuple(told.columns),
            makes_table=any(c.type is ChunkType.UPSERT for c in told.chunks),
            upserts=reduced.upserts,
            upsert_rows=reduced.upsert_rows,
            deletes=reduced.deletes,
            delete_rows=reduced.delete_rows,
            keys=tuple(keys),
            unique=reduced.unique,
            strategy=job.spec.upsert_strategy,
            duplicates=reduced.dropped,
            change_date=now(),
            still_mine=lambda: self._still_mine(job),
            checksums={
                self.staging_folder.path(c.pool_id, c.job_id, c.id): c.report.checksum
                for c in told.chunks
                if c.id not in told.restaged and c.report and c.report.checksum
            },
        )

    def _still_mine(self, job: Job) -> None:
        """Raises TakenOver, and Cancelled."""
        if not self.metadata.jobs.check_mine(job.id, job.fence):
            raise TakenOver(job.id)

    def is_committed(self, job: Job) -> bool:
        """Whether the lake has the job; True if it cannot be asked: a wrong ERROR invites a second push."""
        try:
            return self.tables.receipt(job.pool_id, job.id) is not None
        except Exception:
            return True

    def give_up(self, job: Job, line: str, code: str = Internal.code) -> None:
        """End a job in ERROR for a fault of the server."""
        kept = self._failed(job, code, (line,), Telling())
        self.clean_up(job, keep_chunks=kept)

    # -- the end ---------------------------------------------------------------------------------------

    def _done(self, job: Job, receipt: Receipt, told: Telling) -> None:
        told.chunks = told.chunks or list(self.metadata.chunks.list(job.id))
        counts = done_counts(told.chunks, receipt)
        logs = [*told.logs, *receipt.logs, summary(job, counts)]
        self._finish(job, JobStatus.DONE, counts, logs, told, receipt=receipt)

    def _failed(self, job: Job, code: str, logs: Sequence[str], told: Telling) -> bool:
        """Answers whether its chunks are kept for a retry; on a full disk there is no room for them."""
        counts = failed_counts(told.chunks)
        until = now() + self.keep_failed if self.keep_failed and code != DiskFull.code else None
        self._finish(job, JobStatus.ERROR, counts, [*told.logs, *logs], told, code=code, chunks_until=until)
        return until is not None

    def _finish(
        self,
        job: Job,
        status: JobStatus,
        counts: Counts,
        logs: Sequence[str],
        told: Telling,
        *,
        receipt: Receipt | None = None,
        code: str | None = None,
        chunks_until: datetime | None = None,
    ) -> None:
        at = now()
        mine = self.metadata.jobs.finish(
            job,
            status,
            at=at,
            counts=counts,
            logs=logs,
            phases_ms=told.phases_ms,
            change_date=receipt.change_date if receipt else None,
            error_code=code,
            chunks_until=chunks_until,
        )
        if not mine:
            raise TakenOver(job.id)
        crash_point("finished")
        self.observe(
            Ended(job, status, at, told.seconds, counts, rejected_by(told.chunks), told.phases, code)
        )

    def clean_up(self, job: Job, *, keep_chunks: bool) -> None:
        """What an ended job does not need any more. May be repeated."""
        if not keep_chunks:
            self.chunks.drop(job.id)
        self.staging_folder.drop(job.pool_id, job.id)
        crash_point("dropped")


def _is_as_staged(path: Path, chunk: Chunk, told: Telling) -> bool:
    """Whether the staged file has the bytes that were written: no engine would notice others."""
    if not path.exists():
        return False
    known = chunk.report.checksum if chunk.report else None  # older versions took none
    if known is None or _checksum(path) == known:
        return True
    told.logs.append(f"Chunk {chunk.number} was staged again: the disk had changed its staged file.")
    return False


def _checksum(path: Path) -> int | None:
    try:
        return checksum(path)
    except OSError:  # what cannot be read is no better than what has changed
        return None


# -- one schema ----------------------------------------------------------------------------------------


def _order_column(job: Job, keys: Sequence[str], chunks: Sequence[Chunk], told: Telling) -> str | None:
    if not (job.order_column and keys):
        return None
    wanted = fold(job.order_column)
    sent = any(fold(c.name) == wanted for chunk in chunks for c in staged_columns(chunk))
    if sent and not any(fold(c.name) == wanted for c in told.columns):
        told.logs.append(f"Only delete chunks have {job.order_column}: it orders nothing.")
        return None
    return _spelled([job.order_column], told.columns)[0]


def _same(staged: Column, agreed: Column) -> bool:
    return staged.type == agreed.type and staged.name == agreed.name


def _spelled(names: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """Names as the table spells them. Raises SchemaMismatch for one that no chunk has."""
    by_name = {fold(c.name): c.name for c in columns}
    lacking = [name for name in names if fold(name) not in by_name]
    if lacking:
        raise SchemaMismatch(f"Neither the table nor a chunk of the job has a column {', '.join(lacking)}.")
    return [by_name.get(fold(name), name) for name in names]


# -- what ends a load ----------------------------------------------------------------------------------


def _refuse_none(job: Job, chunks: Sequence[Chunk]) -> None:
    if not chunks and job.spec.type is JobType.REPLACE:
        raise ChunkFailed("The job has no chunk. To empty a table send a file that has a header and no rows.")


def _refuse_failed(chunks: Sequence[Chunk]) -> None:
    failed = [c for c in chunks if c.state is ChunkState.FAILED]
    if failed:
        lines = [f"Chunk {c.number} could not be read: {c.problem}" for c in failed]
        raise ChunkFailed(lines[0], logs=lines)


def _refuse_rejects(job: Job, chunks: Sequence[Chunk]) -> None:
    good, rejected = rows_of(chunks)
    rows = good + rejected
    if not rejected:
        return
    allowed_rows, allowed_share = job.spec.max_rejected_rows, job.spec.max_rejected_share
    by_rows = allowed_rows is not None and rejected <= allowed_rows
    by_share = allowed_share is not None and rejected <= allowed_share * rows
    if by_rows or by_share:
        return
    raise RowsRejected(
        logs=[
            f"{rejected} of {rows} rows cannot be stored, and the job allows "
            f"{allowed_rows if allowed_rows is not None else 0}; the table is as it was before. "
            f"All of them: GET /api/v1/pools/{job.pool_id}/jobs/{job.id}/rejects"
        ]
    )
