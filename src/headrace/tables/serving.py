"""Files of a store for children that may open no connection: they ask for pieces, by a pipe.

A child may have fallen into other hands. It can ask for nothing but files of its own lake, and what it says
is read as a few numbers and a name.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from headrace.children import Child
from headrace.errors import StorageUnreachable
from headrace.objects import Objects
from headrace.tables.asking import LARGEST_PIECE, MISSING, PLACE, QUESTION, READ, THERE, UNREACHABLE
from headrace.tables.lakedata import Served

K = TypeVar("K")
V = TypeVar("V")

_LONGEST_PATH = 4096
_BLOCK = 1 << 20
_BLOCKS = 64
_SIZES = 10_000


class Blocks:
    """Pieces of objects that never change, those that were asked for last: up to 64 MB for all lakes."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def size(self, key: str) -> int:
        """Raises FileNotFoundError, StorageUnreachable."""
        known = self._kept(self._sizes, key)
        return self._keep(self._sizes, key, self._objects.size(key), _SIZES) if known is None else known

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Raises FileNotFoundError, StorageUnreachable."""
        end = min(offset + length, self.size(key))
        if end <= offset:
            return b""
        first, last = offset // _BLOCK, (end - 1) // _BLOCK
        if last - first >= 4:  # of a large file that is read as a whole: the small ones shall stay
            return self._objects.piece(key, offset, end - offset)
        joined = b"".join(self._block(key, number) for number in range(first, last + 1))
        return joined[offset - first * _BLOCK : end - first * _BLOCK]

    def _block(self, key: str, number: int) -> bytes:
        known = self._kept(self._blocks, (key, number))
        if known is not None:
            return known
        start = number * _BLOCK
        found = self._objects.piece(key, start, min(_BLOCK, self.size(key) - start))
        return self._keep(self._blocks, (key, number), found, _BLOCKS)

    def _kept(self, kept: OrderedDict[K, V], key: K) -> V | None:
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
            return kept.get(key)

    def _keep(self, kept: OrderedDict[K, V], key: K, value: V, most: int) -> V:
        with self._lock:
            kept[key] = value
            while len(kept) > most:
                kept.popitem(last=False)
        return value


class ServedObjects:
    """What lies below one key."""

    place = PLACE

    def __init__(self, blocks: Blocks, root: str) -> None:
        self._blocks = blocks
        self._root = root

    def size(self, path: str) -> int:
        return self._blocks.size(self._key(path))

    def read(self, path: str, offset: int, length: int) -> bytes:
        return self._blocks.read(self._key(path), offset, length)

    def _key(self, path: str) -> str:
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise FileNotFoundError(path)
        return f"{self._root}/{path}"


class AskingChild(Child):
    """A child with one more pipe, by which it asks for files once it is served."""

    def __init__(
        self, initializer: Callable[..., object], initargs: tuple[Any, ...], answers: frozenset[type]
    ) -> None:
        """The other end of the pipe is the last argument of the initializer."""
        self._asked, theirs = Pipe()
        self._fault: StorageUnreachable | None = None
        try:
            super().__init__(initializer, (*initargs, theirs), answers)
        finally:
            theirs.close()

    def serve(self, files: Served) -> None:
        """From now on, as long as it lives. To be called once."""
        threading.Thread(target=self._serve, args=(self._asked, files), daemon=True).start()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float | None) -> Any:
        """Raises StorageUnreachable, too, whatever the child made of it."""
        self._fault = None
        try:
            return super().run(function, args, timeout)
        except Exception as error:
            if self._fault:
                raise self._fault from error
            raise

    def _serve(self, asked: Connection, files: Served) -> None:
        with asked:
            try:
                while True:
                    asked.send_bytes(self._answered(asked.recv_bytes(QUESTION.size + _LONGEST_PATH), files))
            except (EOFError, OSError, struct.error, UnicodeDecodeError):
                return  # it has ended, or says what no child of ours says

    def _answered(self, question: bytes, files: Served) -> bytes:
        kind, offset, length = QUESTION.unpack_from(question)
        path = question[QUESTION.size :].decode()
        try:
            if kind == READ:
                return THERE + files.read(path, offset, min(length, LARGEST_PIECE))
            return THERE + files.size(path).to_bytes(8, "big")
        except FileNotFoundError:
            return MISSING
        except StorageUnreachable as error:
            self._fault = error
            return UNREACHABLE
