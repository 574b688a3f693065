"""Sessions of people in a browser: what the console keeps in its cookie, signed by this installation.

A session names its key and holds nothing of its secret. Each request reads the row of the key: revoking or
disabling it, or replacing its secret at once, ends its sessions at once. What is kept of a session: nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from headrace.errors import Forbidden, Unauthorized
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, now
from headrace.permissions import standing
from headrace.tokens import Paper, Tokens

_SESSION = Paper("session+jwt", "headrace-console", ("sub", "iat", "exp", "jti", "generation"))


@dataclass(frozen=True)
class Session:
    """Who is asking, and the secret of this session that its forms prove to know."""

    key: Key
    nonce: str

    @property
    def csrf(self) -> str:
        return csrf_of(self.nonce)


class Sessions:
    """``on_use`` hears of every key that was let in."""

    def __init__(
        self, metadata: Metadata, tokens: Tokens, lifetime: timedelta, on_use: Callable[[Key], None]
    ) -> None:
        self._keys = metadata.keys
        self._tokens = tokens
        self._on_use = on_use
        self.lifetime = lifetime

    def open(self, key: Key) -> str:
        """The cookie of a new session; it ends with the key at the latest."""
        at = now()
        ends = min(at + self.lifetime, key.expires_at or at + self.lifetime)
        claims = {
            "sub": key.id,
            "iat": int(at.timestamp()),
            "exp": int(ends.timestamp()),
            "jti": secrets.token_urlsafe(24),
            "generation": key.generation,
        }
        return self._tokens.signed(_SESSION, claims, self.lifetime)

    def holder(self, cookie: str | None) -> Session:
        """Whose session this is. Raises Unauthorized."""
        if not cookie:
            raise Unauthorized("Sign in with a key.")
        claims = self._tokens.verified(_SESSION, cookie)
        key = self._keys.get(claims["sub"])
        if key is None or key.kind is KeyKind.CLIENT:
            raise Unauthorized("The key of this session is not known here.")
        if refusal := standing(key, now()):
            raise Unauthorized(refusal.sentence)
        if claims["generation"] != key.generation:
            raise Unauthorized("The secret of this key was replaced: sign in with the new one.")
        self._on_use(key)
        return Session(key, claims["jti"])


def new_nonce() -> str:
    return secrets.token_urlsafe(24)


def csrf_of(nonce: str) -> str:
    """What a form must send along: only who was given the page of this nonce knows it."""
    return hmac.new(nonce.encode(), b"headrace-console-form", hashlib.sha256).hexdigest()


def check_csrf(nonce: str, sent: str | None) -> None:
    """Raises Forbidden for a form that was not made for this nonce."""
    if not sent or not hmac.compare_digest(csrf_of(nonce).encode(), sent.encode()):
        raise Forbidden("This form is of another session: load the page again.")
