"""Who has a data folder: one server, or processes that share it; and what each has there for itself."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


class CannotStart(Exception):
    """The server cannot start; the message says what to do."""


def server_of(folder: Path) -> int | None:
    """The process that serves a data folder now."""
    try:
        with (folder / "server.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int((folder / "server.lock").read_text() or 0)
    except OSError:
        return None
    return None


class only_server_of:  # noqa: N801  reads as a phrase
    """A folder has one server. The lock goes with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._handle = os.open(self._folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._handle, 32, 0).decode().strip()
            os.close(self._handle)
            raise CannotStart(
                f"Another Headrace server (process {pid}) uses {self._folder}. "
                "Stop it, or give this one another --data-dir."
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def __exit__(self, *exc: object) -> None:
        os.close(self._handle)


def temp_of(folder: Path) -> Path:
    """A folder of this process for what engines spill; those of processes that have ended go."""
    temp = folder / "temp"
    temp.mkdir(exist_ok=True)
    with _flocked(temp):
        for left in temp.iterdir():
            with suppress(BlockingIOError), _flocked(left, fcntl.LOCK_NB):
                shutil.rmtree(left, ignore_errors=True)
        mine = temp / uuid4().hex
        mine.mkdir()
        _flock(mine)  # until the process ends
    return mine


@contextmanager
def _flocked(path: Path, how: int = 0) -> Iterator[None]:
    handle = _flock(path, how)
    try:
        yield
    finally:
        os.close(handle)


def _flock(path: Path, how: int = 0) -> int:
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
    except BaseException:
        os.close(handle)
        raise
    return handle
