"""A moment of the metadata, held from outside the server: for a copy of all that belongs together.

As long as the write lock is held nobody claims a job, ends one, adds a chunk or drops a pool; readers go on.
A commit under way may still come through, of a job that is RUNNING here: what a crash would leave, too.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from headrace.errors import Busy

_BUSY_SECONDS = 30.0

LONGEST_S = 20.0
"""A server waits 30 seconds for the lock, then its requests fail."""


class Held:
    """The metadata as they stand still."""

    def __init__(self, path: Path, reader: sqlite3.Connection) -> None:
        self._path = path
        self._reader = reader
        self._until = time.monotonic() + LONGEST_S

    def check_time(self) -> None:
        """Raises Busy when the server has been held up for too long."""
        if time.monotonic() > self._until:
            raise Busy(f"The copy took longer than {LONGEST_S:g} s: stop the server, then try again.")

    def pools(self) -> list[str]:
        return [pool for (pool,) in self._reader.execute("SELECT id FROM pools")]

    def chunks(self) -> list[tuple[str, str]]:
        """Job and id of each raw chunk that is needed still."""
        query = (
            "SELECT c.job_id, c.id FROM chunks c JOIN jobs j ON j.id = c.job_id "
            "WHERE j.status IN ('QUEUED', 'RUNNING') OR (j.status = 'NEW' AND j.deleted_at IS NULL)"
        )
        return list(self._reader.execute(query))

    def copy(self, target: Path) -> None:
        """The whole database, as one file."""
        with closing(sqlite3.connect(target)) as copy:
            self._reader.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def held(path: Path) -> Iterator[Held]:
    """Nobody writes meanwhile. Raises Busy."""
    with closing(_opened(path)) as writer, closing(_opened(path)) as reader:
        try:
            writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise Busy(f"{path} cannot be held: {error}.") from error
        try:
            yield Held(path, reader)
        finally:
            writer.execute("ROLLBACK")


def revision_of(path: Path) -> str | None:
    """The newest migration that the database has had; None if there is none."""
    with closing(_opened(path)) as reader:
        known = reader.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
        found = reader.execute("SELECT version_num FROM alembic_version").fetchall() if known else []
        return str(found[0][0]) if found else None


def damage_of(path: Path) -> str | None:
    """What SQLite finds wrong with the file, in its words."""
    try:
        with closing(_opened(path)) as reader:
            [(found,)] = reader.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else str(found)


def _opened(path: Path) -> sqlite3.Connection:
    there = f"file:{quote(str(path))}?mode=rw"
    return sqlite3.connect(there, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
