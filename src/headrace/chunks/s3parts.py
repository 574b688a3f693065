"""Uploads that come in parts, as objects: ``uploads/<jobId>/<uploadId>/<where its bytes begin>``.

What has come are the pieces from the first byte on that follow each other: one that lies behind a gap,
because the process that sent it died, counts as nothing, and goes when the next part begins. Beside them is
``begun``. Who writes has a lock of all processes; and a piece is written on the condition that nobody has
written one there, so that who has lost the lock and does not know can change nothing that has come.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from headrace.chunks import Come
from headrace.chunks.pieces import PIECE_BYTES, Pieces
from headrace.errors import DiskFull, UploadLocked
from headrace.locks import Held, Locks
from headrace.objects import Found, Objects, folders_of, strays

_BEGUN = "begun"
_ROOT = "uploads"


class S3Parts:
    """``temp``: a folder of this process; below ``min_free_bytes`` of its disk nothing new is taken."""

    def __init__(
        self,
        objects: Objects,
        temp: Path,
        locks: Locks,
        *,
        min_free_bytes: int,
        uploads: int = 16,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._objects = objects
        self._temp = temp
        self._locks = locks
        self._min_free_bytes = min_free_bytes
        self._piece_bytes = piece_bytes
        self._threads = ThreadPoolExecutor(uploads, "part")
        temp.mkdir(parents=True, exist_ok=True)

    def begin(self, job_id: str, upload_id: str) -> None:
        self._refuse_when_full()
        self._objects.put(f"{_place(job_id, upload_id)}/{_BEGUN}", b"")

    def open(self, job_id: str, upload_id: str) -> OpenPieces:
        self._refuse_when_full()
        found = self._found(job_id, upload_id)
        whole = _whole(found)
        self._objects.delete([piece.key for piece in {*_pieces(found)} - {*whole}])
        return OpenPieces(
            self._objects,
            _place(job_id, upload_id),
            _bytes(whole),
            self._file(upload_id),
            self._threads,
            self._piece_bytes,
        )

    def lock(self, job_id: str, upload_id: str) -> Held:
        held = self._locks.take("upload", job_id, upload_id)
        if held is None:
            raise UploadLocked
        return held

    def come(self, job_id: str, upload_id: str) -> Come:
        found = self._found(job_id, upload_id)
        return Come(_bytes(_whole(found)), max(object.at for object in found))

    @contextmanager
    def reading(self, job_id: str, upload_id: str) -> Iterator[Path]:
        pieces = _whole(self._found(job_id, upload_id))
        self._refuse_when_full()
        with self._objects.joined([piece.key for piece in pieces], self._file(upload_id)) as file:
            yield file

    def cut(self, job_id: str, upload_id: str, size: int) -> None:
        pieces = _pieces(self._found(job_id, upload_id))
        for piece in pieces:
            if _at(piece) < size < _at(piece) + piece.size:
                kept = self._objects.get(piece.key)[: size - _at(piece)]
                self._objects.put(piece.key, kept, overwrite=True)
        self._objects.delete([piece.key for piece in pieces if _at(piece) >= size])

    def drop(self, job_id: str, upload_id: str) -> None:
        self._objects.delete_below(_place(job_id, upload_id))

    def sweep(self, upload_ids: Collection[str], *, older_s: float = 0.0) -> None:
        found = list(self._objects.found(_ROOT))
        kept = {folders_of(object) for object in found if folders_of(object)[1] in upload_ids}
        for job_id, upload_id in strays(found, folders_of, kept, older_s):
            self.drop(job_id, upload_id)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._locks.close()

    def _found(self, job_id: str, upload_id: str) -> Sequence[Found]:
        found = list(self._objects.found(_place(job_id, upload_id)))
        if len(_pieces(found)) == len(found):
            raise FileNotFoundError(f"There is no upload {upload_id}.")
        return found

    def _file(self, upload_id: str) -> Path:
        return self._temp / f"{upload_id}-{uuid4().hex}"

    def _refuse_when_full(self) -> None:
        if shutil.disk_usage(self._temp).free < self._min_free_bytes:
            raise DiskFull


class OpenPieces:
    """Pieces go from other threads; the one that receives only writes to a file."""

    def __init__(
        self,
        objects: Objects,
        place: str,
        begins: int,
        file: Path,
        threads: ThreadPoolExecutor,
        piece_bytes: int,
    ) -> None:
        self._objects = objects
        self._place = place
        self._begins = begins
        self._piece_bytes = piece_bytes
        self._pieces = Pieces(file, threads, piece_bytes, self._send)
        self._changing = threading.Lock()
        self._mine: list[str] = []
        self._failed: Exception | None = None

    def write(self, data: bytes | memoryview) -> None:
        self._pieces.write(data)

    def _send(self, number: int, data: bytes) -> None:
        key = f"{self._place}/{self._begins + number * self._piece_bytes:020}"
        try:
            self._put(key, data)
        except Exception as error:
            self._failed = error
            raise
        with self._changing:
            self._mine.append(key)

    def _put(self, key: str, data: bytes) -> None:
        try:
            self._objects.put(key, data)
        except FileExistsError as error:
            raise UploadLocked from error  # who had the lock before is at it still

    def keep(self) -> int:
        try:
            number, data = self._pieces.last()
            if data:
                self._send(number, data)
            return self._begins + self._pieces.size
        finally:
            self._end()

    def take_back(self) -> None:
        """Only what was written here: it may be another's turn by now. Raises what a send has raised.

        A send that has failed may have come through nevertheless: who takes back must not believe that
        nothing is there.
        """
        self._end()
        self._objects.delete(self._mine)
        if self._failed:
            raise self._failed

    def _end(self) -> None:
        self._pieces.call_back()
        self._pieces.release()


def _whole(found: Sequence[Found]) -> Sequence[Found]:
    """The pieces that follow each other from the first byte on."""
    whole, size = list[Found](), 0
    for piece in sorted(_pieces(found), key=_at):
        if _at(piece) == size:
            whole.append(piece)
            size += piece.size
    return whole


def _pieces(found: Sequence[Found]) -> Sequence[Found]:
    return [object for object in found if not object.key.endswith(f"/{_BEGUN}")]


def _bytes(pieces: Sequence[Found]) -> int:
    return sum(piece.size for piece in pieces)


def _at(piece: Found) -> int:
    return int(piece.key.rpartition("/")[2])


def keys_of_whole(job_id: str, upload_id: str) -> tuple[str, str]:
    """Of an upload all of which is one piece: what says that it has begun, and the piece."""
    return f"{_place(job_id, upload_id)}/{_BEGUN}", f"{_place(job_id, upload_id)}/{0:020}"


def _place(job_id: str, upload_id: str) -> str:
    return f"{_ROOT}/{job_id}/{upload_id}"
