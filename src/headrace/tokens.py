"""Tokens of OAuth2 clients: JWTs that this installation signs with its own key, and nobody else's.

A token names its client, and each request reads the client's row: revoking or disabling the client ends its
tokens at once, whatever they say. What is kept of a token is nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, KeySet

from headrace.errors import InvalidClient, InvalidScope, Unauthorized
from headrace.keys import hash_of
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, Permission, SigningKey, now
from headrace.permissions import included, standing

SCOPES = {
    "integration.data-pools:data_push": Permission.PUSH.includes,
    "integration.data-pools": Permission.ADMIN.includes,
}
"""What a token with this scope may at the most; the client's own permissions come on top."""

LEEWAY = timedelta(seconds=60)
"""So far may the clocks of two servers be apart."""

_ALGORITHM = "ES256"
_LONGEST = 4096


@dataclass(frozen=True)
class Paper:
    """A kind of what is signed: none is taken for another. ``claims`` must stand in it."""

    type: str
    audience: str
    claims: tuple[str, ...]


_TOKEN = Paper("at+jwt", "headrace", ("sub", "iat", "exp", "scope", "generation"))


@dataclass(frozen=True)
class Grant:
    token: str
    expires_in: int  # seconds
    scopes: tuple[str, ...]


class Tokens:
    """``lifetime`` of a token; ``key_life``: for so long one key signs."""

    def __init__(self, metadata: Metadata, *, lifetime: timedelta, key_life: timedelta) -> None:
        self._keys = metadata.keys
        self._signing = metadata.signing
        self._lifetime = lifetime
        self._key_life = key_life
        self._issuer = f"urn:uuid:{metadata.signing.installation_id()}"

    # -- giving ----------------------------------------------------------------------------------------

    def client(self, client_id: str, secret: str) -> Key:
        """The client whose secret this is. Raises InvalidClient, in the same words for whatever is wrong."""
        at = now()
        client = self._keys.get(client_id)
        sent = hash_of(secret)
        known = [hmac.compare_digest(sent, hash) for hash in self._keys.hashes(client_id, at)]
        if client is None or client.kind is not KeyKind.CLIENT or not any(known) or standing(client, at):
            raise InvalidClient
        return client

    def grant(self, client: Key, wanted: Sequence[str]) -> Grant:
        """A new token. No scope wanted: all that the client may have. Raises InvalidScope."""
        scopes = tuple(dict.fromkeys(wanted)) or tuple(s for s in SCOPES if _may_have(client, s))
        for scope in scopes:
            if scope not in SCOPES:
                raise InvalidScope(f"The known scopes are {' and '.join(SCOPES)}.")
            if not _may_have(client, scope):
                raise InvalidScope(f"This client has no permission for {scope}.")
        at = now()
        ends = min(at + self._lifetime, client.expires_at or datetime.max.replace(tzinfo=at.tzinfo))
        claims: dict[str, Any] = {
            "sub": client.id,
            "client_id": client.id,
            "iat": int(at.timestamp()),
            "exp": int(ends.timestamp()),
            "jti": str(uuid4()),
            "scope": " ".join(scopes),
            "generation": client.generation,
        }
        return Grant(self.signed(_TOKEN, claims, self._lifetime), claims["exp"] - claims["iat"], scopes)

    def signed(self, what: Paper, claims: dict[str, Any], lifetime: timedelta) -> str:
        """The claims, signed by this installation; they are good for no more than ``lifetime``."""
        signer = self._signer(lifetime)
        header = {"alg": _ALGORITHM, "kid": signer.kid, "typ": what.type}
        whole = {"iss": self._issuer, "aud": what.audience, **claims}
        return jwt.encode(header, whole, _parsed(signer.kid, signer.private), algorithms=[_ALGORITHM])

    # -- taking ----------------------------------------------------------------------------------------

    def holder(self, token: str) -> Key:
        """The client of a token, with the token's scopes. Raises Unauthorized."""
        claims = self.verified(_TOKEN, token)
        client = self._keys.get(claims["sub"])
        if client is None or client.kind is not KeyKind.CLIENT:
            raise Unauthorized("The client of this token is not known here.")
        if refusal := standing(client, now()):
            raise Unauthorized(refusal.sentence)
        if claims["generation"] != client.generation:
            raise Unauthorized("The secret of this client was replaced, and its tokens with it.")
        allowed = (SCOPES.get(scope, frozenset()) for scope in claims["scope"].split())
        return replace(client, scope=frozenset[Permission]().union(*allowed))

    def verified(self, what: Paper, token: str) -> dict[str, Any]:
        """The claims of what this installation has signed, for this end. Raises Unauthorized."""
        if len(token) > _LONGEST:
            raise Unauthorized(_NOT_OURS)
        try:
            decoded = jwt.decode(token, self._verifiers(), algorithms=[_ALGORITHM])
            self._registry(what).validate(decoded.claims)
        except ExpiredTokenError as error:
            raise Unauthorized("This token has expired; ask for another one.") from error
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Unauthorized(_NOT_OURS) from error
        if decoded.header.get("typ") != what.type:
            raise Unauthorized(_NOT_OURS)
        return decoded.claims

    def _registry(self, what: Paper) -> jwt.JWTClaimsRegistry:
        expected: dict[str, Any] = {name: {"essential": True} for name in ("iss", "aud", *what.claims)}
        expected["iss"]["value"], expected["aud"]["value"] = self._issuer, what.audience
        return jwt.JWTClaimsRegistry(leeway=int(LEEWAY.total_seconds()), **expected)

    # -- the keys that sign ----------------------------------------------------------------------------

    def rotate_signing_key(self) -> SigningKey:
        """A new key signs from now on; the old one verifies until its last token has expired."""
        new = _new_signing_key(self._lifetime)
        while not self._signing.replace(self._signing.signer(), new, leeway=LEEWAY):
            pass  # somebody was faster; theirs is the old one now
        self._signing.forget(now())
        return new

    def public_keys(self) -> list[dict[str, Any]]:
        """As a JWK set has them."""
        return [_parsed(k.kid, k.private).as_dict(private=False) for k in self._signing.verifiers(now())]

    def _signer(self, lifetime: timedelta) -> SigningKey:
        signer = self._signing.signer()
        if signer is None or signer.created_at + self._key_life <= now():
            new = _new_signing_key(max(lifetime, self._lifetime))
            replaced = self._signing.replace(signer, new, leeway=LEEWAY)
            return new if replaced else self._signer(lifetime)  # another server has just done so
        seconds = int(max(lifetime, self._lifetime).total_seconds())
        if signer.longest_token_s < seconds and not self._signing.lengthen(signer.kid, seconds):
            return self._signer(lifetime)
        return signer

    def _verifiers(self) -> KeySet:
        return KeySet([_parsed(key.kid, key.private) for key in self._signing.verifiers(now())])


_NOT_OURS = "This token is none of this installation."


def _may_have(client: Key, scope: str) -> bool:
    narrow = SCOPES[scope] != Permission.ADMIN.includes
    return not narrow or Permission.PUSH in included(client.permissions)


def _new_signing_key(lifetime: timedelta) -> SigningKey:
    key = ECKey.generate_key("P-256")
    pem = key.as_pem(private=True).decode()
    return SigningKey(key.thumbprint(), pem, now(), int(lifetime.total_seconds()))


@lru_cache(maxsize=16)
def _parsed(kid: str, private: str) -> ECKey:
    """Which keys are good is asked each time; only the reading of one is spared."""
    return ECKey.import_key(private, {"kid": kid, "use": "sig", "alg": _ALGORITHM})
