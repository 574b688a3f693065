"""The database itself: how it is opened, migrated and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event

from headrace.durable import disk_full
from headrace.metadata.audit import Audit
from headrace.metadata.chunks import Chunks
from headrace.metadata.forgetting import Forgetting
from headrace.metadata.jobs import Jobs
from headrace.metadata.keys import Keys
from headrace.metadata.pools import Pools
from headrace.metadata.signing import Signing
from headrace.metadata.submissions import Submissions
from headrace.metadata.undoings import Undoings
from headrace.metadata.uploads import Uploads


class Metadata:
    """One repository per entity, over one database."""

    def __init__(self, path: Path) -> None:
        self.engine = _open(path)
        _migrate(self.engine)
        writes = self.engine.execution_options(write=True)
        self.pools = Pools(self.engine, writes)
        self.keys = Keys(self.engine, writes)
        self.signing = Signing(self.engine, writes)
        self.audit = Audit(self.engine, writes)
        self.jobs = Jobs(self.engine, writes)
        self.chunks = Chunks(self.engine, writes)
        self.uploads = Uploads(self.engine, writes)
        self.submissions = Submissions(self.engine, writes)
        self.undoings = Undoings(self.engine, writes)
        self.forgetting = Forgetting(self.engine, writes)

    def ping(self) -> bool:
        """True; raises if the database does not answer."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT 1").scalar() == 1

    def close(self) -> None:
        self.engine.dispose()


_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=30000",
    "recursive_triggers=ON",  # a REPLACE, too, meets what guards the audit
)


def _open(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=16,
        max_overflow=32,
        hide_parameters=True,  # they are rows and hashes of keys: errors are logged
    )
    event.listen(engine, "handle_error", _say_disk_full)

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


def _say_disk_full(context: ExceptionContext) -> None:
    if error := disk_full(context.original_exception):
        raise error from context.original_exception


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "headrace:metadata/migrations")
    with _connected(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    with engine.execution_options(write=True).begin() as connection:
        yield connection
