"""The story of one load: from a claimed job to DONE or ERROR.

``load`` is told a job once per claim. After a crash the same job is told again under a higher fencing
number; what the lake has committed is then found by its receipt and not loaded a second time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from headrace.agreeing import agree, columns_that_count, staged_columns
from headrace.chunks import ChunkStore
from headrace.crashpoints import crash_point
from headrace.errors import (
    Busy,
    ChunkFailed,
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
    Reject,
    StageReport,
    Table,
    fold,
    now,
)
from headrace.reducing import Reduced, Reducer, StagedFile
from headrace.tables import Load, TableEngine

_SHOWN_REJECTS = 10


class TakenOver(Exception):
    """Another worker has claimed the job; this one must not write any more."""


class Restage(Protocol):
    """Stage a chunk again with these columns wanted; raises ChunkFailed."""

    def __call__(self, job: Job, chunk: Chunk, columns: Sequence[Column]) -> StageReport: ...


@dataclass
class Loader:
    """The parts that a load needs; one for all workers of a process."""

    metadata: Metadata
    chunks: ChunkStore
    tables: TableEngine
    reducer: Reducer
    restage: Restage
    staging_folder: StagingFolder

    def load(self, job: Job) -> None:
        """Load one claimed job and finish it. Raises TakenOver."""
        told = _Telling()
        try:
            receipt = self._known_receipt(job)
            if receipt is None:
                staged = self._staged(job, told)
                receipt = self._commit(job, staged, told)
            self._done(job, receipt, told)
        except LoadFailed as error:
            self._failed(job, error.code, error.logs, told)
        except Busy:
            raise
        except HeadraceError as error:
            self._failed(job, error.code, (error.message,), told)
        self._clean_up(job)

    def _known_receipt(self, job: Job) -> Receipt | None:
        """A first claim cannot have committed anything, and asking the lake costs."""
        return self.tables.receipt(job.pool_id, job.id) if job.fence > 1 else None

    def _staged(self, job: Job, told: _Telling) -> list[Chunk]:
        """The chunks of the job in one agreed schema, all of them good enough. Raises LoadFailed."""
        with told.phase("agree"):
            chunks = list(self.metadata.chunks.list(job.id))
            told.chunks = chunks
            _refuse_none(job, chunks)
            _refuse_failed(chunks)
            table = self._table(job)
            columns = agree(job, chunks, table, told.logs)
            chunks = [self._conformed(job, chunk, columns) for chunk in chunks]
            told.chunks, told.columns = chunks, columns
            told.logs += _staging_logs(chunks)
            _refuse_rejects(job, chunks)
            return chunks

    def _table(self, job: Job) -> Table | None:
        if job.spec.type is JobType.REPLACE:
            return None
        target = job.spec.targets[0].folded
        return next((t for t in self.tables.tables(job.pool_id) if t.ref.folded == target), None)

    def _conformed(self, job: Job, chunk: Chunk, columns: Sequence[Column]) -> Chunk:
        """The chunk staged in the agreed types: again, from its raw bytes, where it was staged otherwise."""
        by_name = {fold(c.name): c for c in columns}
        counting = columns_that_count(job, chunk, staged_columns(chunk))
        staged = [c for c in counting if fold(c.name) in by_name]
        path = self.staging_folder.path(chunk.pool_id, chunk.job_id, chunk.id)
        keys = set(map(fold, job.spec.key_columns))
        fits = all(
            _same(c, by_name[fold(c.name)]) or (c.type == UNKNOWN and fold(c.name) not in keys)
            for c in staged
        )
        if fits and path.exists():
            return chunk
        report = self.restage(job, chunk, columns_that_count(job, chunk, columns))
        return replace(chunk, report=report)

    def _commit(self, job: Job, chunks: Sequence[Chunk], told: _Telling) -> Receipt:
        keys = _spelled(job.spec.key_columns, told.columns) if chunks else []
        if job.order_column and not keys:
            told.logs.append("duplicateRemovalColumn has no effect: the job has no keys.")
        with told.phase("reduce"):
            reduced = self._reduced(job, chunks, keys, told)
        crash_point("reduced")
        with told.phase("commit"):
            return self.tables.load(job.pool_id, self._as_load(job, reduced, keys, told))

    def _reduced(self, job: Job, chunks: Sequence[Chunk], keys: Sequence[str], told: _Telling) -> Reduced:
        files = [self._staged_file(job, chunk) for chunk in chunks]
        order = _order_column(job, keys, chunks, told)
        folder = self.staging_folder.scratch(job)
        return self.reducer.reduce(
            files, told.columns, keys, order=order, allow_duplicate=job.spec.allow_duplicate, folder=folder
        )

    def _staged_file(self, job: Job, chunk: Chunk) -> StagedFile:
        columns = columns_that_count(job, chunk, staged_columns(chunk))
        return StagedFile(
            self.staging_folder.path(chunk.pool_id, chunk.job_id, chunk.id),
            chunk.number,
            chunk.type,
            chunk.report.rows if chunk.report else 0,
            tuple(c for c in columns if c.type != UNKNOWN),
        )

    def _as_load(self, job: Job, reduced: Reduced, keys: Sequence[str], told: _Telling) -> Load:
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
        )

    def _still_mine(self, job: Job) -> None:
        if not self.metadata.jobs.is_mine(job.id, job.fence):
            raise TakenOver(job.id)

    def is_committed(self, job: Job) -> bool:
        """Whether the lake has the job; True if it cannot be asked: a wrong ERROR invites a second push."""
        try:
            return self.tables.receipt(job.pool_id, job.id) is not None
        except Exception:
            return True

    def give_up(self, job: Job, line: str, code: str = Internal.code) -> None:
        """End a job in ERROR for a fault of the server."""
        self._failed(job, code, (line,), _Telling())
        self._clean_up(job)

    def maintain(self, job: Job) -> None:
        """What small pushes leave behind is made good by the server itself, now and then."""
        for ref in job.spec.targets:
            self.tables.maintain(job.pool_id, ref)

    # -- the end ---------------------------------------------------------------------------------------

    def _done(self, job: Job, receipt: Receipt, told: _Telling) -> None:
        told.chunks = told.chunks or list(self.metadata.chunks.list(job.id))
        counts = _counts(told.chunks, receipt)
        logs = [*told.logs, *receipt.logs, _summary(job, counts)]
        self._finish(job, JobStatus.DONE, counts, logs, told, receipt=receipt)

    def _failed(self, job: Job, code: str, logs: Sequence[str], told: _Telling) -> None:
        rows = sum(c.report.rows for c in told.chunks if c.report)
        rejected = sum(c.report.rejected for c in told.chunks if c.report)
        counts = Counts(rows_in=rows + rejected, rejected=rejected, not_loaded=rows)
        self._finish(job, JobStatus.ERROR, counts, [*told.logs, *logs], told, code=code)

    def _finish(
        self,
        job: Job,
        status: JobStatus,
        counts: Counts,
        logs: Sequence[str],
        told: _Telling,
        *,
        receipt: Receipt | None = None,
        code: str | None = None,
    ) -> None:
        mine = self.metadata.jobs.finish(
            job,
            status,
            at=now(),
            counts=counts,
            logs=logs,
            phases_ms=told.phases_ms,
            change_date=receipt.change_date if receipt else None,
            error_code=code,
        )
        if not mine:
            raise TakenOver(job.id)
        crash_point("finished")

    def _clean_up(self, job: Job) -> None:
        self.chunks.drop(job.id)
        self.staging_folder.drop(job.pool_id, job.id)
        crash_point("dropped")


class StagingFolder:
    """Where staged chunks wait: beside a pool's data, on the same file system, outside the lake's sight."""

    def __init__(self, pools: Path) -> None:
        self._pools = pools

    def path(self, pool_id: str, job_id: str, chunk_id: str) -> Path:
        return self._pools / pool_id / "staging" / job_id / f"{chunk_id}.parquet"

    def scratch(self, job: Job) -> Path:
        folder = self._pools / job.pool_id / "staging" / job.id / f"reduced-{job.fence}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop(self, pool_id: str, job_id: str) -> None:
        shutil.rmtree(self._pools / pool_id / "staging" / job_id, ignore_errors=True)

    def jobs(self) -> Iterator[tuple[str, str]]:
        """Pool and job of everything that lies here."""
        for folder in self._pools.glob("*/staging/*"):
            yield folder.parent.parent.name, folder.name


@dataclass
class _Telling:
    """What is known of a load so far, for its end."""

    chunks: list[Chunk] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    phases_ms: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.phases_ms[name] = round((time.monotonic() - start) * 1000)


# -- one schema ----------------------------------------------------------------------------------------


def _order_column(job: Job, keys: Sequence[str], chunks: Sequence[Chunk], told: _Telling) -> str | None:
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


# -- what the job's logs say ---------------------------------------------------------------------------


def _refuse_none(job: Job, chunks: Sequence[Chunk]) -> None:
    if not chunks and job.spec.type is JobType.REPLACE:
        raise ChunkFailed("The job has no chunk. To empty a table send a file that has a header and no rows.")


def _refuse_failed(chunks: Sequence[Chunk]) -> None:
    failed = [c for c in chunks if c.state is ChunkState.FAILED]
    if failed:
        lines = [f"Chunk {c.number} could not be read: {c.problem}" for c in failed]
        raise ChunkFailed(lines[0], logs=lines)


def _refuse_rejects(job: Job, chunks: Sequence[Chunk]) -> None:
    rejected = sum(c.report.rejected for c in chunks if c.report)
    rows = sum(c.report.rows for c in chunks if c.report) + rejected
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


def _repeated(chunks: Sequence[Chunk]) -> list[str]:
    """Chunks sent twice, maybe by mistake: without an idempotency key nobody can tell."""
    same: dict[tuple[str, ChunkType], list[int]] = {}
    for chunk in chunks:
        same.setdefault((chunk.sha256, chunk.type), []).append(chunk.number)
    return [
        f"Chunks {', '.join(map(str, later))} have the same bytes as chunk {first}; all of them count."
        for first, *later in same.values()
        if later
    ]


def _staging_logs(chunks: Sequence[Chunk]) -> list[str]:
    lines: list[str] = _repeated(chunks)
    for chunk in chunks:
        report = chunk.report
        if report is None:
            continue
        lines += [f"Chunk {chunk.number}: {note}" for note in report.notes]
        lines += [
            f"Chunk {chunk.number}: {cut.rows} values of the column {cut.column} were cut to {cut.length} "
            f"characters; the longest had {cut.longest}."
            for cut in report.cuts
        ]
    rejects = [_reject_line(c, r) for c in chunks if c.report for r in c.report.first_rejects]
    return [*lines, *rejects[:_SHOWN_REJECTS]]


def _reject_line(chunk: Chunk, reject: Reject) -> str:
    where = f"Chunk {chunk.number}, line {reject.line}"
    if reject.column is None:
        return f"{where}: expected a readable record: {reject.expected}"
    return f"{where}, column {reject.column}: {reject.value!r} found, expected {reject.expected}."


def _counts(chunks: Sequence[Chunk], receipt: Receipt) -> Counts:
    reports = [c.report for c in chunks if c.report]
    rejected = sum(r.rejected for r in reports)
    return Counts(
        rows_in=sum(r.rows for r in reports) + rejected,
        inserted=receipt.inserted,
        updated=receipt.updated,
        deleted=receipt.deleted,
        not_found=receipt.not_found,
        duplicates=receipt.duplicates,
        rejected=rejected,
    )


def _summary(job: Job, counts: Counts) -> str:
    parts = [
        f"{value} {name}"
        for name, value in (
            ("inserted", counts.inserted),
            ("updated", counts.updated),
            ("deleted", counts.deleted),
            ("not found", counts.not_found),
            ("duplicates dropped", counts.duplicates),
            ("rejected", counts.rejected),
        )
        if value
    ]
    nothing = "the table is empty now" if job.spec.type is JobType.REPLACE else "nothing changed"
    done = ", ".join(parts) or nothing
    return f"{job.spec.type} of {job.spec.target_name}: {counts.rows_in} rows in, {done}."
