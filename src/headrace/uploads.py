"""Resumable uploads: a chunk that comes in parts, over as many requests and starts of the server as it takes.

What has come is told by what lies of the upload alone, which is durable before a part is answered. When
all has come the upload becomes a chunk on the way of every other chunk, in the transaction that records it.
Whoever asks for the offset of an upload that has come whole and is no chunk yet, because the server died or
the disk was full in between, makes it one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import structlog

from headrace.arriving import UNPACK_AT_ONCE, Arrival
from headrace.chunks import Incoming, PartFile, PartLock, PartStore
from headrace.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidRequest,
    KeyReused,
    NotFound,
    TooLarge,
    UploadLocked,
)
from headrace.metadata import Metadata
from headrace.model import Job, Key, Upload, now
from headrace.pushes import Pushes
from headrace.unpacking import MAGIC_BYTES, packing_of

log = structlog.get_logger()

ALGORITHMS = ("sha1", "sha256", "md5")
"""Of the checksums of parts: against damage on the way, not against malice."""

_FOR_GOOD = (InvalidRequest, KeyReused, TooLarge)
"""What comes of such an upload will never be a chunk."""

_READ_AT_ONCE = 1 << 20
_SWEEP_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Checksum:
    """What a client says of a part. ``algorithm`` is one of ALGORITHMS."""

    algorithm: str
    digest: bytes


class Part:
    """A part on its way in; while it is, the upload is locked."""

    def __init__(self, upload: Upload, file: PartFile, offset: int, checksum: Checksum | None) -> None:
        self.upload = upload
        self.file = file
        self.offset = offset
        self.size = 0
        self.checksum = checksum
        self._hash = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None

    def write(self, data: bytes) -> None:
        """Raises TooLarge beyond the upload's length, DiskFull."""
        self.size += len(data)
        if self.offset + self.size > self.upload.length:
            raise _beyond(self.upload)
        if self._hash:
            self._hash.update(data)
        self.file.write(data)

    def check(self) -> None:
        """Raises ChecksumMismatch."""
        if self.checksum and self._hash and self._hash.digest() != self.checksum.digest:
            raise ChecksumMismatch


