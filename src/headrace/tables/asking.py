"""In a child that may open no connection: its engine's view of files that it asks for, piece by piece."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

PLACE = "lake://data/"
"""The engine's name of the folder of its lake's data: there is no other that it could ask for."""

QUESTION = struct.Struct(">BQQ")
"""What is wanted, from where and how much; the path comes behind it."""

SIZE, READ = 0, 1
THERE, MISSING, UNREACHABLE = b"\x00", b"\x01", b"\x02"
"""How an answer begins; behind ``THERE`` stands a piece, or a number of eight bytes."""

LARGEST_PIECE = 8 << 20

_NEVER_CHANGED = datetime(2000, 1, 1, tzinfo=UTC)


class Asked:
    """The other side of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sizes: dict[str, int] = {}

    def size(self, path: str) -> int:
        if path not in self._sizes:
            self._sizes[path] = int.from_bytes(self._ask(SIZE, path, 0, 0), "big")
        return self._sizes[path]

    def read(self, path: str, offset: int, length: int) -> bytes:
        end, pieces = min(offset + length, self.size(path)), []
        while offset < end:
            pieces.append(self._ask(READ, path, offset, min(LARGEST_PIECE, end - offset)))
            offset += len(pieces[-1])
            if not pieces[-1]:
                raise OSError(f"{path} ends before its end.")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _ask(self, kind: int, path: str, offset: int, length: int) -> bytes:
        self._pipe.send_bytes(QUESTION.pack(kind, offset, length) + path.encode())
        answer = self._pipe.recv_bytes()
        if answer[:1] == THERE:
            return answer[1:]
        raise FileNotFoundError(path) if answer == MISSING else OSError("The store cannot be reached.")


class _AskedFile(io.RawIOBase):
    def __init__(self, asked: Asked, path: str) -> None:
        self._asked, self._path = asked, path
        self._size, self._at = asked.size(path), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        found = self._asked.read(self._path, self._at, self._size if size < 0 else size)
        self._at += len(found)
        return found


def file_system(pipe: Connection) -> Any:
    """For the engine of this process: files below PLACE, to be read only."""
    from fsspec import AbstractFileSystem  # noqa: PLC0415  of an extra

    asked = Asked(pipe)

    class AskedFiles(AbstractFileSystem):  # type: ignore[misc]
        protocol, cachable = "lake", False

        def _open(self, path: str, mode: str = "rb", **_: Any) -> _AskedFile:
            if mode != "rb":
                raise PermissionError("Files of a lake can only be read.")
            return _AskedFile(asked, _below(path))

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return {"name": path, "size": asked.size(_below(path)), "type": "file"}

        def glob(self, path: str, **_: Any) -> list[str]:
            return [path]

        def modified(self, path: str) -> datetime:  # noqa: ARG002
            return _NEVER_CHANGED

    return AskedFiles()


def _below(path: str) -> str:
    return path.removeprefix("lake://").removeprefix("data/")
