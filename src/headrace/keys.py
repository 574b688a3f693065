"""The life of keys and OAuth clients: made, rotated, disabled and enabled, revoked.

A secret is ``hr_app_…`` (application), ``hr_usr_…`` (personal) or ``hr_cli_…`` (client) and 256 random bits.
Whoever makes one sees it once; only its SHA-256 is stored. Nothing of this is cached anywhere: each request
reads the row of its key, so that a change counts at once on every server of the installation.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from headrace.errors import InvalidRequest, NotFound
from headrace.metadata import Metadata
from headrace.model import LONGEST_OVERLAP, Key, KeyKind, Permission, now

_PREFIXES = {
    KeyKind.APPLICATION: "hr_app_",
    KeyKind.PERSONAL: "hr_usr_",
    KeyKind.CLIENT: "hr_cli_",
}
_SHOWN = 12
"""So many characters of a key may be shown to recognise it."""


class KeyRing:
    def __init__(self, metadata: Metadata) -> None:
        self._keys = metadata.keys

    def create(
        self,
        name: str,
        kind: KeyKind,
        permissions: Iterable[Permission],
        pool_ids: Iterable[str] | None,
        expires_at: datetime | None = None,
        *,
        tables: Iterable[str] | None = None,
        secret: str | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody can ask for again."""
        granted = frozenset(permissions)
        if not granted:
            raise InvalidRequest("A key needs at least one permission.", attribute="permissions")
        secret = secret or new_secret(kind)
        key = Key(
            str(uuid4()),
            name,
            kind,
            secret[:_SHOWN],
            granted,
            frozenset(pool_ids) if pool_ids is not None else None,
            now(),
            expires_at,
            tables=frozenset(tables) if tables is not None else None,
        )
        self._keys.add(key, hash_of(secret))
        return key, secret

    def list(self, kinds: Collection[KeyKind] = tuple(KeyKind)) -> Sequence[Key]:
        return self._keys.list(kinds)

    def get(self, key_id: str, kinds: Collection[KeyKind] = tuple(KeyKind)) -> Key:
        key = self._keys.get(key_id)
        if key is None or key.kind not in kinds:
            raise NotFound(f"There is no such {'client' if kinds == (KeyKind.CLIENT,) else 'key'}.")
        return key

    def rotate(self, key: Key, overlap: timedelta) -> tuple[Key, str]:
        """A new secret; the old one stays good for the overlap.

        Without an overlap the old secret ends now, and so do all tokens of a client: for one that leaked.
        """
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise InvalidRequest(
                f"The overlap is 0 to {LONGEST_OVERLAP.days} days.", attribute="overlapSeconds"
            )
        secret = new_secret(key.kind)
        until = now() + overlap if overlap else None
        if not self._keys.rotate(key.id, hash_of(secret), secret[:_SHOWN], until):
            raise NotFound("It is revoked: make a new one.")
        return self.get(key.id), secret

    def revoke(self, key: Key) -> None:
        """For good, and at once."""
        if not self._keys.revoke(key.id, now()):
            raise NotFound("There is no such key, or it is revoked already.")

    def disable(self, key: Key) -> Key:
        """At once, until it is enabled again. May be repeated."""
        self._keys.disable(key.id, now())
        return self._not_revoked(key)

    def enable(self, key: Key) -> Key:
        self._keys.enable(key.id)
        return self._not_revoked(key)

    def _not_revoked(self, key: Key) -> Key:
        found = self.get(key.id)
        if found.revoked_at is not None:
            raise NotFound("It is revoked: make a new one.")
        return found


def new_secret(kind: KeyKind) -> str:
    return _PREFIXES[kind] + secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
