"""The port to where the raw bytes of chunks lie until their job has ended.

A chunk is written under a name that nobody reads, and appears whole or not at all. After ``keep`` has
returned, its bytes survive a power loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from headrace.model import Chunk


class Incoming(Protocol):
    """A chunk that is being received."""

    def write(self, data: bytes | memoryview) -> object:
        """Append to it. Raises DiskFull."""

    def keep(self) -> Path:
        """Make it durable and visible. Raises DiskFull."""

    def discard(self) -> None:
        """Forget it; nothing stays. May be repeated, also after ``keep``."""


class ChunkStore(Protocol):
    def receive(self, job_id: str, chunk_id: str) -> Incoming:
        """Begin a chunk. Raises DiskFull below the watermark."""

    def path(self, job_id: str, chunk_id: str) -> Path:
        """Where the bytes of a kept chunk can be read."""

    def take_over(self, of: Chunk, chunk: Chunk) -> Path:
        """The bytes of a kept chunk for another job, durable, as a second name. Raises FileNotFoundError."""

    def drop(self, job_id: str) -> None:
        """Forget the chunks of a job. May be repeated."""

    def jobs(self) -> Iterator[str]:
        """The jobs that have anything here."""

    def sweep(self, job_id: str, chunk_ids: Iterable[str]) -> None:
        """Forget what was received of a job without being recorded as one of ``chunk_ids``."""
