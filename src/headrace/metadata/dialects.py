"""What SQLite and PostgreSQL say differently, in one place: all else is the same SQL on both.

On SQLite a transaction that writes is alone (``BEGIN IMMEDIATE``). On PostgreSQL several run at once, each
statement sees what is committed when it begins, and who decides by what it has read takes a lock first:
rows with ``with_for_update()``, which SQLite leaves out, and what is no row with ``alone()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Integer,
    String,
    TypeDecorator,
    func,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from headrace.model import now

Whole = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits on both."""


class Text(TypeDecorator[str]):
    """Any text of clients. PostgreSQL takes no NUL, so it reads ``�`` there."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\x00", "\ufffd")


class hour_of(FunctionElement[str]):  # noqa: N801  a function of SQL
    """``2024-02-29 12``"""

    type = String()
    inherit_cache = True


@compiles(hour_of, "sqlite")
def _hour_on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"strftime('%Y-%m-%d %H', {compiler.process(element.clauses, **options)})"


@compiles(hour_of, "postgresql")
def _hour_on_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"to_char({compiler.process(element.clauses, **options)}, 'YYYY-MM-DD HH24')"


def clock(db: Connection) -> datetime:
    """What time it is for all servers of an installation: leases run out by one clock."""
    if db.dialect.name == "sqlite":
        return now()
    return db.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()


def alone(db: Connection, *what: str) -> None:
    """Until the transaction ends nobody else is in one that asked for the same."""
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(number_of(what))))


def number_of(what: Sequence[str]) -> ColumnElement[int]:
    """PostgreSQL's locks have numbers for names."""
    return func.hashtextextended("\n".join(what), 0)
