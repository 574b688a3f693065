"""Chunks of push jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, Row, func, insert, select, update

from headrace.errors import JobLocked
from headrace.metadata.codec import dump_report, read_report, read_spec
from headrace.metadata.schema import chunks, jobs, may_still_run
from headrace.model import Chunk, ChunkState, ChunkType, FileType, JobStatus, PushSpec, StageReport


class Chunks:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def add(self, chunk: Chunk) -> Chunk:
        """Record a chunk that is safe in the store; answers it with its number. Raises JobLocked."""
        with self._writes.begin() as db:
            new = (jobs.c.id == chunk.job_id) & (jobs.c.status == JobStatus.NEW) & jobs.c.deleted_at.is_(None)
            if db.execute(select(jobs.c.id).where(new)).first() is None:
                raise JobLocked
            last = select(func.max(chunks.c.number)).where(chunks.c.job_id == chunk.job_id)
            numbered = replace(chunk, number=(db.execute(last).scalar() or 0) + 1)
            db.execute(insert(chunks).values(vars(numbered)))
            return numbered

    def list(self, job_id: str) -> Sequence[Chunk]:
        """The chunks of a job in the order of their arrival."""
        with self._reads.connect() as db:
            query = select(chunks).where(chunks.c.job_id == job_id).order_by(chunks.c.number)
            return [_chunk(row) for row in db.execute(query)]

    def unstaged(self) -> Sequence[Chunk]:
        """Received chunks of jobs that may still be executed, oldest first."""
        query = (
            select(chunks)
            .join(jobs, jobs.c.id == chunks.c.job_id)
            .where(chunks.c.state == ChunkState.RECEIVED, may_still_run)
            .order_by(chunks.c.received_at, chunks.c.number)
        )
        with self._reads.connect() as db:
            return [_chunk(row) for row in db.execute(query)]

    def staged(
        self, chunk_id: str, report: StageReport, staging_ms: int, *, under: PushSpec | None = None
    ) -> bool:
        """Staged, for the first time or again; False if its job has another spec than ``under`` by now."""
        values = {"state": ChunkState.STAGED, "report": dump_report(report), "staging_ms": staging_ms}
        return self._set(chunk_id, values, under)

    def failed(self, chunk_id: str, problem: str, staging_ms: int, *, under: PushSpec | None = None) -> bool:
        """It cannot be read; False as above."""
        values = {"state": ChunkState.FAILED, "problem": problem, "staging_ms": staging_ms}
        return self._set(chunk_id, values, under)

    def _set(self, chunk_id: str, values: dict[str, Any], under: PushSpec | None) -> bool:
        spec = select(jobs.c.spec).join(chunks, jobs.c.id == chunks.c.job_id).where(chunks.c.id == chunk_id)
        with self._writes.begin() as db:
            if under is not None and read_spec(db.execute(spec).scalar_one()) != under:
                return False
            db.execute(update(chunks).where(chunks.c.id == chunk_id).values(values))
        return True


def _chunk(row: Row[Any]) -> Chunk:
    return Chunk(
        **{
            **row._mapping,
            "type": ChunkType(row.type),
            "file_type": FileType(row.file_type),
            "state": ChunkState(row.state),
            "report": read_report(row.report),
        }
    )
