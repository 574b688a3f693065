"""What a client may do with push jobs: the whole life of a job up to its place in the queue."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from uuid import uuid4

from headrace.arriving import LONGEST_ENVELOPE, Arrival
from headrace.chunks import ChunkStore
from headrace.crashpoints import crash_point
from headrace.datepatterns import UnsupportedPattern, read_pattern
from headrace.errors import ChunkUnreadable, InvalidRequest, JobLocked, JobNotNew, NotFound, StillStaging
from headrace.hints import separator_of
from headrace.metadata import Metadata
from headrace.metadata.jobs import ALL_JOBS, JobFilter
from headrace.model import (
    NO_LABEL,
    Chunk,
    ChunkType,
    CsvOptions,
    FileType,
    Job,
    JobStatus,
    JobType,
    Key,
    Label,
    Permission,
    PushSpec,
    fold,
    now,
)
from headrace.observing import Observe, Received, seconds_since, unheard
from headrace.permissions import authorize, sees_table
from headrace.quotas import Quotas
from headrace.rejected import Reason, Teller, ToldReject, as_csv, reasons
from headrace.rejectfiles import Alike, RejectFiles
from headrace.staging import Stager
from headrace.telling import Outlook, rejected_by
from headrace.unpacking import Packing

_LONGEST_NAME = 512


@dataclass(frozen=True)
class Pushes:
    """``on_chunk`` and ``on_queue`` wake whoever stages and loads.

    ``await_staged`` waits so many seconds for the chunks of a job; ``foresee`` says what its load would do.
    """

    metadata: Metadata
    chunks: ChunkStore
    stager: Stager
    quotas: Quotas
    on_chunk: Callable[[Chunk], None]
    on_queue: Callable[[], None]
    on_delete: Callable[[Job], None]
    rejects: RejectFiles
    await_staged: Callable[[str, float], bool]
    foresee: Callable[[Job], Outlook]
    preview_seconds: float
    observe: Observe = unheard

    # -- jobs ------------------------------------------------------------------------------------------

    def create(self, pool_id: str, spec: PushSpec, by: Key, idempotency_key: str | None = None) -> Job:
        """A NEW job. Raises InvalidRequest for what can be seen to be wrong already now.

        The same creation sent again under its idempotency key is answered by the first job. Raises KeyReused.
        """
        self.admit(pool_id, spec, by)
        at = now()
        return self.metadata.jobs.add(
            Job(
                str(uuid4()),
                pool_id,
                spec,
                JobStatus.NEW,
                at,
                at,
                created_by=by.id,
                logs=not_honoured(spec),
                idempotency_key=idempotency_key,
            )
        )

    def admit(self, pool_id: str, spec: PushSpec, by: Key) -> None:
        """Raises what can be said against a job before any of its rows is seen."""
        self._pool(pool_id)
        check(spec)
        for target in spec.targets:
            authorize(by, Permission.PUSH, pool_id, target.name)
        if spec.connection_id and not self.metadata.pools.connection(pool_id, spec.connection_id):
            raise InvalidRequest(
                f"The pool has no data connection {spec.connection_id}.", attribute="connectionId"
            )

    def get(self, pool_id: str, job_id: str) -> Job:
        job = self.ledger_entry(pool_id, job_id)
        if job.deleted_at is not None:
            raise NotFound(f"There is no job {job_id}.")
        return job

    def ledger_entry(self, pool_id: str, job_id: str) -> Job:
        """The job, also when a client has deleted it."""
        job = self.metadata.jobs.get(pool_id, job_id)
        if job is None:
            self._pool(pool_id)
            raise NotFound(f"There is no job {job_id}.")
        return job

    def tables(self, pool_id: str, job_id: str) -> tuple[str, ...]:
        """The names of the tables that the job writes to; none if there is no such job."""
        job = self.metadata.jobs.get(pool_id, job_id)
        return tuple(target.name for target in job.spec.targets) if job else ()

    def jobs(self, pool_id: str, by: Key) -> Sequence[Job]:
        """Those that were not deleted, as far as the key sees all of their tables."""
        self._pool(pool_id)
        return [job for job in self.metadata.jobs.list(pool_id) if _sees(by, job)]

    def ledger(
        self, pool_id: str, by: Key, *, limit: int, offset: int, wanted: JobFilter = ALL_JOBS
    ) -> Sequence[Job]:
        self._pool(pool_id)
        if by.tables is None:
            return self.metadata.jobs.ledger(pool_id, limit=limit, offset=offset, wanted=wanted)
        # a page is counted in what the key sees: the ledger is gone through as far as it has to be
        seen = (job for job in self._whole_ledger(pool_id, wanted) if _sees(by, job))
        return list(islice(seen, offset, offset + limit))

    def _whole_ledger(self, pool_id: str, wanted: JobFilter) -> Iterator[Job]:
        """In blocks; a job that is pushed down into the next one by a new job comes once."""
        known: set[str] = set()
        offset = 0
        while block := self.metadata.jobs.ledger(pool_id, limit=_BLOCK, offset=offset, wanted=wanted):
            yield from (job for job in block if job.id not in known)
            known = {job.id for job in block}
            offset += len(block)

    def execute(
        self, pool_id: str, job_id: str, order_column: str | None, idempotency_key: str | None = None
    ) -> None:
        """NEW to QUEUED before the answer. Raises JobNotNew, Overloaded, TooManySubmissions.

        A job that was queued under the same key already is no error.
        """
        if _was_executed(self.get(pool_id, job_id), idempotency_key):
            return
        self.quotas.submit()
        most = self.quotas.queued_jobs
        at = now()
        if not self.metadata.jobs.queue(job_id, order_column or None, at, key=idempotency_key, most=most):
            _was_executed(self.get(pool_id, job_id), idempotency_key)
            return
        crash_point("queued")
        self.on_queue()

    def delete(self, pool_id: str, job_id: str) -> None:
        """Take the job from the client's sight. Rows that it loaded stay; the ledger keeps its line."""
        job = self.get(pool_id, job_id)
        status = self.metadata.jobs.delete(pool_id, job_id, now())
        if status in (JobStatus.NEW, JobStatus.QUEUED):
            self.on_delete(job)
        elif status is JobStatus.ERROR:  # nobody can run it again now
            self.chunks.drop(job.id)

    def preview(self, pool_id: str, job_id: str, order_column: str | None) -> Outlook:
        """What ``execute`` would do with the chunks that are here now; the job stays NEW.

        Raises JobNotNew, StillStaging, Busy.
        """
        job = self._new(pool_id, job_id)
        if not self.await_staged(job.id, self.preview_seconds):
            raise StillStaging
        try:
            outlook = self.foresee(replace(job, order_column=order_column or None))
        except Exception:
            self._new(pool_id, job_id)  # executed meanwhile, and its files went under our hands
            raise
        self._new(pool_id, job_id)
        return outlook

    def _new(self, pool_id: str, job_id: str) -> Job:
        """The job if it is NEW. Raises JobNotNew."""
        job = self.get(pool_id, job_id)
        _was_executed(job, None)
        return job

    # -- rejects ---------------------------------------------------------------------------------------

    def rejects_of(
        self, pool_id: str, job_id: str, *, limit: int, offset: int, alike: Alike | None = None
    ) -> list[ToldReject]:
        """Rows of the job that could not be stored, in the order of chunks and lines; all or those alike."""
        job = self.ledger_entry(pool_id, job_id)
        chunks = self.metadata.chunks.list(job.id)
        teller = Teller(job, chunks)
        found = self.rejects.page(chunks, limit=limit, offset=offset, alike=alike)
        return [teller.told(chunk, reject) for chunk, reject in found]

    def reasons_of(self, pool_id: str, job_id: str) -> list[Reason]:
        """Why rows of the job could not be stored, the most frequent reason first."""
        job = self.ledger_entry(pool_id, job_id)
        chunks = self.metadata.chunks.list(job.id)
        return reasons(Teller(job, chunks), rejected_by(chunks))

    def sizes(self, jobs: Sequence[Job]) -> dict[str, int]:
        """The bytes that each of the jobs was sent; those without chunks are not there."""
        return self.metadata.chunks.sizes([job.id for job in jobs])

    def ledger_chunks(self, pool_id: str, job_id: str) -> Sequence[Chunk]:
        """The chunks of a job, also when a client has deleted it."""
        return self.metadata.chunks.list(self.ledger_entry(pool_id, job_id).id)

    def rejects_as_csv(self, pool_id: str, job_id: str, *, limit: int | None, offset: int) -> Iterator[bytes]:
        """The same as lines of a CSV."""
        job = self.ledger_entry(pool_id, job_id)
        chunks = self.metadata.chunks.list(job.id)
        return as_csv(Teller(job, chunks), chunks, self.rejects.page(chunks, limit=limit, offset=offset))

    # -- chunks ----------------------------------------------------------------------------------------

    def chunk_list(self, pool_id: str, job_id: str) -> Sequence[Chunk]:
        return self.metadata.chunks.list(self.get(pool_id, job_id).id)

    def begin_chunk(
        self,
        pool_id: str,
        job_id: str,
        type: ChunkType,
        length: int | None,
        encoding: Packing | None = None,
        idempotency_key: str | None = None,
    ) -> Arrival:
        """The gate: raises whatever can be refused before a byte of the body is read."""
        job = self.open_job(pool_id, job_id, type, idempotency_key)
        room, unpacked_room = self.quotas.room(job), self.quotas.unpacked_room(job)
        if length is not None and length > room.bytes + LONGEST_ENVELOPE:
            raise room.refusal
        chunk_id = str(uuid4())
        incoming = self.chunks.receive(job_id, chunk_id)
        return Arrival(chunk_id, job, type, incoming, room, unpacked_room, encoding, idempotency_key)

    def open_job(self, pool_id: str, job_id: str, type: ChunkType, idempotency_key: str | None = None) -> Job:
        """The job, if it takes such a chunk, or has it already. Raises JobLocked, InvalidRequest."""
        job = self.get(pool_id, job_id)
        if job.status is not JobStatus.NEW and not self._came_before(job_id, idempotency_key):
            raise JobLocked(f"The job is {job.status}: it takes chunks only while it is NEW.")
        if type is ChunkType.DELETE:
            refuse_delete(job.spec)
        return job

    def _came_before(self, job_id: str, idempotency_key: str | None) -> bool:
        return idempotency_key is not None and self.metadata.chunks.has_key(job_id, idempotency_key)

    def add_chunk(self, arrival: Arrival, label: Label = NO_LABEL) -> Chunk:
        """Bytes first, row second: after this returns, the chunk survives a power loss.

        Raises ChunkUnreadable, TooLarge, or JobLocked if the job was executed meanwhile; then the chunk is
        gone.
        """
        job, spec = arrival.job, arrival.job.spec
        try:
            arrival.end()
            path = _kept(arrival)
            crash_point("kept")
            seen = self.stager.look(path, spec, label)
            refuse_without_keys(spec, seen.file_type, seen.columns)
            self.quotas.admit(job, arrival.stored, arrival.chunk_id)
            chunk = self.metadata.chunks.add(
                Chunk(
                    arrival.chunk_id,
                    job.id,
                    job.pool_id,
                    0,
                    arrival.type,
                    arrival.size,
                    arrival.hash.hexdigest(),
                    seen.file_type,
                    now(),
                    idempotency_key=arrival.idempotency_key,
                    stored_sha256=arrival.stored_sha256,
                ),
                job_bytes=self.quotas.job_bytes,
                notes=(*arrival.notes(label), *seen.notes),
            )
        except BaseException:
            arrival.incoming.discard()
            raise
        crash_point("recorded")
        arrival.incoming.release()
        if chunk.id == arrival.chunk_id:
            self.observe(Received(chunk, seconds_since(arrival.start)))
            self.on_chunk(chunk)
        else:  # it is here already: the client had not heard so
            arrival.incoming.discard()
        return chunk

    def _pool(self, pool_id: str) -> None:
        if self.metadata.pools.get(pool_id) is None:
            raise NotFound(f"There is no pool {pool_id}.")


