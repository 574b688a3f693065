"""Bytes on their way to a store: they go in pieces while more of them come.

What comes is written to a file of this process first, so that a slow store keeps no client waiting in the
middle of a request, and none of it stands in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from headrace.chunks.disk import translated

PIECE_BYTES = 8 << 20

Send = Callable[[int, bytes], None]
"""Puts a piece into the store, by its number; called by other threads."""


class Pieces:
    """The one who receives only writes to the file; the last piece stays until ``last`` is asked."""

    def __init__(self, path: Path, threads: ThreadPoolExecutor, piece_bytes: int, send: Send) -> None:
        self.path = path
        self.size = 0
        self._threads = threads
        self._piece_bytes = piece_bytes
        self._send = send
        self._file = path.open("xb", buffering=0)
        self._going: list[Future[None]] = []

    def write(self, data: bytes | memoryview) -> None:
        """Raises DiskFull."""
        view = memoryview(data)
        try:
            while view:
                written = self._file.write(view)
                self.size += written
                view = view[written:]
        except OSError as error:
            raise translated(error) from error
        while self.size - len(self._going) * self._piece_bytes > self._piece_bytes:
            self._going.append(self._threads.submit(self._send_one, len(self._going)))

    def _send_one(self, number: int) -> None:
        self._send(number, self._read(number))

    def _read(self, number: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(number * self._piece_bytes)
            return file.read(self._piece_bytes)

    def last(self) -> tuple[int, bytes]:
        """When all others are there: the last one, which nobody has sent. Raises what a send has raised."""
        self._file.close()
        for piece in self._going:
            piece.result()
        return len(self._going), self._read(len(self._going))

    def call_back(self) -> None:
        """Send no more of them; what is under way has ended when this returns."""
        for piece in self._going:
            piece.cancel()
        wait(self._going)

    def release(self) -> None:
        """Nobody reads the file any more. May be repeated."""
        self._file.close()
        self.path.unlink(missing_ok=True)
