"""Chunks that come in parts: what the server knows of them beside their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Row,
    and_,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)

from headrace.errors import KeyReused, Overloaded
from headrace.metadata.dialects import alone
from headrace.metadata.schema import jobs, uploads
from headrace.model import ChunkType, FileType, JobStatus, Label, Upload

_UNFINISHED = uploads.c.finished_at.is_(None)


class Uploads:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def add(self, upload: Upload, *, most: int) -> Upload:
        """Record a new one; one that came before under its idempotency key is answered. Raises KeyReused.

        Raises Overloaded when ``most`` of the pool are unfinished already.
        """
        with self._writes.begin() as db:
            alone(db, "uploads", upload.pool_id)
            if known := _known(db, upload):
                return known
            of_pool = select(func.count()).where(uploads.c.pool_id == upload.pool_id, _UNFINISHED)
            if db.execute(of_pool).scalar_one() >= most:
                raise Overloaded(f"{most} uploads of the pool are unfinished; finish or end some of them.")
            db.execute(insert(uploads).values(_row(upload)))
            return upload

    def get(self, upload_id: str) -> Upload | None:
        with self._reads.connect() as db:
            row = db.execute(select(uploads).where(uploads.c.id == upload_id)).one_or_none()
        return _upload(row) if row else None

    def mark_unchecked(self, upload_id: str, offset: int | None) -> None:
        """The bytes from there on are not compared with their checksum yet; None: all are."""
        change = update(uploads).where(uploads.c.id == upload_id, _UNFINISHED).values(unchecked_from=offset)
        with self._writes.begin() as db:
            db.execute(change)

    def delete(self, upload_id: str) -> bool:
        """Forget one that is not finished; False if it is, or is not there."""
        with self._writes.begin() as db:
            return db.execute(delete(uploads).where(uploads.c.id == upload_id, _UNFINISHED)).rowcount == 1

    def unfinished(self) -> Sequence[tuple[Upload, bool]]:
        """All that are not finished, and whether the job of each still takes chunks."""
        takes = and_(jobs.c.status == JobStatus.NEW, jobs.c.deleted_at.is_(None))
        query = select(uploads, takes.label("takes")).join(jobs, jobs.c.id == uploads.c.job_id)
        with self._reads.connect() as db:
            return [(_upload(row), bool(row.takes)) for row in db.execute(query.where(_UNFINISHED))]

    def forget_finished(self, before: datetime) -> None:
        with self._writes.begin() as db:
            db.execute(delete(uploads).where(uploads.c.finished_at < before))

    def bytes_of_job(self, job_id: str, *, apart_from: str | None = None) -> int:
        """What the unfinished uploads of a job will have, all but one."""
        return self._bytes(uploads.c.job_id == job_id, apart_from)

    def bytes_of_pool(self, pool_id: str, *, apart_from: str | None = None) -> int:
        return self._bytes(uploads.c.pool_id == pool_id, apart_from)

    def _bytes(self, which: ColumnElement[bool], apart_from: str | None) -> int:
        with self._reads.connect() as db:
            return int(db.execute(promised(which, apart_from)).scalar_one())


def promised(which: ColumnElement[bool], apart_from: str | None) -> Any:
    """The query of the bytes that unfinished uploads will have."""
    total = cast(func.coalesce(func.sum(uploads.c.length), 0), BigInteger)
    return select(total).where(which, _UNFINISHED, uploads.c.id != (apart_from or ""))


def finish(db: Connection, upload_id: str, at: datetime) -> None:
    """In the transaction that records its chunk; nothing happens if there is no such upload."""
    change = update(uploads).where(uploads.c.id == upload_id, _UNFINISHED)
    db.execute(change.values(finished_at=at, unchecked_from=None))


def _known(db: Connection, upload: Upload) -> Upload | None:
    """The one that was created under the same key before."""
    if not upload.idempotency_key:
        return None
    same = (uploads.c.job_id == upload.job_id) & (uploads.c.idempotency_key == upload.idempotency_key)
    row = db.execute(select(uploads).where(same)).one_or_none()
    if row is None:
        return None
    known = _upload(row)
    if (known.created_by, known.length, known.metadata) != (
        upload.created_by,
        upload.length,
        upload.metadata,
    ):
        raise KeyReused
    return known


def _row(upload: Upload) -> dict[str, Any]:
    label = upload.label
    fields = {name: value for name, value in vars(upload).items() if name != "label"}
    return {**fields, "file_type": label.file_type, "packed": label.packed}


def _upload(row: Row[Any]) -> Upload:
    known = {c.name for c in uploads.c} - {"file_type", "packed"}
    fields = {name: value for name, value in row._mapping.items() if name in known}
    label = Label(FileType(row.file_type) if row.file_type else None, row.packed)
    return Upload(**{**fields, "type": ChunkType(row.type), "label": label})
