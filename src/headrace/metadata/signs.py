"""What the processes of an installation tell each other: PostgreSQL's NOTIFY, heard when it is committed.

A sign says that it is worth looking, no more: whoever misses one looks again a little later. On SQLite there
is one process, which knows what it did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum

import structlog
from sqlalchemy import Connection, Engine, ScalarSelect, func, select

from headrace.metadata.schema import jobs

log = structlog.get_logger()

_CHANNEL = "headrace"
_LOOK_EVERY_S = 1.0
_AGAIN_AFTER_S = 1.0


class Sign(StrEnum):
    CHUNK = "chunk"  # one waits to be staged
    JOB = "job"  # one came a step further


Hear = Callable[[Sign, str], None]
"""Of a pool, by its id; "" when signs may have been missed."""


def tell(db: Connection, sign: Sign, job_id: str | ScalarSelect[str]) -> None:
    """Within the transaction that makes it true."""
    if db.dialect.name == "postgresql":
        words = f"{sign} " + jobs.c.pool_id
        db.execute(select(func.pg_notify(_CHANNEL, words)).where(jobs.c.id == job_id))


class Listener:
    """A thread with a connection of its own, which it makes anew when it breaks."""

    def __init__(self, engine: Engine, hear: Hear) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._hear = hear
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def start(self) -> None:
        if self._engine.dialect.name == "postgresql":
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                with self._engine.connect() as db:
                    self._listen_on(db)
            except Exception as error:  # all look again by themselves, a little later
                log.warning("signs of other processes are not heard for a moment", error=str(error))
                self._ended.wait(_AGAIN_AFTER_S)

    def _listen_on(self, db: Connection) -> None:
        db.exec_driver_sql(f"LISTEN {_CHANNEL}")
        for sign in Sign:
            self._hear(sign, "")
        connection = db.connection.driver_connection
        assert connection is not None
        try:
            while not self._ended.is_set():
                heard = {note.payload for note in connection.notifies(timeout=_LOOK_EVERY_S, stop_after=1)}
                for payload in sorted(heard):  # of many that came at once, each a single time
                    sign, _, pool_id = payload.partition(" ")
                    self._hear(Sign(sign), pool_id)
        finally:
            db.invalidate()  # nobody else shall have one that listens
