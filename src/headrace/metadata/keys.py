"""Keys and OAuth clients. A secret has 256 random bits, so its plain SHA-256 is as safe as a slow hash."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, and_, bindparam, insert, select, update

from headrace.metadata.schema import keys
from headrace.model import Key, KeyKind, Permission

_PRIVATE = ("hash", "previous_hash")
_NOT_STORED = ("scope",)
_SETS = ("pool_ids", "tables")

# asked with every request: built once
_BY_ID = select(keys).where(keys.c.id == bindparam("id"))
_BY_HASH = select(keys).where(keys.c.hash == bindparam("sent"))
_BY_EARLIER_HASH = select(keys).where(
    keys.c.previous_hash == bindparam("sent"), keys.c.previous_until > bindparam("at")
)


class Keys:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def add(self, key: Key, hash: str) -> None:
        with self._writes.begin() as db:
            db.execute(insert(keys).values({**_row(key), "hash": hash}))

    def get(self, key_id: str) -> Key | None:
        with self._reads.connect() as db:
            row = db.execute(_BY_ID, {"id": key_id}).one_or_none()
        return _key(row) if row else None

    def by_hash(self, hash: str, at: datetime) -> Key | None:
        """Whose secret this is, or was before a rotation whose overlap has not ended."""
        sent = {"sent": hash, "at": at}
        with self._reads.connect() as db:
            row = db.execute(_BY_HASH, sent).one_or_none() or db.execute(_BY_EARLIER_HASH, sent).one_or_none()
        return _key(row) if row else None

    def hashes(self, key_id: str, at: datetime) -> Sequence[str]:
        """The hashes of the secrets that are good now."""
        query = select(keys.c.hash, keys.c.previous_hash, keys.c.previous_until).where(keys.c.id == key_id)
        with self._reads.connect() as db:
            row = db.execute(query).one_or_none()
        if row is None:
            return ()
        earlier = row.previous_until and row.previous_until > at
        return (row.hash, row.previous_hash) if earlier else (row.hash,)

    def list(self, kinds: Collection[KeyKind] = tuple(KeyKind)) -> Sequence[Key]:
        query = select(keys).where(keys.c.kind.in_(kinds)).order_by(keys.c.created_at, keys.c.id)
        with self._reads.connect() as db:
            return [_key(row) for row in db.execute(query)]

    def rotate(self, key_id: str, hash: str, prefix: str, until: datetime | None) -> bool:
        """A new secret; the old one stays good ``until``. None: it ends now, and tokens with it."""
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        values: dict[str, Any] = {"hash": hash, "prefix": prefix, "previous_until": until}
        values["previous_hash"] = keys.c.hash if until else None
        if until is None:
            values["generation"] = keys.c.generation + 1
        return self._one(change.values(values))

    def revoke(self, key_id: str, at: datetime) -> bool:
        here = and_(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        return self._one(update(keys).where(here).values(revoked_at=at))

    def disable(self, key_id: str, at: datetime) -> bool:
        here = and_(keys.c.id == key_id, keys.c.revoked_at.is_(None), keys.c.disabled_at.is_(None))
        return self._one(update(keys).where(here).values(disabled_at=at))

    def enable(self, key_id: str) -> bool:
        here = and_(keys.c.id == key_id, keys.c.revoked_at.is_(None), keys.c.disabled_at.is_not(None))
        return self._one(update(keys).where(here).values(disabled_at=None))

    def used(self, last: Mapping[str, datetime]) -> None:
        """Note when keys were last used."""
        change = update(keys).where(keys.c.id == bindparam("key")).values(last_used_at=bindparam("at"))
        with self._writes.begin() as db:
            db.execute(change, [{"key": key_id, "at": at} for key_id, at in last.items()])

    def _one(self, change: Any) -> bool:
        with self._writes.begin() as db:
            return db.execute(change).rowcount == 1


def _row(key: Key) -> dict[str, Any]:
    row = {name: value for name, value in vars(key).items() if name not in _NOT_STORED}
    sets = {name: sorted(row[name]) if row[name] is not None else None for name in _SETS}
    return {**row, **sets, "permissions": sorted(key.permissions)}


def _key(row: Row[Any]) -> Key:
    fields = row._asdict()
    for name in _PRIVATE:
        del fields[name]
    for name in _SETS:
        fields[name] = frozenset(fields[name]) if fields[name] is not None else None
    fields["kind"] = KeyKind(row.kind)
    fields["permissions"] = frozenset(map(Permission, row.permissions))
    return Key(**fields)
