"""Pools, their data connections, and what can be read of their tables."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from headrace.conversion import quoted
from headrace.errors import InvalidRequest, NotFound
from headrace.metadata import Metadata
from headrace.model import Connection, Key, Pool, Table, TableRef, Version, now
from headrace.observing import Maintained, Observe, seconds_since, unheard
from headrace.permissions import sees_pool, sees_table
from headrace.rejectfiles import RejectFiles
from headrace.tables import Answer, ExportFormat, Stored, TableEngine, rejectsview


@dataclass(frozen=True)
class Pools:
    metadata: Metadata
    tables: TableEngine
    rejects: RejectFiles
    sql_rows: int
    sql_seconds: float
    observe: Observe = unheard

    # -- pools -----------------------------------------------------------------------------------------

    def create(self, name: str, pool_id: str | None, attributes: dict[str, object]) -> Pool:
        """A new pool; an id may be brought along, so that scripts keep the one they have. Raises Conflict."""
        pool = Pool(_id(pool_id), _named(name), now(), attributes)
        self.metadata.pools.add(pool)
        self._drop(pool.id)  # a deleted one with this id may have left files in a crash
        self.tables.open_pool(pool.id)
        return pool

    def get(self, pool_id: str) -> Pool:
        pool = self.metadata.pools.get(pool_id)
        if pool is None:
            raise NotFound(f"There is no pool {pool_id}.")
        return pool

    def list(self, key: Key) -> Sequence[Pool]:
        return [pool for pool in self.metadata.pools.list() if sees_pool(key, pool.id)]

    def update(self, pool_id: str, name: str | None, attributes: dict[str, object]) -> Pool:
        old = self.get(pool_id)
        pool = Pool(old.id, _named(name or old.name), old.created_at, {**old.attributes, **attributes})
        self.metadata.pools.update(pool)
        return pool

    def delete(self, pool_id: str) -> None:
        """The pool and all of its tables. Raises Conflict while jobs of it wait or run."""
        if not self.metadata.pools.delete(pool_id, now()):
            raise NotFound(f"There is no pool {pool_id}.")
        self._drop(pool_id)

    def _drop(self, pool_id: str) -> None:
        self.tables.drop_pool(pool_id)
        self.rejects.drop_pool(pool_id)

    # -- data connections ------------------------------------------------------------------------------

    def add_connection(
        self, pool_id: str, name: str, connection_id: str | None, attributes: dict[str, object]
    ) -> Connection:
        self.get(pool_id)
        connection = Connection(_id(connection_id), pool_id, _named(name), now(), attributes)
        self.metadata.pools.add_connection(connection)
        return connection

    def connection(self, pool_id: str, connection_id: str) -> Connection:
        connection = self.metadata.pools.connection(pool_id, connection_id)
        if connection is None:
            raise NotFound(f"There is no data connection {connection_id}.")
        return connection

    def connections(self, pool_id: str) -> Sequence[Connection]:
        self.get(pool_id)
        return self.metadata.pools.connections(pool_id)

    def delete_connection(self, pool_id: str, connection_id: str) -> None:
        if not self.metadata.pools.delete_connection(pool_id, connection_id):
            raise NotFound(f"There is no data connection {connection_id}.")

    # -- tables ----------------------------------------------------------------------------------------

    def all_tables(self, pool_id: str, key: Key) -> Sequence[Table]:
        """Those that the key sees."""
        self.get(pool_id)
        return [table for table in self.tables.tables(pool_id) if sees_table(key, table.ref.name)]

    def find_table(self, pool_id: str, name: str, connection_id: str | None) -> Table:
        """The table without its row count."""
        self.get(pool_id)
        found = self.tables.find(pool_id, TableRef(name, connection_id))
        if found is None:
            raise NotFound(f"There is no table {name}.")
        return found

    def table(self, pool_id: str, name: str, connection_id: str | None) -> tuple[Table, Sequence[Version]]:
        self.get(pool_id)
        table = self.tables.table(pool_id, TableRef(name, connection_id))
        if table is None:
            raise NotFound(f"There is no table {name}.")
        return table, self.tables.versions(pool_id, table.ref)

    def maintain(self, pool_id: str) -> Sequence[Table]:
        """Look after every table of the pool now, one after the other; loads of the pool wait meanwhile."""
        self.get(pool_id)
        tables = self.tables.tables(pool_id)
        for table in tables:
            self._maintain(pool_id, table.ref)
        self.tables.expire(pool_id)
        return tables

    def maintain_table(self, pool_id: str, name: str, connection_id: str | None) -> Table:
        """The same for one table. Raises NotFound."""
        table = self.find_table(pool_id, name, connection_id)
        self._maintain(pool_id, table.ref)
        self.tables.expire(pool_id)
        return table

    def _maintain(self, pool_id: str, ref: TableRef) -> None:
        start = time.monotonic()
        self.tables.maintain(pool_id, ref)
        self.observe(Maintained(pool_id, ref, seconds_since(start)))

    def stored(self, pool_id: str) -> Stored:
        """What the tables of the pool take on the disk."""
        self.get(pool_id)
        return self.tables.stored(pool_id)

    def export(
        self, pool_id: str, name: str, connection_id: str | None, format: ExportFormat
    ) -> Generator[bytes]:
        table = self.find_table(pool_id, name, connection_id)
        return self.tables.reader.export(pool_id, table, format)

    def query(
        self,
        pool_id: str,
        key: Key,
        sql: str,
        max_rows: int | None,
        seconds: float | None,
        query_id: str | None = None,
    ) -> Answer:
        """One SELECT over the tables that the key sees, within the smaller of its and the server's limits.

        It can be cancelled by its id. Rejects are of the whole pool: a key of single tables sees none.
        """
        tables, rejects = self.all_tables(pool_id, key), key.tables is None
        if rejects and rejectsview.is_named(sql):
            self.rejects.gather(pool_id)
        return self.tables.reader.query(
            pool_id,
            [table.ref for table in tables],
            sql,
            max_rows=min(max_rows or self.sql_rows, self.sql_rows),
            seconds=min(seconds or self.sql_seconds, self.sql_seconds),
            query_id=query_id,
            rejects=rejects,
        )

    def cancel_query(self, pool_id: str, query_id: str) -> None:
        """Raises NotFound when no query of the pool has this id now."""
        self.get(pool_id)
        self.tables.reader.cancel(pool_id, query_id)


def of_table(ref: TableRef) -> str:
    """The table as a query names it."""
    return (
        quoted(ref.name) if ref.connection_id is None else f"{quoted(ref.connection_id)}.{quoted(ref.name)}"
    )


def _named(name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= 255:
        raise InvalidRequest("A name has 1 to 255 characters.", attribute="name")
    return name


def _id(given: str | None) -> str:
    if not given:
        return str(uuid4())
    try:
        return str(UUID(given))
    except ValueError as error:
        raise InvalidRequest("An id is a UUID.", attribute="id") from error
