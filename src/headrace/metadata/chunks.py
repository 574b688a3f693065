"""Chunks of push jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Row, bindparam, cast, func, insert, or_, select, update

from headrace.errors import JobLocked, KeyReused, TooLarge
from headrace.metadata.codec import dump_report, read_report, read_spec
from headrace.metadata.schema import chunks, jobs, may_still_run, uploads
from headrace.metadata.signs import Sign, tell
from headrace.metadata.uploads import finish, promised
from headrace.model import Chunk, ChunkState, ChunkType, FileType, JobStatus, PushSpec, StageReport

_TOLD_ONCE = "; others alike are not named."
"""A job may have thousands of chunks, each of them packed."""

# asked with every chunk, and with every load: built once
_OF_JOB = chunks.c.job_id == bindparam("job")
_ADD = insert(chunks)
_THE_JOB = (
    select(jobs.c.logs, jobs.c.status, jobs.c.deleted_at)
    .where(jobs.c.id == bindparam("job"))
    .with_for_update()  # its chunks are numbered one after the other
)
_BYTES = cast(func.coalesce(func.sum(chunks.c.bytes), 0), BigInteger)
_SO_FAR = select(func.coalesce(func.max(chunks.c.number), 0), _BYTES).where(_OF_JOB)
_LIST = select(chunks).where(_OF_JOB).order_by(chunks.c.number)
_WAITS = (
    select(chunks.c.id)
    .join(jobs, jobs.c.id == chunks.c.job_id)
    .where(chunks.c.id == bindparam("chunk"), chunks.c.state == ChunkState.RECEIVED, may_still_run)
)
_SPEC = (
    select(jobs.c.spec)
    .join(chunks, jobs.c.id == chunks.c.job_id)
    .where(chunks.c.id == bindparam("chunk"))
    .with_for_update(read=True, of=jobs)  # nobody corrects it meanwhile
)
_CHANGE = update(chunks).where(chunks.c.id == bindparam("chunk"))
_CHANGE_RECEIVED = _CHANGE.where(chunks.c.state == ChunkState.RECEIVED)


class Chunks:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def add(self, chunk: Chunk, *, job_bytes: int = 0, notes: Sequence[str] = ()) -> Chunk:
        """Record a chunk that is safe in the store; answers it with its number.

        ``notes`` on it go to the logs of its job, each of them with the first chunk that it holds for.
        Raises JobLocked, or TooLarge when the job would have more than ``job_bytes`` (0: no limit).

        The upload of the same id, if the chunk came in parts, is finished with it.

        A chunk sent again under its idempotency key is answered as it was recorded first. Raises KeyReused.
        """
        with self._writes.begin() as db:
            finish(db, chunk.id, chunk.received_at)
            job = db.execute(_THE_JOB, {"job": chunk.job_id}).first()
            if known := _known(db, chunk):
                return known
            if job is None or job.status != JobStatus.NEW or job.deleted_at:
                raise JobLocked
            number, size = db.execute(_SO_FAR, {"job": chunk.job_id}).one()
            if job_bytes:
                of_job = promised(uploads.c.job_id == chunk.job_id, chunk.id)
                size += db.execute(of_job).scalar_one()
            if job_bytes and size + chunk.bytes > job_bytes:
                raise TooLarge(f"All chunks of a job may have {job_bytes} bytes.")
            numbered = replace(chunk, number=number + 1)
            db.execute(_ADD, vars(numbered))
            tell(db, Sign.CHUNK, chunk.job_id)
            told = [note for note in notes if not any(line.endswith(note + _TOLD_ONCE) for line in job.logs)]
            if told:
                lines = [f"Chunk {numbered.number} {note}{_TOLD_ONCE}" for note in told]
                db.execute(update(jobs).where(jobs.c.id == chunk.job_id).values(logs=[*job.logs, *lines]))
            return numbered

    def sizes(self, job_ids: Collection[str]) -> dict[str, int]:
        """The bytes of all chunks of each of these jobs; a job without chunks is not there."""
        query = select(chunks.c.job_id, _BYTES).where(chunks.c.job_id.in_(job_ids))
        with self._reads.connect() as db:
            return {job_id: size for job_id, size in db.execute(query.group_by(chunks.c.job_id))}

    def has_key(self, job_id: str, idempotency_key: str) -> bool:
        """Whether a chunk came under this key before."""
        query = select(chunks.c.id).where(
            chunks.c.job_id == job_id, chunks.c.idempotency_key == idempotency_key
        )
        with self._reads.connect() as db:
            return db.execute(query).first() is not None

    def list(self, job_id: str) -> Sequence[Chunk]:
        """The chunks of a job in the order of their arrival."""
        with self._reads.connect() as db:
            return [_chunk(row) for row in db.execute(_LIST, {"job": job_id})]

    def bytes_of_job(self, job_id: str) -> int:
        with self._reads.connect() as db:
            return int(db.execute(select(_BYTES).where(chunks.c.job_id == job_id)).scalar_one())

    def bytes_of_pool(self, pool_id: str, at: datetime) -> int:
        """Of the chunks whose raw bytes still lie on the disk, those that wait for a retry too."""
        query = (
            select(_BYTES)
            .join(jobs, jobs.c.id == chunks.c.job_id)
            .where(jobs.c.pool_id == pool_id, or_(may_still_run, jobs.c.chunks_until > at))
        )
        with self._reads.connect() as db:
            return int(db.execute(query).scalar_one())

    def unstaged_size(self) -> tuple[int, int]:
        """How many received chunks wait to be staged, and their bytes."""
        query = select(func.count(), func.coalesce(func.sum(chunks.c.bytes), 0))
        of_jobs = query.select_from(chunks).join(jobs, jobs.c.id == chunks.c.job_id)
        waiting = of_jobs.where(chunks.c.state == ChunkState.RECEIVED, may_still_run)
        with self._reads.connect() as db:
            count, size = db.execute(waiting).one()
            return int(count), int(size)

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

    def waits(self, chunk_id: str) -> bool:
        """Whether the chunk is to be staged: it is RECEIVED, and its job may still be executed."""
        with self._reads.connect() as db:
            return db.execute(_WAITS, {"chunk": chunk_id}).first() is not None

    def staged(
        self, chunk_id: str, report: StageReport, staging_ms: int, *, under: PushSpec | None = None
    ) -> bool:
        """Staged, again without ``under``; else it was RECEIVED, of a job whose spec is still ``under``.

        False if that has changed meanwhile.
        """
        values = {"state": ChunkState.STAGED, "report": dump_report(report), "staging_ms": staging_ms}
        return self._set(chunk_id, values, under)

    def failed(self, chunk_id: str, problem: str, staging_ms: int, *, under: PushSpec | None = None) -> bool:
        """It cannot be read; False as above."""
        values = {"state": ChunkState.FAILED, "problem": problem, "staging_ms": staging_ms}
        return self._set(chunk_id, values, under)

    def _set(self, chunk_id: str, values: dict[str, Any], under: PushSpec | None) -> bool:
        one = {"chunk": chunk_id}
        with self._writes.begin() as db:
            tell(db, Sign.JOB, select(chunks.c.job_id).where(chunks.c.id == chunk_id).scalar_subquery())
            if under is None:
                return db.execute(_CHANGE, one | values).rowcount == 1
            if read_spec(db.execute(_SPEC, one).scalar_one()) != under:
                return False
            return db.execute(_CHANGE_RECEIVED, one | values).rowcount == 1


def _known(db: Connection, chunk: Chunk) -> Chunk | None:
    """The chunk that came under the same key before."""
    same_key = (chunks.c.job_id == chunk.job_id) & (chunks.c.idempotency_key == chunk.idempotency_key)
    row = db.execute(select(chunks).where(same_key)).one_or_none() if chunk.idempotency_key else None
    if row and (row.sha256, row.type) != (chunk.sha256, chunk.type):
        raise KeyReused
    return _chunk(row) if row else None


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
