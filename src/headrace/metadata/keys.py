"""Access keys. The secret is random with 256 bits, so its plain SHA-256 is as safe as a slow hash."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, insert, select, update

from headrace.metadata.schema import keys
from headrace.model import Key, KeyKind, Permission


class Keys:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def add(self, key: Key, hash: str) -> None:
        row = {
            **vars(key),
            "permissions": sorted(key.permissions),
            "pool_ids": sorted(key.pool_ids) if key.pool_ids is not None else None,
            "hash": hash,
        }
        with self._writes.begin() as db:
            db.execute(insert(keys).values(row))

    def by_hash(self, hash: str) -> Key | None:
        with self._reads.connect() as db:
            row = db.execute(select(keys).where(keys.c.hash == hash)).one_or_none()
        return _key(row) if row else None

    def list(self) -> Sequence[Key]:
        with self._reads.connect() as db:
            return [_key(row) for row in db.execute(select(keys).order_by(keys.c.created_at, keys.c.id))]

    def revoke(self, key_id: str, at: datetime) -> bool:
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=at)
        with self._writes.begin() as db:
            return db.execute(change).rowcount == 1


def _key(row: Row[Any]) -> Key:
    fields = {name: value for name, value in row._mapping.items() if name != "hash"}
    return Key(
        **{
            **fields,
            "kind": KeyKind(row.kind),
            "permissions": frozenset(map(Permission, row.permissions)),
            "pool_ids": frozenset(row.pool_ids) if row.pool_ids is not None else None,
        }
    )
