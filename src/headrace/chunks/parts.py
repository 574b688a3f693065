"""Uploads that come in parts, as files of one folder: ``<root>/<jobId>/<uploadId>``."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from headrace.chunks import Come
from headrace.chunks.disk import is_older, translated
from headrace.durable import sync
from headrace.errors import DiskFull, UploadLocked


class DiskParts:
    """``min_free_bytes``: below so much free disk nothing new is taken."""

    def __init__(self, root: Path, *, min_free_bytes: int) -> None:
        self._root = root
        self._min_free_bytes = min_free_bytes
        root.mkdir(parents=True, exist_ok=True)

    def begin(self, job_id: str, upload_id: str) -> None:
        self._refuse_when_full()
        path = self.path(job_id, upload_id)
        try:
            path.parent.mkdir(exist_ok=True)
            path.touch(exist_ok=False)
            sync(path.parent)
            sync(self._root)
        except OSError as error:
            raise translated(error) from error

    def open(self, job_id: str, upload_id: str) -> OpenPart:
        self._refuse_when_full()
        return OpenPart(self.path(job_id, upload_id))

    def lock(self, job_id: str, upload_id: str) -> FileLock:
        try:
            return FileLock(self.path(job_id, upload_id))
        except BlockingIOError as error:
            raise UploadLocked from error

    def path(self, job_id: str, upload_id: str) -> Path:
        return self._root / job_id / upload_id

    def come(self, job_id: str, upload_id: str) -> Come:
        found = self.path(job_id, upload_id).stat()
        return Come(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    @contextmanager
    def reading(self, job_id: str, upload_id: str) -> Iterator[Path]:
        yield self.path(job_id, upload_id)

    def cut(self, job_id: str, upload_id: str, size: int) -> None:
        handle = os.open(self.path(job_id, upload_id), os.O_WRONLY)
        try:
            os.ftruncate(handle, min(size, os.fstat(handle).st_size))
            os.fsync(handle)
        finally:
            os.close(handle)

    def drop(self, job_id: str, upload_id: str) -> None:
        path = self.path(job_id, upload_id)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            path.parent.rmdir()

    def sweep(self, upload_ids: Collection[str], *, older_s: float = 0.0) -> None:
        for path in list(self._root.glob("*/*")):
            if path.name not in upload_ids and is_older(path, older_s):
                self.drop(path.parent.name, path.name)

    def close(self) -> None:
        pass

    def _refuse_when_full(self) -> None:
        if shutil.disk_usage(self._root).free < self._min_free_bytes:
            raise DiskFull


class FileLock:
    """The system's lock of a file."""

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError."""
        self._handle: int | None = None
        with suppress(FileNotFoundError):
            self._handle = os.open(path, os.O_RDONLY)
        if self._handle is not None:
            self._lock(self._handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(handle)
            raise

    def check(self) -> None:
        """It cannot be lost."""

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)


class OpenPart:
    """Writes go straight to the end of the file."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._begins = os.fstat(self._handle).st_size

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise translated(error) from error

    def keep(self) -> int:
        try:
            os.fsync(self._handle)
            return os.fstat(self._handle).st_size
        except OSError as error:
            raise translated(error) from error
        finally:
            os.close(self._handle)

    def take_back(self) -> None:
        try:
            os.ftruncate(self._handle, self._begins)
            os.fsync(self._handle)
        finally:
            os.close(self._handle)
