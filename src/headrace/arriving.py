"""A chunk on its way in."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headrace.chunks import Incoming
from headrace.crashpoints import crash_point
from headrace.errors import ChunkUnreadable
from headrace.model import ChunkType, Job, Label
from headrace.quotas import Room
from headrace.unpacking import MAGIC_BYTES, BadPacking, Packing, Unpacker, packing_of

UNPACK_AT_ONCE = 1 << 20
"""So much that is packed may wait to be unpacked."""


LONGEST_ENVELOPE = 64 << 10
"""Multipart boundaries and part headers count in Content-Length, not as the chunk."""


@dataclass
class Arrival:
    """Counts, hashes and writes what comes, and refuses what is too much.

    ``size`` and ``hash`` are those of the chunk as it stands in the request; ``encoding`` says how that was
    packed as a whole. Bytes that are packed wait until ``unpack`` is called: it takes its time, which is not
    for the thread that receives. What is stored are the unpacked bytes, so that all lines and offsets are
    those of the unpacked file.
    """

    chunk_id: str
    job: Job
    type: ChunkType
    incoming: Incoming
    room: Room
    unpacked_room: Room
    encoding: Packing | None = None
    idempotency_key: str | None = None
    size: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    waiting: int = 0
    unpacker: Unpacker | None = None
    start: float = field(default_factory=time.monotonic)
    _head: bytes | None = b""
    _packed: list[bytes | memoryview] = field(default_factory=list)
    _unpacked_size: int = 0
    _unpacked_hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def stored_sha256(self) -> str:
        """Of the chunk as it is stored."""
        return (self._unpacked_hash if self.unpacker else self.hash).hexdigest()

    @property
    def stored(self) -> int:
        """The bytes of the chunk as it is stored: unpacked."""
        return self._unpacked_size if self.unpacker else self.size

    def notes(self, label: Label) -> tuple[str, ...]:
        """What a person should hear of it."""
        packings = (self.encoding, self.unpacker.packing if self.unpacker else None)
        notes = tuple(f"came packed ({packing}) and was unpacked" for packing in packings if packing)
        if label.packed and not self.unpacker:
            return (*notes, "is called packed by its name, and is not: it is read as it is")
        return notes

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        room = self.unpacked_room if self.encoding else self.room
        if self.size > room.bytes:
            raise room.refusal
        self.hash.update(data)
        if self._head is not None:
            data = self._begun(data)
        if self.unpacker:
            self._packed.append(data)
            self.waiting += len(data)
        else:
            self.incoming.write(data)
        crash_point("receiving")

    def _begun(self, data: bytes | memoryview) -> bytes:
        """What has come so far, once it is enough to tell whether it is packed."""
        head = (self._head or b"") + bytes(data)
        if len(head) < MAGIC_BYTES:
            self._head = head
            return b""
        self._head = None
        packing = packing_of(head)
        self.unpacker = Unpacker(packing) if packing else None
        return head

    def unpack(self) -> None:
        """Unpack what waits. Raises ChunkUnreadable, and TooLarge as soon as it becomes too much."""
        packed, self._packed, self.waiting = self._packed, [], 0
        if self.unpacker:
            for data in packed:
                self._store(self.unpacker.feed(data))

    def end(self) -> None:
        """All has come. Raises as ``unpack`` does."""
        if self._head:
            self.incoming.write(self._head)
        self.unpack()
        if self.unpacker:
            with unpacking():
                self.unpacker.end()

    def _store(self, slices: Iterable[bytes]) -> None:
        with unpacking():
            for data in slices:
                self._unpacked_size += len(data)
                if self._unpacked_size > self.unpacked_room.bytes:
                    raise self.unpacked_room.refusal
                self._unpacked_hash.update(data)
                self.incoming.write(data)


@contextmanager
def unpacking() -> Iterator[None]:
    """Damage is the client's to hear of."""
    try:
        yield
    except BadPacking as error:
        raise ChunkUnreadable(str(error)) from error
