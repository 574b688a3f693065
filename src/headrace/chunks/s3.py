"""Chunks as objects of a store: ``chunks/<jobId>/<chunkId>/<number>``, in pieces that go while it comes.

The last piece makes a chunk of them: its name ends with ``.end``, and it is written when all others are
there. Pieces without one are of something that never was whole, and are swept as such. (The parts of S3's own
multipart uploads are in no list of objects, and in many stores they cannot be joined on a condition.)

What comes is written to a file of this process first (``pieces.py``); who looks into a chunk finds it there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from headrace.chunks.pieces import PIECE_BYTES, Pieces
from headrace.errors import DiskFull, StorageUnreachable
from headrace.model import Chunk
from headrace.objects import Found, Objects, folders_of, strays

_END = ".end"
_ROOT = "chunks"


class S3Chunks:
    """``temp``: a folder of this process; below ``min_free_bytes`` of its disk nothing new is taken."""

    def __init__(
        self,
        objects: Objects,
        temp: Path,
        *,
        min_free_bytes: int,
        uploads: int = 16,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._objects = objects
        self._temp = temp
        self._min_free_bytes = min_free_bytes
        self._piece_bytes = piece_bytes
        self._threads = ThreadPoolExecutor(uploads, "upload")
        temp.mkdir(parents=True, exist_ok=True)

    def receive(self, job_id: str, chunk_id: str) -> IncomingObject:
        if shutil.disk_usage(self._temp).free < self._min_free_bytes:
            raise DiskFull
        return self._incoming(job_id, chunk_id)

    def adopt(self, job_id: str, chunk_id: str, source: Path) -> IncomingObject:  # noqa: ARG002
        """Its bytes will be written once more, and go from there."""
        return self._incoming(job_id, chunk_id)

    def _incoming(self, job_id: str, chunk_id: str) -> IncomingObject:
        place, file = f"{_ROOT}/{job_id}/{chunk_id}", self._temp / f"{chunk_id}.part"
        return IncomingObject(self._objects, place, file, self._threads, self._piece_bytes)

    @contextmanager
    def reading(self, job_id: str, chunk_id: str) -> Iterator[Path]:
        pieces = _whole(self._objects.found(f"{_ROOT}/{job_id}/{chunk_id}"))
        with self._objects.joined(pieces, self._temp / f"{chunk_id}-{uuid4().hex}") as file:
            yield file

    def take_over(self, of: Chunk, chunk: Chunk) -> None:
        pieces = _whole(self._objects.found(f"{_ROOT}/{of.job_id}/{of.id}"))
        for key in pieces:  # the last one comes last
            self._objects.copy(key, f"{_ROOT}/{chunk.job_id}/{chunk.id}/{key.rpartition('/')[2]}")

    def drop(self, job_id: str) -> None:
        self._objects.delete_below(f"{_ROOT}/{job_id}")

    def jobs(self) -> Iterator[str]:
        # by the objects themselves: some stores go on listing folders that are empty
        return iter({folders_of(found)[0] for found in self._objects.found(_ROOT)})

    def sweep(self, job_id: str, chunk_ids: Iterable[str], *, older_s: float = 0.0) -> None:
        found = list(self._objects.found(f"{_ROOT}/{job_id}"))
        gone = strays(found, _chunk_of, set(chunk_ids), older_s)
        self._objects.delete([object.key for object in found if _chunk_of(object) in gone])

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


class IncomingObject:
    """Pieces go from other threads; the one that receives only writes to the file."""

    def __init__(
        self, objects: Objects, place: str, file: Path, threads: ThreadPoolExecutor, piece_bytes: int
    ) -> None:
        self._objects = objects
        self._place = place
        self._pieces = Pieces(file, threads, piece_bytes, self._send)

    def write(self, data: bytes | memoryview) -> None:
        self._pieces.write(data)

    def _send(self, number: int, data: bytes, end: str = "") -> None:
        self._objects.put(f"{self._place}/{number:05}{end}", data)

    def keep(self) -> Path:
        self._send(*self._pieces.last(), _END)
        return self._pieces.path

    def release(self) -> None:
        self._pieces.release()

    def discard(self) -> None:
        self.release()
        self._pieces.call_back()  # or one would come after all was deleted
        with suppress(StorageUnreachable):  # what stays is swept
            self._objects.delete_below(self._place)


def key_of_whole(job_id: str, chunk_id: str) -> str:
    """Of a chunk that is one piece."""
    return f"{_ROOT}/{job_id}/{chunk_id}/{0:05}{_END}"


def _whole(found: Iterable[Found]) -> list[str]:
    """The keys of a chunk's pieces in their order. Raises FileNotFoundError."""
    keys = sorted(object.key for object in found)
    if not keys or keys[-1].rpartition("/")[2] != f"{len(keys) - 1:05}{_END}":
        raise FileNotFoundError(f"There is no chunk at {keys[:1]}.")
    return keys


def _chunk_of(found: Found) -> str:
    return folders_of(found)[1]
