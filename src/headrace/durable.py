"""Bytes and names that survive a power loss, and how one sees that bytes are still the same."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import DiskFailed, DiskFull


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> int:
    """CRC-32 of a file: cheap, and no bit that turns over leaves it as it was."""
    crc = 0
    for block in _blocks(path):
        crc = zlib.crc32(block, crc)
    return crc


def sha256_of(path: Path) -> str:
    hash = hashlib.sha256()
    for block in _blocks(path):
        hash.update(block)
    return hash.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            yield block


_FULL = re.compile(r"No space left on device|database or disk is full|disk I/O error|Disk quota exceeded")
_FAILED = re.compile(r"Input/output error|Read-only file system")
_LOG_OF_ITS_OWN = "SQLITE_IOERR_SHM"


def disk_fault(error: BaseException | None) -> DiskFull | DiskFailed | None:
    """What to say instead if this, or what it came from, means that nothing can be written any more, or read.

    Engines tell it in words only; SQLite's "disk I/O error" is what opening a file with a log of its own says
    on a full disk, and what it says of any other fault there has another name. Errors that came of each other
    in a circle end where it closes.
    """
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if fault := _fault(error):
            return fault
        error = error.__cause__ or error.__context__
    return None


def _fault(error: BaseException) -> DiskFull | DiskFailed | None:
    number = error.errno if isinstance(error, OSError) else None
    name = getattr(error, "sqlite_errorname", "")
    if number in (errno.EIO, errno.EROFS) or _FAILED.search(str(error)):
        return DiskFailed()
    if name.startswith("SQLITE_IOERR") and not name.startswith(_LOG_OF_ITS_OWN):
        return DiskFailed()
    if number in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(str(error)):
        return DiskFull()
    return None