_BLOCK = 500


def _sees(key: Key, job: Job) -> bool:
    return sees_table(key, *(target.name for target in job.spec.targets))


def _kept(arrival: Arrival) -> Path:
    try:
        return arrival.incoming.keep()
    except FileNotFoundError as error:  # the job ended meanwhile, and took its chunks along
        raise JobLocked from error


_SHOWN = {
    FileType.PARQUET: "Parquet",
    FileType.CSV: "CSV",
    FileType.NDJSON: "NDJSON",
    FileType.ARROW: "Arrow",
}


# -- what can be refused at once -----------------------------------------------------------------------


def check(spec: PushSpec) -> None:
    """Raise InvalidRequest, naming the field, for a job that could never be loaded."""
    for name in (spec.target_name, *spec.mirror_names):
        if not name.strip() or len(name) > _LONGEST_NAME or "\0" in name:
            raise InvalidRequest(
                f"A table name has 1 to {_LONGEST_NAME} characters, none of them NUL.", attribute="targetName"
            )
    _check_keys(spec)
    if spec.csv:
        _check_csv(spec.csv)


def _check_keys(spec: PushSpec) -> None:
    folded = [fold(key) for key in spec.keys]
    if len(set(folded)) < len(folded) or not all(folded):
        raise InvalidRequest("Keys are column names, each of them once.", attribute="keys")


