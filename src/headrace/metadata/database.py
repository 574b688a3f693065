"""The database itself: how it is opened, migrated and written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, ExceptionContext, event

from headrace import postgres
from headrace.durable import disk_fault
from headrace.errors import DatabaseUnreachable
from headrace.metadata import sqlite
from headrace.metadata.audit import Audit
from headrace.metadata.chunks import Chunks
from headrace.metadata.dialects import alone, clock
from headrace.metadata.forgetting import Forgetting
from headrace.metadata.jobs import Jobs
from headrace.metadata.keys import Keys
from headrace.metadata.pools import Pools
from headrace.metadata.signing import Signing
from headrace.metadata.submissions import Submissions
from headrace.metadata.undoings import Undoings
from headrace.metadata.uploads import Uploads
from headrace.postgres import CannotOpen


class Metadata:
    """One repository per entity, over one database: a file of SQLite, or the URL of one of PostgreSQL.

    Raises CannotOpen.
    """

    def __init__(self, where: Path | str) -> None:
        self.engine = sqlite.opened(where) if isinstance(where, Path) else postgres.opened(where)
        event.listen(self.engine, "handle_error", _say_disk_fault)
        try:
            _migrate(self.engine)
        except DatabaseUnreachable as error:
            self.engine.dispose()
            raise _cannot_open(error) from None
        self._reads = reads = _reading(self.engine)
        writes = self.engine.execution_options(write=True)
        self.pools = Pools(reads, writes)
        self.keys = Keys(reads, writes)
        self.signing = Signing(reads, writes)
        self.audit = Audit(reads, writes)
        self.jobs = Jobs(reads, writes)
        self.chunks = Chunks(reads, writes)
        self.uploads = Uploads(reads, writes)
        self.submissions = Submissions(reads, writes)
        self.undoings = Undoings(reads, writes)
        self.forgetting = Forgetting(reads, writes)

    def now(self) -> datetime:
        """The clock by which leases run out, the same for all servers of an installation."""
        with self._reads.connect() as db:
            return clock(db)

    def ping(self) -> bool:
        """True; raises if the database does not answer."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT 1").scalar() == 1

    def close(self) -> None:
        self.engine.dispose()


def _reading(engine: Engine) -> Engine:
    """What reads is a single statement: on PostgreSQL, too, without a BEGIN and a ROLLBACK around it."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _say_disk_fault(context: ExceptionContext) -> None:
    if error := disk_fault(context.original_exception):
        raise error from context.original_exception


def newest_revision() -> str | None:
    """That of a database which has had every migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "headrace:metadata/migrations")
    return config


def _migrate(engine: Engine) -> None:
    config = _config()
    with engine.execution_options(write=True).begin() as connection:
        alone(connection, "migrations")  # of several servers that start at once, one migrates
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def postgres_version(url: str) -> str:
    """Of the server that answers there; nothing is changed. Raises CannotOpen."""
    engine = postgres.opened(url)
    try:
        with engine.connect() as connection:
            return str(connection.exec_driver_sql("SHOW server_version").scalar_one())
    except DatabaseUnreachable as error:
        raise _cannot_open(error) from None
    finally:
        engine.dispose()


def _cannot_open(error: DatabaseUnreachable) -> CannotOpen:
    return CannotOpen(f"The database of database_url cannot be used: {error.__cause__}")
