"""A database of PostgreSQL, reached with psycopg 3."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from headrace.errors import Busy, DatabaseUnreachable

_DRIVER = "postgresql+psycopg"

_SETTINGS = {
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",  # a server that stands still must not hold up all others
    "timezone": "UTC",
    "synchronous_commit": "on",  # what is acknowledged survives a power loss
}

MISSED = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",  # ms; what keeps a connection alive rests while an answer is on its way
}
"""A process that the network has cut off is missed after a minute, not two hours: it may hold locks."""

REACHING = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # of what was sent and is not confirmed; else a quarter of an hour
}

_PASSES = ("55P03", "40P01", "40001")
"""A lock that was not to be had, a deadlock, a conflict: nothing was done, and it may be tried again."""


class CannotOpen(Exception):
    """The message says what to do, and never what the URL holds: there may be a password in it."""


def opened(url: str) -> Engine:
    """An engine that connects when it is asked first. Raises CannotOpen."""
    engine = _engine(url)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            for name, value in (_SETTINGS | MISSED).items():
                cursor.execute(f"SET {name} = '{value}'")
        connection.commit()

    event.listen(engine, "handle_error", _say_what_passes)
    return engine


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url).set(drivername=_DRIVER)
    except (ArgumentError, ValueError):
        message = "database_url is no URL: a special character of the password is written as %40, say."
        raise CannotOpen(message) from None
    try:
        return _made(parsed)
    except ModuleNotFoundError as error:
        raise CannotOpen("database_url needs a driver: pip install 'headrace[postgres]'.") from error


def _made(url: URL) -> Engine:
    return create_engine(
        url,
        pool_size=16,
        max_overflow=32,
        pool_pre_ping=True,  # the database may have been started anew
        hide_parameters=True,  # they are rows and hashes of keys: errors are logged
        connect_args=REACHING,
    )


def _say_what_passes(context: ExceptionContext) -> None:
    error = context.original_exception
    if context.is_pre_ping:
        return  # it is tried with a new connection
    if getattr(error, "sqlstate", None) in _PASSES:
        raise Busy("Another process holds what this needs in the database; try again in a moment.") from error
    if _is_unreachable(context):
        raise DatabaseUnreachable from error


def _is_unreachable(context: ExceptionContext) -> bool:
    """The connection broke, or there was none: a new connection has no cursor and no state yet."""
    broken = type(context.original_exception).__name__ in ("OperationalError", "AdminShutdown")
    return context.is_disconnect or (broken and context.connection is None)
