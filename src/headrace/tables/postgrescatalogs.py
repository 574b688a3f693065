"""Catalogs in a database of PostgreSQL, each a schema of its own.

A commit is a compare-and-swap there: the engine inserts the number of its snapshot, which is a primary key,
and is told to try no second time with the next one. So whoever began before somebody else committed fails,
even if the network has kept its COMMIT back until long after its lock was lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import Connection, Engine, text

from headrace import postgres
from headrace.conversion import literal, quoted
from headrace.errors import DatabaseUnreachable
from headrace.tables.catalogs import Copying

_SECRET = "headrace_catalogs"  # a name, no password  # nosec B105

_MOST_COLUMNS = 1500
"""PostgreSQL takes 1,600, among them those of the lake."""

_LONGEST_NAME = 60
"""Longer ones are cut after 63 bytes, and two of them may become one."""

_TAKEN = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Every table has columns of these names."""

_PREFIX = "headrace_lake_"
_ASKED_AT_ONCE = 200

Identity = tuple[str, int]
State = tuple[Any, ...]


@dataclass(frozen=True)
class PostgresCatalog:
    """``conninfo`` has no password."""

    schema: str
    conninfo: str
    url: str = field(repr=False)
    database: Engine = field(repr=False, compare=False)

    def identity(self) -> Identity | None:
        query = text("SELECT to_regclass(:name)::oid::bigint")
        with self.database.connect() as db:
            found = db.execute(query, {"name": f"{self.schema}.ducklake_snapshot"}).scalar_one()
        return None if found is None else (self.schema, int(found))

    def state(self) -> State | None:
        identity = self.identity()
        if identity is None:
            return None
        newest = "SELECT max(snapshot_id), count(*) FROM"  # old ones go without a new one
        with self.database.connect() as db:
            rows = db.exec_driver_sql(f"{newest} {self.schema}.ducklake_snapshot").fetchall()
        return (*identity, *rows[0])

    def copying(self) -> Copying:
        return partial(copy_catalog, self.url, self.schema)

    def attach(self) -> str:
        return literal(f"ducklake:postgres:{self.conninfo}")

    def options(self) -> str:
        return f"METADATA_SCHEMA {literal(self.schema)}, META_SECRET {literal(_SECRET)}"

    def books(self, alias: str) -> str:
        return f"__ducklake_metadata_{alias}.{self.schema}"

    def asking(self, alias: str, query: str) -> str:
        books = literal(f"__ducklake_metadata_{alias}")
        return f"SELECT * FROM postgres_query({books}, {literal(query)})"

    @property
    def inlined_deletes(self) -> str:
        return (
            f"SELECT tablename FROM pg_tables WHERE schemaname = '{self.schema}' "
            "AND starts_with(tablename, 'ducklake_inlined_delete_')"
        )

    def has_room(self, columns: Sequence[str]) -> bool:
        return len(columns) <= _MOST_COLUMNS and not any(
            len(name.encode()) > _LONGEST_NAME or name.casefold() in _TAKEN for name in columns
        )

    def tidy(self, cursor: duckdb.DuckDBPyConnection, alias: str) -> None:
        pass

    def columns(self, db: Connection) -> dict[str, dict[str, str]]:
        """The types of the columns of each of its tables."""
        found: dict[str, dict[str, str]] = {}
        for table, column, type in db.exec_driver_sql(_COLUMNS, (self.schema,)):
            found.setdefault(table, {})[column] = type
        return found

    def drop(self) -> None:
        with self.database.connect() as db:
            db.exec_driver_sql(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")


class PostgresCatalogs:
    """In the database of ``url``. Raises CannotOpen."""

    extension = "postgres_scanner"

    def __init__(self, url: str) -> None:
        self._url = url
        self._database = postgres.opened(url).execution_options(isolation_level="AUTOCOMMIT")

    def set_up(self, engine: duckdb.DuckDBPyConnection) -> None:
        password = _parts(self._url).get("password", "")
        # in a secret, for the engine's errors tell the rest
        engine.execute(f"CREATE SECRET {_SECRET} (TYPE postgres, PASSWORD {literal(password)})")
        engine.execute(
            "SET ducklake_max_retry_count = 0; SET pg_pool_max_connections = 2; "
            "SET pg_pool_idle_timeout_millis = 15000"
        )

    def of(self, pool_id: str) -> PostgresCatalog:
        schema = _PREFIX + pool_id.replace("-", "_")
        return PostgresCatalog(schema, _conninfo(self._url, schema), self._url, self._database)

    def any(self) -> bool:
        """Whether the database has the catalog of any pool."""
        query = text("SELECT count(*) FROM pg_namespace WHERE starts_with(nspname, :prefix)")
        with self._database.connect() as db:
            return bool(db.execute(query, {"prefix": _PREFIX}).scalar_one())

    def places(self) -> set[str]:
        """Of the data of all pools."""
        named = text("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)")
        with self._database.connect() as db:
            schemas = [schema for (schema,) in db.execute(named, {"prefix": _PREFIX})]
            return {
                place
                for start in range(0, len(schemas), _ASKED_AT_ONCE)
                for (place,) in db.exec_driver_sql(_places(schemas[start : start + _ASKED_AT_ONCE]))
            }

    def changing(self) -> AbstractContextManager[Connection]:
        """A transaction in the database of all of them."""
        return self._database.execution_options(isolation_level="READ COMMITTED").begin()

    def close(self) -> None:
        self._database.dispose()


def _places(schemas: Sequence[str]) -> str:
    return " UNION ".join(
        f"SELECT value FROM {schema}.ducklake_metadata WHERE key = 'data_path'" for schema in schemas
    )


def _parts(url: str) -> dict[str, Any]:
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415  of an extra

    return dict(conninfo_to_dict(url))


def _conninfo(url: str, schema: str) -> str:
    """Without the password; what is asked in PostgreSQL's own SQL means the tables of this schema."""
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    parts = {name: value for name, value in _parts(url).items() if name != "password"}
    missed = (f"-c{name}={value}" for name, value in postgres.MISSED.items())
    parts["options"] = " ".join(filter(None, (parts.get("options"), f"-csearch_path={schema}", *missed)))
    parts = {**postgres.REACHING, **parts}
    return make_conninfo("", **parts)


# -- copies --------------------------------------------------------------------------------------------

_READ_AS = {"bytea": "{}", "boolean": "{}::int", "bigint": "{}"}
_IN_SQLITE = {"bigint": "BIGINT", "boolean": "BIGINT"}
"""As the engine itself writes a catalog of SQLite; all else is VARCHAR."""

_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind = 'r' ORDER BY c.relname, a.attnum
"""


def copy_catalog(url: str, schema: str, target: Path) -> frozenset[str]:
    """See ``Copying``: all tables of the catalog as of one moment. Raises DatabaseUnreachable."""
    import psycopg  # noqa: PLC0415

    unfinished = target.with_name(f"{target.name}.new")
    unfinished.unlink(missing_ok=True)
    try:
        with (
            psycopg.connect(url, connect_timeout=10, options=_quiet(url)) as source,
            closing(sqlite3.connect(unfinished)) as copy,
        ):
            source.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            source.read_only = True
            copy.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")
            names = _copy_tables(source, schema, copy)
            copy.commit()
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable from error
    unfinished.replace(target)
    return frozenset(name for name in names if name.startswith("ducklake_inlined_"))


def _quiet(url: str) -> str:
    return " ".join(filter(None, (_parts(url).get("options"), "-ctimezone=UTC")))


def _copy_tables(source: Any, schema: str, copy: sqlite3.Connection) -> list[str]:
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, type in source.execute(_COLUMNS, [schema]):
        tables.setdefault(table, []).append((column, type))
    for table, columns in tables.items():
        made = ", ".join(f"{quoted(name)} {_IN_SQLITE.get(type, 'VARCHAR')}" for name, type in columns)
        read = ", ".join(_READ_AS.get(type, "{}::text").format(quoted(name)) for name, type in columns)
        copy.execute(f"CREATE TABLE {quoted(table)} ({made})")
        rows = source.execute(f"SELECT {read} FROM {schema}.{quoted(table)}")
        places = ", ".join("?" * len(columns))
        copy.executemany(f"INSERT INTO {quoted(table)} VALUES ({places})", map(_row, rows))
    return list(tables)


def _row(values: Sequence[Any]) -> list[Any]:
    """Strings of rows are bytes there: they may hold a NUL."""
    return [value.decode() if isinstance(value, bytes) else value for value in values]
