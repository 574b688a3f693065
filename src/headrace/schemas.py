"""The schema of a job before it is loaded: which columns, in which types, and who says so; its correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from headrace.agreeing import agree
from headrace.durable import disk_fault
from headrace.errors import Busy, InvalidRequest, JobNotNew, NotFound
from headrace.metadata import Metadata
from headrace.model import (
    Chunk,
    Column,
    DeclaredColumn,
    FileType,
    Job,
    JobStatus,
    Table,
    fold,
    now,
)
from headrace.tables import TableEngine, table_to_change


class Source(StrEnum):
    TABLE = "table"  # the table exists, and a DELTA keeps its types
    DECLARED = "declared"  # the client's schema says so
    INFERRED = "inferred"  # guessed from the values of the chunks so far
    FILE = "file"  # the Parquet file says so; of a CSV: text, as it came


@dataclass(frozen=True)
class Planned:
    """A column as the job would store it now; later chunks may widen its type."""

    column: Column
    source: Source


@dataclass(frozen=True)
class Schemas:
    """``on_chunk`` wakes whoever stages."""

    metadata: Metadata
    tables: TableEngine
    on_chunk: Callable[[Chunk], None]

    def of(self, job: Job, chunks: Sequence[Chunk]) -> list[Planned] | None:
        """What the chunks that are staged so far agree on; None once the job runs.

        None, too, while the lake cannot be asked: how a job stands must be told even on a full disk.
        """
        if job.status not in (JobStatus.NEW, JobStatus.QUEUED):
            return None
        try:
            table = table_to_change(self.tables, job)
        except Exception as error:
            if isinstance(error, Busy) or disk_fault(error):
                return None
            raise
        return [Planned(c, _source(c, job, chunks, table)) for c in agree(job, chunks, table, [])]

    def correct(self, pool_id: str, job_id: str, columns: Sequence[DeclaredColumn]) -> Job:
        """Declare other columns for a NEW job; what has arrived is staged again.

        Raises JobNotNew, also when the job is executed at the same moment, and InvalidRequest.
        """
        job = self.metadata.jobs.get(pool_id, job_id)
        if job is None or job.deleted_at is not None:
            raise NotFound(f"There is no job {job_id}.")
        spec = replace(job.spec, columns=tuple(columns))
        _check(columns)
        if spec.key_columns != job.spec.key_columns:
            raise InvalidRequest("The keys of a job cannot be changed: chunks were checked for them.")
        if not self.metadata.jobs.respecify(job, spec, now()):
            raise JobNotNew(f"Only a NEW job can be corrected; the job {job.id} is no longer as it was.")
        for chunk in self.metadata.chunks.list(job.id):
            self.on_chunk(chunk)
        return replace(job, spec=spec)


def _check(columns: Sequence[DeclaredColumn]) -> None:
    names = [fold(c.name) for c in columns]
    if len(set(names)) < len(names) or not all(names):
        raise InvalidRequest("Each column has a name, and stands there once.", attribute="columns")


def _source(column: Column, job: Job, chunks: Sequence[Chunk], table: Table | None) -> Source:
    if table and table.column(column.name):
        return Source.TABLE
    if any(fold(c.name) == fold(column.name) and c.kind for c in job.spec.columns):
        return Source.DECLARED
    guessed = job.spec.infer_types and all(c.file_type is FileType.CSV for c in chunks)
    return Source.INFERRED if guessed else Source.FILE
