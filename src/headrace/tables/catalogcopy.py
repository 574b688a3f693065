"""Copies of a lake's SQLite catalog for those who may only read.

SQLite cannot read a catalog in WAL mode without writing beside it, and its ``-wal`` and ``-shm`` come and go
with each commit. So a confined child gets a copy that is in no such mode: SQLite makes it, in a process of
its own (two SQLite libraries in one process take each other's locks), page by page and as of one moment.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

_BUSY_SECONDS = 20.0
_SETTLED_NS = 100_000_000
_VERSIONS_AT, _NO_WAL = 18, b"\x01\x01"
"""Where the file's head says how it is to be written and read; 2 is WAL."""

State = tuple[tuple[int, int, int] | None, ...]


def state_of(catalog: Path) -> State | None:
    """The same as long as nothing was committed. None: changed so lately that more may not show."""
    files = (catalog, catalog.with_name(f"{catalog.name}-wal"))
    stats = [_stat(file) for file in files]
    newest = max((stat.st_mtime_ns for stat in stats if stat), default=0)
    if time.time_ns() - newest < _SETTLED_NS:
        return None
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) if s else None for s in stats)


def copy_catalog(catalog: Path, target: Path) -> frozenset[str]:
    """Put a copy, as of now, into the place of ``target``; answers the names of the inlined tables in it.

    To be called in a process that opens the catalog in no other way.
    """
    unfinished = target.with_name(f"{target.name}.new")
    unfinished.unlink(missing_ok=True)
    there = f"file:{quote(str(catalog))}?mode=rw"
    with (
        closing(sqlite3.connect(there, uri=True, timeout=_BUSY_SECONDS)) as source,
        closing(sqlite3.connect(unfinished)) as copy,
    ):
        source.execute("BEGIN")
        inlined = frozenset(name for (name,) in source.execute(_INLINED))
        copy.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")
        source.backup(copy)
        source.execute("COMMIT")
    with unfinished.open("r+b") as file:
        file.seek(_VERSIONS_AT)
        file.write(_NO_WAL)
    unfinished.replace(target)
    return inlined


_INLINED = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'ducklake_inlined_*'"


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