def _check_csv(csv: CsvOptions) -> None:
    for attribute, pattern in (
        ("dateFormat", csv.date_format),
        *((f"additionalColumnOptions.{name}.dateFormat", o.date_format) for name, o in csv.columns.items()),
    ):
        _check_pattern(attribute, pattern)
    for attribute, value in (("quoteSequence", csv.quote), ("escapeSequence", csv.escape)):
        if value and len(value) != 1:
            raise InvalidRequest(f"{attribute} is one character.", attribute=attribute)
    try:
        codecs.lookup(csv.charset or "utf-8")
    except LookupError as error:
        raise InvalidRequest(f"The charset {csv.charset} is not known.", attribute="charSet") from error


def _check_pattern(attribute: str, pattern: str | None) -> None:
    if not pattern:
        return
    try:
        read_pattern(pattern)
    except UnsupportedPattern as error:
        raise InvalidRequest(
            f"The date format '{pattern}' is not supported: {error}", attribute=attribute
        ) from error


def _was_executed(job: Job, idempotency_key: str | None) -> bool:
    """Under this key, that is; False for a NEW job. Raises JobNotNew."""
    if idempotency_key and job.execute_key == idempotency_key:
        return True
    if job.status is not JobStatus.NEW:
        raise JobNotNew(f"Only a NEW job can be executed; the job {job.id} is {job.status}.")
    return False


