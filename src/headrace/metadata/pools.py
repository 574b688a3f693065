"""Pools and their data connections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from headrace.errors import Conflict
from headrace.metadata.schema import connections, jobs, pools
from headrace.model import Connection, Pool


class Pools:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def add(self, pool: Pool) -> None:
        """Raises Conflict when the id is taken."""
        with self._writes.begin() as db:
            try:
                db.execute(insert(pools).values(vars(pool)))
            except IntegrityError as error:
                raise Conflict(f"There is a pool with the id {pool.id} already.") from error

    def get(self, pool_id: str) -> Pool | None:
        with self._reads.connect() as db:
            row = db.execute(select(pools).where(pools.c.id == pool_id)).one_or_none()
        return _pool(row) if row else None

    def list(self, *, offset: int = 0, limit: int | None = None) -> Sequence[Pool]:
        query = select(pools).order_by(pools.c.created_at, pools.c.id).offset(offset).limit(limit)
        with self._reads.connect() as db:
            return [_pool(row) for row in db.execute(query)]

    def count(self) -> int:
        with self._reads.connect() as db:
            return db.execute(select(func.count()).select_from(pools)).scalar_one()

    def update(self, pool: Pool) -> bool:
        change = update(pools).where(pools.c.id == pool.id).values(name=pool.name, attributes=pool.attributes)
        with self._writes.begin() as db:
            return db.execute(change).rowcount == 1

    def delete(self, pool_id: str, at: datetime) -> bool:
        """The pool, out of sight with its jobs. Raises Conflict while one of them is queued or running."""
        busy = select(jobs.c.id).where(jobs.c.pool_id == pool_id, jobs.c.status.in_(("QUEUED", "RUNNING")))
        here = (jobs.c.pool_id == pool_id) & jobs.c.deleted_at.is_(None)
        with self._writes.begin() as db:
            db.execute(select(jobs.c.id).where(here).order_by(jobs.c.id).with_for_update())
            if db.execute(busy.limit(1)).first():
                raise Conflict("The pool has jobs that are queued or running; wait for them.")
            db.execute(update(jobs).where(here).values(deleted_at=at, chunks_until=None))
            db.execute(delete(connections).where(connections.c.pool_id == pool_id))
            return db.execute(delete(pools).where(pools.c.id == pool_id)).rowcount == 1

    def add_connection(self, connection: Connection) -> None:
        """Raises Conflict when the id is taken."""
        with self._writes.begin() as db:
            try:
                db.execute(insert(connections).values(vars(connection)))
            except IntegrityError as error:
                raise Conflict(f"There is a data connection with the id {connection.id} already.") from error

    def connection(self, pool_id: str, connection_id: str) -> Connection | None:
        query = select(connections).where(connections.c.pool_id == pool_id, connections.c.id == connection_id)
        with self._reads.connect() as db:
            row = db.execute(query).one_or_none()
        return _connection(row) if row else None

    def connections(self, pool_id: str) -> Sequence[Connection]:
        query = select(connections).where(connections.c.pool_id == pool_id).order_by(connections.c.created_at)
        with self._reads.connect() as db:
            return [_connection(row) for row in db.execute(query)]

    def delete_connection(self, pool_id: str, connection_id: str) -> bool:
        change = delete(connections).where(
            connections.c.pool_id == pool_id, connections.c.id == connection_id
        )
        with self._writes.begin() as db:
            return db.execute(change).rowcount == 1


def _pool(row: Row[Any]) -> Pool:
    return Pool(**row._mapping)


def _connection(row: Row[Any]) -> Connection:
    return Connection(**row._mapping)
