"""The installation's name for itself, and what signs its tokens; every server of it reads the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, bindparam, insert, or_, select, update

from headrace.metadata.dialects import alone
from headrace.metadata.schema import installation, signing_keys
from headrace.model import SigningKey

_SIGNS = signing_keys.c.retired_at.is_(None)
_VERIFIERS = (  # asked with every request that brings a token: built once
    select(signing_keys)
    .where(or_(_SIGNS, signing_keys.c.verifies_until > bindparam("at")))
    .order_by(signing_keys.c.created_at.desc())
)


class Signing:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def installation_id(self) -> str:
        with self._reads.connect() as db:
            return str(db.execute(select(installation.c.id)).scalar_one())

    def signer(self) -> SigningKey | None:
        """The one that signs now."""
        with self._reads.connect() as db:
            row = db.execute(select(signing_keys).where(_SIGNS)).one_or_none()
        return _signing_key(row) if row else None

    def verifiers(self, at: datetime) -> Sequence[SigningKey]:
        """Those whose tokens may still be good, the youngest first."""
        with self._reads.connect() as db:
            return [_signing_key(row) for row in db.execute(_VERIFIERS, {"at": at})]

    def replace(self, old: SigningKey | None, new: SigningKey, *, leeway: timedelta) -> bool:
        """``new`` signs from now on; ``old`` verifies until its last token has expired.

        False if somebody else was faster and ``old`` signs no more.
        """
        with self._writes.begin() as db:
            alone(db, "signing")
            if _signing(db) != (old.kid if old else None):
                return False
            if old:
                # what it signed meanwhile may live longer than we knew
                longest = db.execute(select(signing_keys.c.longest_token_s).where(_SIGNS)).scalar_one()
                until = new.created_at + timedelta(seconds=longest) + leeway
                ended = {"retired_at": new.created_at, "verifies_until": until}
                db.execute(update(signing_keys).where(_SIGNS).values(ended))
            db.execute(insert(signing_keys).values(vars(new)))
            return True

    def lengthen(self, kid: str, longest_token_s: int) -> bool:
        """Its tokens may live so long; False if it signs no more."""
        change = update(signing_keys).where(signing_keys.c.kid == kid, _SIGNS)
        with self._writes.begin() as db:
            return db.execute(change.values(longest_token_s=longest_token_s)).rowcount == 1

    def forget(self, at: datetime) -> None:
        """Those that verify nothing any more."""
        with self._writes.begin() as db:
            db.execute(signing_keys.delete().where(signing_keys.c.verifies_until < at))


def _signing(db: Connection) -> str | None:
    return db.execute(select(signing_keys.c.kid).where(_SIGNS)).scalar_one_or_none()


def _signing_key(row: Row[Any]) -> SigningKey:
    return SigningKey(**row._mapping)