class Uploads:
    """``most`` of a pool may be unfinished; each waits for ``keep`` for its next part.

    ``settled_s``: a file that nobody knows is a stray only after so long, for other servers make some, too.
    """

    def __init__(
        self,
        metadata: Metadata,
        parts: PartStore,
        pushes: Pushes,
        *,
        most: int,
        keep: timedelta,
        settled_s: float = 0.0,
    ) -> None:
        self._metadata = metadata
        self._parts = parts
        self._pushes = pushes
        self._most = most
        self._keep = keep
        self._settled_s = settled_s
        self._locks: dict[str, PartLock] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sweep_loop, name="uploads", daemon=True)

    @property
    def most_bytes(self) -> int:
        return self._pushes.quotas.chunk_bytes

    # -- the life of an upload -------------------------------------------------------------------------

    def create(self, wish: Upload) -> tuple[Upload, bool]:
        """Begin an upload, whose id is made here; answers it, and that it is new. Bytes first, row second.

        The same creation sent again under its idempotency key is answered by the first one. Raises what a
        chunk of this length would meet at its gate; Overloaded, KeyReused.
        """
        job = self._pushes.open_job(wish.pool_id, wish.job_id, wish.type, wish.idempotency_key)
        room = self._pushes.quotas.room(job)
        if wish.length > room.bytes:
            raise room.refusal
        upload = replace(wish, id=str(uuid4()))
        self._parts.begin(job.id, upload.id)
        try:
            known = self._metadata.uploads.add(upload, most=self._most)
        except BaseException:
            self._parts.drop(job.id, upload.id)
            raise
        if known.id != upload.id:
            self._parts.drop(job.id, upload.id)
        elif upload.length == 0:
            known = self._finished_at_once(upload)
        return known, known.id == upload.id

    def _finished_at_once(self, upload: Upload) -> Upload:
        with self._held(upload):
            self._finish(upload)
        return replace(upload, finished_at=now())

    def find(self, pool_id: str, job_id: str, upload_id: str, by: Key) -> tuple[Upload, int]:
        """The upload and how much of it has come; all of it only if it is a chunk. Raises NotFound.

        One that has come whole becomes a chunk, and raises what a chunk may raise.
        """
        upload = self._mine(pool_id, job_id, upload_id, by)
        offset = self._offset(upload)
        if offset < upload.length or upload.finished_at:
            return upload, offset
        with self._held(upload):
            upload = self._mine(pool_id, job_id, upload_id, by)
            if not upload.finished_at:
                self._finish(upload)
        return upload, upload.length

    def begin_part(
        self,
        pool_id: str,
        job_id: str,
        upload_id: str,
        by: Key,
        *,
        offset: int,
        length: int | None,
        checksum: Checksum | None,
    ) -> Part:
        """The gate of a part: raises whatever can be refused before a byte of it is read.

        The upload is locked until ``end_part`` or ``break_off``. Raises UploadLocked.
        """
        upload = self._mine(pool_id, job_id, upload_id, by)
        self._pushes.open_job(pool_id, job_id, upload.type, upload.idempotency_key)
        self._take_lock(upload)
        try:
            upload = self._checked(self._mine(pool_id, job_id, upload_id, by))
            _refuse_elsewhere(upload, offset, self._offset(upload))
            if length is not None and offset + length > upload.length:
                raise _beyond(upload)
            if checksum:
                self._metadata.uploads.mark_unchecked(upload.id, offset)
                upload = replace(upload, unchecked_from=offset)
            return Part(upload, self._parts.open(job_id, upload_id), offset, checksum)
        except BaseException:
            self._release(upload_id)
            raise

    def end_part(self, part: Part) -> int:
        """All of the part has come: it is durable when this returns how much of the upload there is.

        Raises ChecksumMismatch, with nothing kept of the part; if it was the last one, what a chunk raises.
        """
        upload = part.upload
        try:
            self._keep_part(part)
            if part.offset + part.size == upload.length:
                self._finish(upload)
            return part.offset + part.size
        finally:
            self._release(upload.id)

    def _keep_part(self, part: Part) -> None:
        try:
            part.check()
        except ChecksumMismatch:
            part.file.take_back()
            self._trust(part.upload)
            raise
        part.file.keep()
        self._locks[part.upload.id].check()  # or another may have gone on from somewhere else
        self._trust(part.upload)

    def break_off(self, part: Part, error: BaseException) -> None:
        """The part ended before its end. What has come of it stays, unless it can't be trusted."""
        try:
            if part.checksum or isinstance(error, TooLarge):
                part.file.take_back()
                self._trust(part.upload)
            else:
                part.file.keep()
        finally:
            self._release(part.upload.id)

    def end(self, pool_id: str, job_id: str, upload_id: str, by: Key) -> None:
        """Forget an upload that is not finished. Raises Conflict when it is a chunk, UploadLocked."""
        with self._held(self._mine(pool_id, job_id, upload_id, by)):
            upload = self._mine(pool_id, job_id, upload_id, by)
            if upload.finished_at:
                raise Conflict("The upload is finished: it is a chunk of its job.")
            self._drop(upload)

    def abandon(self, upload: Upload) -> None:
        """Forget an upload that nobody has heard of, unless it is a chunk already."""
        with suppress(UploadLocked), self._held(upload):
            known = self._metadata.uploads.get(upload.id)
            if known and not known.finished_at:
                self._drop(known)

    def expires(self, upload: Upload) -> datetime:
        """Unless another part comes before. Raises NotFound."""
        if upload.finished_at:
            return upload.finished_at + self._keep
        try:
            return self._parts.come(upload.job_id, upload.id).at + self._keep
        except FileNotFoundError as error:
            raise _not_here(upload.id) from error

    # -- one upload ------------------------------------------------------------------------------------

    def _mine(self, pool_id: str, job_id: str, upload_id: str, by: Key) -> Upload:
        """The upload, if this key made it. Raises NotFound, for those of others, too."""
        self._pushes.get(pool_id, job_id)
        upload = self._metadata.uploads.get(upload_id)
        if upload is None or (upload.pool_id, upload.job_id, upload.created_by) != (pool_id, job_id, by.id):
            raise _not_here(upload_id)
        if self.expires(upload) <= now():
            raise _not_here(upload_id)
        return upload

    def _offset(self, upload: Upload) -> int:
        if upload.finished_at:
            return upload.length
        size = self._parts.come(upload.job_id, upload.id).bytes
        return size if upload.unchecked_from is None else min(size, upload.unchecked_from)

    def _checked(self, upload: Upload) -> Upload:
        """The upload without bytes that nobody had compared with their checksum when the server died."""
        if upload.unchecked_from is None:
            return upload
        self._parts.cut(upload.job_id, upload.id, upload.unchecked_from)
        return self._trust(upload)

    def _trust(self, upload: Upload) -> Upload:
        if upload.unchecked_from is None:
            return upload
        self._metadata.uploads.mark_unchecked(upload.id, None)
        return replace(upload, unchecked_from=None)

    def _finish(self, upload: Upload) -> None:
        """All has come: make it a chunk. The upload stays if that may succeed later."""
        try:
            job = self._pushes.open_job(upload.pool_id, upload.job_id, upload.type, upload.idempotency_key)
            with self._parts.reading(upload.job_id, upload.id) as whole:
                arrival = self._arrival(upload, job, whole)
                _read_into(arrival, whole)
                self._pushes.add_chunk(arrival, upload.label)
        except _FOR_GOOD:
            self._drop(upload)
            raise
        self._parts.drop(upload.job_id, upload.id)

    def _arrival(self, upload: Upload, job: Job, whole: Path) -> Arrival:
        quotas, id = self._pushes.quotas, upload.id
        room, unpacked_room = quotas.room(job, id), quotas.unpacked_room(job, id)
        incoming = self._incoming(upload, whole)
        return Arrival(
            id, job, upload.type, incoming, room, unpacked_room, idempotency_key=upload.idempotency_key
        )

    def _incoming(self, upload: Upload, whole: Path) -> Incoming:
        """A second name for its file; another file if it is packed, for chunks are kept unpacked."""
        with whole.open("rb") as file:
            head = file.read(MAGIC_BYTES)
        if packing_of(head):
            return self._pushes.chunks.receive(upload.job_id, upload.id)
        return self._pushes.chunks.adopt(upload.job_id, upload.id, whole)

    def _drop(self, upload: Upload) -> None:
        """Row first: a file without one is swept at the next start."""
        self._metadata.uploads.delete(upload.id)
        self._parts.drop(upload.job_id, upload.id)

    # -- one at a time ---------------------------------------------------------------------------------

    def _take_lock(self, upload: Upload) -> None:
        """Raises UploadLocked."""
        self._locks[upload.id] = self._parts.lock(upload.job_id, upload.id)

    def _release(self, upload_id: str) -> None:
        if lock := self._locks.pop(upload_id, None):
            lock.release()

    @contextmanager
    def _held(self, upload: Upload) -> Iterator[None]:
        self._take_lock(upload)
        try:
            yield
        finally:
            self._release(upload.id)

    # -- sweeping --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Forget what a crash left, then look from time to time for what nobody goes on with."""
        known = {upload.id for upload, _ in self._metadata.uploads.unfinished()}
        self._parts.sweep(known, older_s=self._settled_s)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._parts.close()

    def _sweep_loop(self) -> None:
        every = min(_SWEEP_EVERY, self._keep / 4)
        while not self._ended.wait(every.total_seconds()):
            try:
                self.sweep()
            except Exception:
                log.exception("uploads could not be swept")

    def sweep(self) -> None:
        """Forget uploads that have expired, and those whose job takes no chunk any more."""
        at = now()
        self._metadata.uploads.forget_finished(at - self._keep)
        for upload, job_takes_it in self._metadata.uploads.unfinished():
            if job_takes_it and not self._is_over(upload, at):
                continue
            with suppress(UploadLocked), self._held(upload):
                self._drop(upload)

    def _is_over(self, upload: Upload, at: datetime) -> bool:
        try:
            return self.expires(upload) <= at
        except NotFound:  # its file is gone
            return True


def _read_into(arrival: Arrival, whole: Path) -> None:
    try:
        with whole.open("rb") as file:
            for data in iter(partial(file.read, _READ_AT_ONCE), b""):
                arrival.write(data)
                if arrival.waiting >= UNPACK_AT_ONCE:
                    arrival.unpack()
    except BaseException:
        arrival.incoming.discard()
        raise


def _refuse_elsewhere(upload: Upload, offset: int, here: int) -> None:
    if upload.finished_at:
        raise Conflict("The upload is finished: it is a chunk of its job.")
    if offset != here:
        raise Conflict(f"{here} bytes of the upload have come: go on there, not at {offset}.")


def _beyond(upload: Upload) -> TooLarge:
    return TooLarge(f"The upload has {upload.length} bytes, as its Upload-Length said.")


def _not_here(upload_id: str) -> NotFound:
    return NotFound(f"There is no upload {upload_id}.")
