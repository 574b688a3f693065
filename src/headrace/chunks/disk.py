"""Chunks as files of one folder: ``<root>/<jobId>/<chunkId>``, ``….part`` while they arrive."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.durable import disk_fault, sync
from headrace.errors import DiskFull
from headrace.model import Chunk

_PART = ".part"


class DiskChunks:
    """``min_free_bytes``: below so much free disk nothing new is taken."""

    def __init__(self, root: Path, *, min_free_bytes: int) -> None:
        self._root = root
        self._min_free_bytes = min_free_bytes
        root.mkdir(parents=True, exist_ok=True)

    def receive(self, job_id: str, chunk_id: str) -> IncomingFile:
        if shutil.disk_usage(self._root).free < self._min_free_bytes:
            raise DiskFull
        folder = self._root / job_id
        folder.mkdir(exist_ok=True)
        return IncomingFile(folder / chunk_id)

    def adopt(self, job_id: str, chunk_id: str, source: Path) -> LinkedFile:
        folder = self._root / job_id
        folder.mkdir(exist_ok=True)
        return LinkedFile(source, folder / chunk_id)

    def path(self, job_id: str, chunk_id: str) -> Path:
        return self._root / job_id / chunk_id

    @contextmanager
    def reading(self, job_id: str, chunk_id: str) -> Iterator[Path]:
        path = self.path(job_id, chunk_id)
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        yield path

    def take_over(self, of: Chunk, chunk: Chunk) -> None:
        path = self.path(chunk.job_id, chunk.id)
        path.parent.mkdir(exist_ok=True)
        os.link(self.path(of.job_id, of.id), path)
        _sync_name(path)

    def drop(self, job_id: str) -> None:
        self.sweep(job_id, ())

    def jobs(self) -> Iterator[str]:
        return (path.name for path in list(self._root.iterdir()) if path.is_dir())

    def sweep(self, job_id: str, chunk_ids: Iterable[str], *, older_s: float = 0.0) -> None:
        folder, kept = self._root / job_id, set(chunk_ids)
        if not folder.is_dir():
            return
        unused = is_older(folder, older_s)
        for path in list(folder.iterdir()):
            if path.name not in kept and is_older(path, older_s):
                path.unlink(missing_ok=True)
        if unused:
            with suppress(OSError):  # not empty
                folder.rmdir()

    def close(self) -> None:
        pass


class IncomingFile:
    """Writes go straight to the file: a buffer of ours would only be a second copy."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + _PART)
        self._file = self._part.open("xb", buffering=0)

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise translated(error) from error

    def keep(self) -> Path:
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.rename(self._path)
            _sync_name(self._path)
        except OSError as error:
            raise translated(error) from error
        return self._path

    def release(self) -> None:
        pass  # its file is the chunk

    def discard(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


class LinkedFile:
    """A chunk whose bytes are here: it gets a second name. What is written is what it has."""

    def __init__(self, source: Path, path: Path) -> None:
        self._source = source
        self._path = path

    def write(self, data: bytes | memoryview) -> None:
        pass

    def keep(self) -> Path:
        try:
            sync(self._source)
            self._path.hardlink_to(self._source)
            _sync_name(self._path)
        except OSError as error:
            raise translated(error) from error
        return self._path

    def release(self) -> None:
        pass

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)


def _sync_name(path: Path) -> None:
    """That the file has this name, and its folder its own."""
    sync(path.parent)
    sync(path.parent.parent)


def is_older(path: Path, seconds: float) -> bool:
    """Whether so long nothing has happened to it: no byte, and no name, has come or gone."""
    try:
        return not seconds or path.stat().st_ctime < time.time() - seconds
    except FileNotFoundError:
        return False


def translated(error: OSError) -> Exception:
    """What to raise instead."""
    return disk_fault(error) or error
