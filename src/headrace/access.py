"""Who is it, and may it: access keys.

A key is ``hr_app_…`` (application, sent as ``AppKey``) or ``hr_usr_…`` (personal, sent as ``Bearer``) and
256 random bits. Only its SHA-256 is stored. The scheme and the kind must agree: clients probe a key with
``AppKey`` first and take the refusal as the sign that it is a personal one.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import uuid4

from headrace.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, Permission, now

_PREFIXES = {KeyKind.APPLICATION: "hr_app_", KeyKind.PERSONAL: "hr_usr_"}
_KIND_OF_SCHEME = {"appkey": KeyKind.APPLICATION, "bearer": KeyKind.PERSONAL}
_SHOWN = 12
"""So many characters of a key may be shown to recognise it."""


class Access:
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
        secret: str | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody can ask for again."""
        granted = frozenset(permissions)
        if not granted:
            raise InvalidRequest("A key needs at least one permission.", attribute="permissions")
        secret = secret or new_secret(kind)
        pools = frozenset(pool_ids) if pool_ids is not None else None
        key = Key(str(uuid4()), name, kind, secret[:_SHOWN], granted, pools, now(), expires_at)
        self._keys.add(key, _hash(secret))
        return key, secret

    def list(self) -> Sequence[Key]:
        return self._keys.list()

    def revoke(self, key_id: str) -> None:
        if not self._keys.revoke(key_id, now()):
            raise NotFound("There is no such key, or it is revoked already.")

    def authenticate(self, authorization: str | None, *, basic: bool = False) -> Key:
        """The key of an ``Authorization`` header. Raises Unauthorized.

        ``basic``: a browser may send the key as the password of HTTP Basic.
        """
        if not authorization:
            raise Unauthorized
        scheme, _, secret = authorization.strip().partition(" ")
        secret = secret.strip()
        if basic and scheme.lower() == "basic":
            return self._known(_password(secret))
        kind = _KIND_OF_SCHEME.get(scheme.lower())
        if kind is None or not secret:
            raise Unauthorized("The Authorization header must read 'AppKey <key>' or 'Bearer <key>'.")
        key = self._known(secret)
        if key.kind is not kind:
            raise Unauthorized(f"This is a key of the {key.kind} kind: send it with the other scheme.")
        return key

    def _known(self, secret: str) -> Key:
        # looked up by its hash: what the comparison takes says nothing about the key
        key = self._keys.by_hash(_hash(secret))
        if key is None:
            raise Unauthorized("This key is not known here.")
        if key.revoked_at is not None:
            raise Unauthorized("This key was revoked.")
        if key.expires_at is not None and key.expires_at <= now():
            raise Unauthorized("This key has expired.")
        return key


def new_secret(kind: KeyKind) -> str:
    return _PREFIXES[kind] + secrets.token_urlsafe(32)


def authorize(key: Key, permission: Permission, pool_id: str | None = None) -> None:
    """Raise Forbidden unless the key has the permission, for this pool if one is named."""
    if Permission.ADMIN not in key.permissions and permission not in key.permissions | _implied(key):
        raise Forbidden(f"This key has no permission to {permission}.")
    if pool_id is not None and key.pool_ids is not None and pool_id not in key.pool_ids:
        raise Forbidden("This key is not valid for this pool.")
    if permission is Permission.ADMIN and pool_id is None and key.pool_ids is not None:
        raise Forbidden("This key is bound to single pools.")


def visible(key: Key, pool_id: str) -> bool:
    return key.pool_ids is None or pool_id in key.pool_ids


def _implied(key: Key) -> frozenset[Permission]:
    """Who pushes must see the jobs and tables of the push, and clients read them to do so."""
    return frozenset({Permission.READ}) if Permission.PUSH in key.permissions else frozenset()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError as error:  # neither base64 nor text
        raise Unauthorized from error
