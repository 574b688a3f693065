"""Who is it: an application key, a personal key, or the token of an OAuth client.

The scheme and the kind must agree: clients probe a key with ``AppKey`` first and take the refusal as the
sign that it is a personal one. What they may is decided in ``permissions.py``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path

from headrace.errors import Unauthorized
from headrace.keys import hash_of
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, now
from headrace.permissions import standing
from headrace.tokens import Tokens

_KIND_OF_SCHEME = {"appkey": KeyKind.APPLICATION, "bearer": KeyKind.PERSONAL}

SHORTEST_TOKEN = 16
"""Of a scraper, in bytes: fewer could be guessed."""


class Access:
    """``on_use`` hears of every key that was let in."""

    def __init__(self, metadata: Metadata, tokens: Tokens, on_use: Callable[[Key], None]) -> None:
        self._keys = metadata.keys
        self._tokens = tokens
        self._on_use = on_use

    def authenticate(self, authorization: str | None, *, basic: bool = False) -> Key:
        """The key of an ``Authorization`` header. Raises Unauthorized.

        ``basic``: a browser may send the key as the password of HTTP Basic.
        """
        key = self._found(authorization, basic)
        self._on_use(key)
        return key

    def by_secret(self, secret: str) -> Key:
        """The key whose secret a person typed. Raises Unauthorized."""
        key = self._known(secret.strip())
        self._on_use(key)
        return key

    def _found(self, authorization: str | None, basic: bool) -> Key:
        if not authorization:
            raise Unauthorized
        scheme, _, secret = authorization.strip().partition(" ")
        scheme, secret = scheme.lower(), secret.strip()
        if basic and scheme == "basic":
            return self._known(_password(secret))
        kind = _KIND_OF_SCHEME.get(scheme)
        if kind is None or not secret:
            raise Unauthorized("The Authorization header must read 'AppKey <key>' or 'Bearer <key>'.")
        if scheme == "bearer" and secret.count(".") == 2:  # a secret of ours has no dot
            return self._tokens.holder(secret)
        key = self._known(secret)
        if key.kind is not kind:
            raise Unauthorized(f"This is a key of the {key.kind} kind: send it with the other scheme.")
        return key

    def _known(self, secret: str) -> Key:
        # looked up by its hash: how long that takes tells of the hash of what was sent, which nobody can
        # steer towards the hash of a key, and nothing of the key
        key = self._keys.by_hash(hash_of(secret), now())
        if key is None:
            raise Unauthorized("This key is not known here.")
        if key.kind is KeyKind.CLIENT:
            raise Unauthorized("This is the secret of a client: get a token for it at /oauth2/token.")
        if refusal := standing(key, now()):
            raise Unauthorized(refusal.sentence)
        return key


@dataclass(frozen=True)
class Scrapers:
    """Who may read the metrics, and nothing else, without a key of ours.

    ``loopback``: whoever asks from this machine. ``token_file``: whoever sends what stands in it; it is read
    each time, so that the file can be replaced.
    """

    loopback: bool = False
    token_file: Path | None = None

    def admit(self, authorization: str | None, peer: str, *, forwarded: bool) -> bool:
        """``peer`` is the client's address; one that a proxy has ``forwarded`` is not from this machine."""
        if self.loopback and peer and not forwarded and ip_address(peer).is_loopback:
            return True
        scheme, _, sent = (authorization or "").strip().partition(" ")
        token = self.token()
        if token is None or scheme.lower() != "bearer":
            return False
        return compare_digest(sent.strip().encode(), token)

    def token(self) -> bytes | None:
        """What stands in the file; None if nothing does that could be a token."""
        try:
            token = self.token_file.read_bytes().strip() if self.token_file else b""
        except OSError:
            return None
        return token if len(token) >= SHORTEST_TOKEN else None


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError as error:  # neither base64 nor text
        raise Unauthorized from error