def refuse_delete(spec: PushSpec) -> None:
    if spec.type is JobType.REPLACE:
        raise InvalidRequest("A REPLACE job has nothing to delete from; use a DELTA job.", attribute="type")
    if not spec.key_columns:
        raise InvalidRequest("A job needs keys to find the rows to delete.", attribute="keys")


def refuse_without_keys(spec: PushSpec, file_type: FileType, columns: Sequence[str]) -> None:
    present = {fold(name) for name in columns}
    lacking = [key for key in spec.key_columns if fold(key) not in present]
    if lacking:
        raise ChunkUnreadable(
            # the words that clients look for
            f"Internal error while validating the {_SHOWN[file_type]}: the key columns "
            f"{', '.join(lacking)} are not among its columns {', '.join(columns)}.",
            attribute="keys",
            hint=separator_of(columns[0], spec.csv.separator if spec.csv else None)
            if len(columns) == 1
            else None,
        )


def not_honoured(spec: PushSpec) -> tuple[str, ...]:
    """Log lines for options that have no effect here: nothing is ignored in silence."""
    lines = []
    if spec.post_execution_query:
        lines.append("postExecutionQuery is not run: Headrace runs no SQL that changes tables.")
    if spec.foreign_keys:
        lines.append("foreignKeys is kept but not checked.")
    if spec.csv and spec.file_type is not FileType.CSV:
        lines.append("csvParsingOptions apply to CSV chunks only.")
    if spec.upsert_strategy and (spec.type is JobType.REPLACE or not spec.key_columns):
        lines.append(
            "upsertStrategy applies to a DELTA with keys; otherwise only its rule on new columns holds."
        )
    return tuple(lines)


# -- jobs that follow others ---------------------------------------------------------------------------


def follow_up(of: Job, spec: PushSpec, by: Key) -> Job:
    """A QUEUED job that does again what another one did not, or not wholly; it orders rows as that one."""
    at = now()
    return Job(
        str(uuid4()),
        of.pool_id,
        spec,
        JobStatus.QUEUED,
        at,
        at,
        created_by=by.id,
        order_column=of.order_column,
        queued_at=at,
    )
