"""The port to where the raw bytes of chunks lie until their job has ended.

A chunk is written under a name that nobody reads, and appears whole or not at all. After ``keep`` has
returned, its bytes survive a power loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from headrace.model import Chunk


class Incoming(Protocol):
    """A chunk that is being received."""

    def write(self, data: bytes | memoryview) -> object:
        """Append to it. Raises DiskFull."""

    def keep(self) -> Path:
        """Make it durable and visible; answers where its bytes can be read until ``release``.

        Raises DiskFull, StorageUnreachable.
        """

    def release(self) -> None:
        """Nobody reads it there any more. May be repeated."""

    def discard(self) -> None:
        """Forget it; nothing stays. May be repeated, also after ``keep``."""


class ChunkStore(Protocol):
    """Each method may raise StorageUnreachable where it is a store of objects."""

    def adopt(self, job_id: str, chunk_id: str, source: Path) -> Incoming:
        """Begin a chunk whose bytes lie in a file of the server already, and will be written once more.

        The file itself stays as it is, also after ``keep``.
        """

    def receive(self, job_id: str, chunk_id: str) -> Incoming:
        """Begin a chunk. Raises DiskFull below the watermark."""

    def reading(self, job_id: str, chunk_id: str) -> AbstractContextManager[Path]:
        """A file with the bytes of a kept chunk. Raises FileNotFoundError."""

    def take_over(self, of: Chunk, chunk: Chunk) -> None:
        """The bytes of a kept chunk for another job, durable, as a second name. Raises FileNotFoundError."""

    def drop(self, job_id: str) -> None:
        """Forget the chunks of a job. May be repeated."""

    def jobs(self) -> Iterator[str]:
        """The jobs that have anything here."""

    def sweep(self, job_id: str, chunk_ids: Iterable[str], *, older_s: float = 0.0) -> None:
        """Forget what was received of a job without being recorded as one of ``chunk_ids``.

        ``older_s``: what came in the last seconds is left alone: another server may be about to record it.
        """

    def close(self) -> None:
        """Let go of everything."""


class PartFile(Protocol):
    """The bytes of an upload, open for its next part."""

    def write(self, data: bytes | memoryview) -> object:
        """Append to it. Raises DiskFull; what was written before stays."""

    def keep(self) -> int:
        """Make durable what has come, and close; answers how much that is of the upload.

        Raises DiskFull, StorageUnreachable: of the part some may have been kept, from its beginning.
        """

    def take_back(self) -> None:
        """Keep nothing of what was written here, durably, and close."""


class PartLock(Protocol):
    def check(self) -> None:
        """Raises Busy if the upload may be somebody else's by now."""

    def release(self) -> None:
        """Once; the end of the process does it, too."""


@dataclass(frozen=True)
class Come:
    """What has come of an upload: so many bytes, the last of them then."""

    bytes: int
    at: datetime


class PartStore(Protocol):
    """Where uploads lie that come in parts, until they are chunks.

    Each method may raise StorageUnreachable where it is a store of objects.
    """

    def begin(self, job_id: str, upload_id: str) -> None:
        """One of which nothing has come. Raises DiskFull below the watermark."""

    def open(self, job_id: str, upload_id: str) -> PartFile:
        """For who has its lock. Raises DiskFull below the watermark, FileNotFoundError."""

    def lock(self, job_id: str, upload_id: str) -> PartLock:
        """Nobody else of any process has it; what is not there is nobody's. Raises UploadLocked."""

    def come(self, job_id: str, upload_id: str) -> Come:
        """The truth about what has come. Raises FileNotFoundError."""

    def reading(self, job_id: str, upload_id: str) -> AbstractContextManager[Path]:
        """A file with the bytes that have come. Raises FileNotFoundError, DiskFull."""

    def cut(self, job_id: str, upload_id: str, size: int) -> None:
        """Keep no more than so many bytes, durably; for who has its lock."""

    def drop(self, job_id: str, upload_id: str) -> None:
        """Forget it. May be repeated."""

    def sweep(self, upload_ids: Collection[str], *, older_s: float = 0.0) -> None:
        """Forget all but these; ``older_s`` as with chunks."""

    def close(self) -> None:
        """Let go of everything."""
