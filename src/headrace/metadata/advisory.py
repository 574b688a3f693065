"""Named locks of all processes that share a database of PostgreSQL: its advisory locks, of a session each."""

from __future__ import annotations

import threading
from contextlib import suppress

from sqlalchemy import Connection, func, select

from headrace import postgres
from headrace.errors import Busy, DatabaseUnreachable
from headrace.metadata.dialects import number_of


class AdvisoryLocks:
    """Every lock that is held has a connection of its own."""

    def __init__(self, url: str) -> None:
        self._engine = postgres.opened(url).execution_options(isolation_level="AUTOCOMMIT")

    def take(self, *what: str, seconds: float = 0.0) -> HeldThere | None:
        """Raises DatabaseUnreachable."""
        connection = self._engine.connect()
        try:
            taken = _wait(connection, what, seconds) if seconds else _try(connection, what)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        if taken:
            return HeldThere(connection, what)
        connection.close()
        return None

    def close(self) -> None:
        self._engine.dispose()


class HeldThere:
    def __init__(self, connection: Connection, what: tuple[str, ...]) -> None:
        self._connection = connection
        self._what = what

    def check(self) -> None:
        if self._connection.invalidated:
            raise DatabaseUnreachable
        self._connection.execute(select(1))

    def release(self) -> None:
        """A connection that broke took the lock with it."""
        with suppress(Busy):
            if not self._connection.invalidated:
                _unlock(self._connection, self._what)
        self._connection.close()


class LocksOfOneConnection:
    """Locks that are held for as long as a client takes: all of a process have one connection together.

    Should it break, all that were held are lost: ``check`` says so.
    """

    def __init__(self, url: str) -> None:
        self._engine = postgres.opened(url).execution_options(isolation_level="AUTOCOMMIT")
        self._one = threading.Lock()
        self._connection: Connection | None = None
        self._held: dict[tuple[str, ...], Connection] = {}

    def take(self, *what: str, seconds: float = 0.0) -> HeldAmongOthers | None:  # noqa: ARG002
        """Waits for nobody. Raises DatabaseUnreachable."""
        with self._one:
            connection = self._connected()
            if what in self._held or not _try(connection, what):
                return None
            self._held[what] = connection
        return HeldAmongOthers(self, connection, what)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.invalidated:
            if self._connection:
                self._connection.close()
            self._connection = None
            self._held.clear()
            self._connection = self._engine.connect()
        return self._connection

    def check(self, connection: Connection) -> None:
        with self._one:
            if connection is not self._connection or connection.invalidated:
                raise DatabaseUnreachable
            connection.execute(select(1))

    def give_back(self, connection: Connection, what: tuple[str, ...]) -> None:
        with self._one:
            if self._held.get(what) is not connection:
                return
            del self._held[what]
            with suppress(Busy):
                if not connection.invalidated:
                    _unlock(connection, what)

    def close(self) -> None:
        with self._one:
            if self._connection:
                self._connection.close()
            self._connection = None
            self._held.clear()
        self._engine.dispose()


class HeldAmongOthers:
    def __init__(self, locks: LocksOfOneConnection, connection: Connection, what: tuple[str, ...]) -> None:
        self._locks = locks
        self._connection = connection
        self._what = what

    def check(self) -> None:
        self._locks.check(self._connection)

    def release(self) -> None:
        self._locks.give_back(self._connection, self._what)


def _unlock(connection: Connection, what: tuple[str, ...]) -> None:
    connection.execute(select(func.pg_advisory_unlock(number_of(what))))


def _try(connection: Connection, what: tuple[str, ...]) -> bool:
    return bool(connection.execute(select(func.pg_try_advisory_lock(number_of(what)))).scalar_one())


def _wait(connection: Connection, what: tuple[str, ...], seconds: float) -> bool:
    milliseconds = str(max(1, round(seconds * 1000)))
    connection.execute(select(func.set_config("lock_timeout", milliseconds, False)))
    try:
        connection.execute(select(func.pg_advisory_lock(number_of(what))))
    except DatabaseUnreachable:
        raise
    except Busy:
        return False
    return True
