"""Metadata that move from a file of SQLite into a database of PostgreSQL, and what is done of the move.

Each step leaves a mark in the new database, in the transaction of its rows where it has some: what was broken
off is begun again, and nothing is done twice. As long as the mark of the whole is not there no server starts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Engine,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)

from headrace import postgres
from headrace.errors import Conflict
from headrace.metadata import Metadata, sqlite
from headrace.metadata.dialects import Text, alone
from headrace.metadata.schema import metadata as known
from headrace.model import now

_AT_ONCE = 500

_MARKS = Table(
    "headrace_moving",
    MetaData(),
    Column("step", String, primary_key=True),
    Column("at", DateTime, nullable=False),
    Column("said", String, nullable=False),
)
"""In the new database alone: no table of the metadata, and no migration makes it."""

_SOURCE, WHOLE = "source", "whole"

_OF_USERS = ("pools", "keys", "jobs")
"""A database where nothing was done yet has no row in them."""

_SEEDED = ("installation", "submissions")
"""A new database has a row of its own in them."""


class Marks:
    """The steps that are done, in the new database."""

    def __init__(self, url: str) -> None:
        self.engine = postgres.opened(url)

    def begin(self, source: str) -> None:
        """Raises Conflict for a database that is somebody else's, or that another process moves into."""
        with self.engine.begin() as db:
            alone(db, "moving")
            fresh = not inspect(db).has_table(_MARKS.name)
            if fresh:
                _refuse_used(db)
                _MARKS.create(db)
                mark(db, _SOURCE, source)
        if self.said(_SOURCE) != source:
            raise Conflict("Another folder is being moved into this database: name another database.")

    def said(self, step: str) -> str | None:
        """What was noted of a step; None: it is not done."""
        with self.engine.connect() as db:
            if not inspect(db).has_table(_MARKS.name):
                return None
            found = db.execute(select(_MARKS.c.said).where(_MARKS.c.step == step))
            return found.scalar_one_or_none()

    def done(self, step: str) -> bool:
        return self.said(step) is not None

    def add(self, step: str, said: str = "") -> None:
        with self.engine.begin() as db:
            mark(db, step, said)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process moves anything into this database meanwhile. Raises Conflict."""
        with self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as db:
            number = func.hashtextextended("headrace moving", 0)
            if not db.execute(select(func.pg_try_advisory_lock(number))).scalar_one():
                raise Conflict("Another process is moving a folder into this database.")
            try:
                yield
            finally:
                db.execute(select(func.pg_advisory_unlock(number)))

    def close(self) -> None:
        self.engine.dispose()


def mark(db: Connection, step: str, said: str = "") -> None:
    """In the transaction of what was done."""
    db.execute(insert(_MARKS).values(step=step, at=now().replace(tzinfo=None), said=said))


def is_half_moved(engine: Engine) -> bool:
    """Whether something began to move into this database that is not whole yet."""
    if engine.dialect.name == "sqlite":
        return False
    with engine.connect() as db:
        if not inspect(db).has_table(_MARKS.name):
            return False
        whole = select(func.count()).where(_MARKS.c.step == WHOLE)
        return db.execute(whole).scalar_one() == 0


def _refuse_used(db: Connection) -> None:
    there = inspect(db).get_table_names()
    for name in _OF_USERS:
        if name in there and db.execute(select(func.count()).select_from(known.tables[name])).scalar_one():
            raise Conflict(f"The database of database_url is in use, it has {name}: name an empty one.")


# -- rows ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """What a table has: how many rows, and a checksum of all of them in the order of their keys."""

    count: int
    sha256: str


class Books:
    """The metadata of the folder that is left."""

    def __init__(self, path: Path) -> None:
        self.engine = sqlite.opened(path)

    def installation(self) -> str:
        with self.engine.connect() as db:
            return str(db.execute(select(known.tables["installation"].c.id)).scalar_one())

    def pools(self) -> Mapping[str, str]:
        """Their names by their ids."""
        pools = known.tables["pools"]
        with self.engine.connect() as db:
            return {str(id): str(name) for id, name in db.execute(select(pools.c.id, pools.c.name))}

    def counts(self) -> Mapping[str, int]:
        """Rows by table."""
        with self.engine.connect() as db:
            return {
                table.name: db.execute(select(func.count()).select_from(table)).scalar_one()
                for table in known.sorted_tables
            }

    def settle(self) -> None:
        """All that it has is in its one file."""
        with self.engine.connect() as db:
            db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self.engine.dispose()


def make_tables(url: str) -> None:
    """All tables of the metadata in the new database."""
    with closing(Metadata(url)):
        pass


def copy_table(books: Books, marks: Marks, name: str, step: str) -> None:
    """The rows of a table and the mark of it, or neither."""
    table = _exact(known.tables[name])
    with marks.engine.begin() as db:
        if name in _SEEDED:
            db.execute(delete(table))
        for rows in _batches(books.engine, table):
            db.execute(insert(table), rows)
        _go_on_counting(books.engine, db, table)
        mark(db, step)


def rows_of(engine: Engine, name: str) -> Rows:
    """The same of the same rows, whichever database has them."""
    table, count, hash = _exact(known.tables[name]), 0, hashlib.sha256()
    for rows in _batches(engine, table):
        for row in rows:
            hash.update(json.dumps([_told(row[c.name]) for c in table.c], sort_keys=True).encode())
        count += len(rows)
    return Rows(count, hash.hexdigest())


def table_names() -> Sequence[str]:
    """In an order in which what is referred to comes first."""
    return [table.name for table in known.sorted_tables]


def _exact(table: Table) -> Table:
    """The table as a copy needs it: NULL and the JSON ``null`` stay apart."""
    copied = table.to_metadata(MetaData())
    for column in copied.c:
        if isinstance(column.type, JSON):
            column.type = JSON(none_as_null=True)
    return copied


def _batches(engine: Engine, table: Table) -> Iterator[Sequence[dict[str, Any]]]:
    read = [column.cast(String) if isinstance(column.type, JSON) else column for column in table.c]
    order = [_bytewise(engine, column) for column in table.primary_key]
    with engine.connect() as db:
        found = db.execution_options(yield_per=_AT_ONCE).execute(select(*read).order_by(*order))
        for rows in found.partitions():
            yield [
                {column.name: _value(column, value) for column, value in zip(table.c, row, strict=True)}
                for row in rows
            ]


def _bytewise(engine: Engine, column: Column[Any]) -> Any:
    """PostgreSQL sorts texts as a language does."""
    if engine.dialect.name == "postgresql" and isinstance(column.type, String | Text):
        return column.collate("C")
    return column


def _value(column: Column[Any], value: Any) -> Any:
    if isinstance(column.type, JSON):
        return value if value is None else JSON.NULL if value == "null" else json.loads(value)
    if isinstance(column.type, Text) and value is not None:
        return value.replace("\x00", "\ufffd")  # as PostgreSQL gets it
    return value


def _told(value: Any) -> Any:
    """A value as it goes into the checksum."""
    if value is JSON.NULL:
        return ["null"]
    return value.isoformat() if hasattr(value, "isoformat") else [value]


def _go_on_counting(source: Engine, db: Connection, table: Table) -> None:
    """A number that was given is never given again."""
    column = table.autoincrement_column
    if column is None or not isinstance(column.default, type(None)):
        return
    sequence = db.execute(select(func.pg_get_serial_sequence(table.name, column.name))).scalar_one()
    if sequence is None:
        return
    given = "SELECT seq FROM sqlite_sequence WHERE name = :name"
    with source.connect() as books:
        last = books.execute(text(given), {"name": table.name}).scalar_one_or_none()
    if last:
        db.execute(select(func.setval(sequence, last)))
