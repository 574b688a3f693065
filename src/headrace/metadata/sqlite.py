"""The metadata in a file of SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=30000",
    "recursive_triggers=ON",  # a REPLACE, too, meets what guards the audit
)


def opened(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=16,
        max_overflow=32,
        hide_parameters=True,  # they are rows and hashes of keys: errors are logged
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # a transaction that will write takes the lock at once: upgrading later may fail;
        # one that reads is a single statement, and a snapshot by itself
        if connection.get_execution_options().get("write"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
