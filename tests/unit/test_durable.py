"""What is synced is what was named, and it is let go of again."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from headrace.durable import checksum, disk_fault, sha256_of, sync
from headrace.errors import DiskFailed, DiskFull


def open_below(folder: Path) -> list[Path]:
    """What of a folder this process holds open. Other tests' files may close at any moment, or open."""
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(handle.readlink())
    return [path for path in found if path.is_relative_to(folder)]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were synced, in their order."""
    paths: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: paths.append(Path(f"/proc/self/fd/{handle}").readlink()))
    return paths


def test_a_file_and_a_folder(tmp_path: Path, synced: list[Path]) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    sync(file)
    sync(tmp_path)
    assert synced == [file, tmp_path]
    assert open_below(tmp_path) == []


def test_what_is_not_there_cannot_be_synced(tmp_path: Path, synced: list[Path]) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "nothing")
    assert synced == []


def test_a_disk_that_fails_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        sync(tmp_path)
    assert open_below(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 9000], ids=len)
def test_bytes_are_known_by_their_sums(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    assert checksum(file) == zlib.crc32(data)
    assert sha256_of(file) == hashlib.sha256(data).hexdigest()


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    sqlite3.OperationalError("database or disk is full"),
    RuntimeError('IO Error: Could not write file "x": No space left on device'),
    caused(ValueError("something"), OSError(errno.ENOSPC, "No space left on device")),
]


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_a_full_disk_is_known_by_every_name(error: Exception) -> None:
    assert isinstance(disk_fault(error), DiskFull)


def sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    return error


FAILED = [
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EROFS, "Read-only file system"),
    sqlite_error("SQLITE_IOERR_FSYNC"),
    sqlite_error("SQLITE_IOERR_WRITE"),
    RuntimeError('IO Error: Could not write file "x": Input/output error'),
]


@pytest.mark.parametrize("error", FAILED, ids=repr)
def test_a_disk_that_fails_is_not_said_to_be_full(error: Exception) -> None:
    assert isinstance(disk_fault(error), DiskFailed)


def test_a_log_that_cannot_be_opened_means_a_full_disk() -> None:
    assert isinstance(disk_fault(sqlite_error("SQLITE_IOERR_SHMSIZE")), DiskFull)


def test_errors_that_came_of_each_other_in_a_circle() -> None:
    first, second = OSError(errno.EACCES, "no"), ValueError()
    assert disk_fault(caused(first, caused(second, first))) is None
    assert disk_fault(caused(second, caused(first, OSError(errno.ENOSPC, "No space left on device"))))


@pytest.mark.parametrize(
    "error", [None, ValueError(), OSError(errno.EACCES, "no"), KeyError("disk")], ids=repr
)
def test_all_else_is_not_a_full_disk(error: Exception | None) -> None:
    assert disk_fault(error) is None
