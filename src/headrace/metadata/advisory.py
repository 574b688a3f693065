"""Named locks of all processes that share a database of PostgreSQL: its advisory locks, of a session each."""

from __future__ import annotations

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
                self._connection.execute(select(func.pg_advisory_unlock(number_of(self._what))))
        self._connection.close()


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
