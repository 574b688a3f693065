"""Tokens of OAuth clients: only what this installation signed, for a client that stands, until it expires."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from headrace import tokens as tokens_module
from headrace.errors import InvalidClient, InvalidScope, Unauthorized
from headrace.keys import KeyRing
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, Permission, now
from headrace.tokens import LEEWAY, SCOPES, Tokens

PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN
PUSHING, EVERYTHING = SCOPES
HOUR = timedelta(hours=1)


class Installation:
    def __init__(
        self, where: Path | str, lifetime: timedelta = HOUR, key_life: timedelta = 90 * 24 * HOUR
    ) -> None:
        self.metadata = Metadata(where)
        self.tokens = Tokens(self.metadata, lifetime=lifetime, key_life=key_life)
        self.ring = KeyRing(self.metadata)

    def client(self, *permissions: Permission, **more: Any) -> Key:
        return self.ring.create("a client", KeyKind.CLIENT, permissions or [PUSH], None, **more)[0]

    def token(self, client: Key | None = None) -> str:
        return self.tokens.grant(client or self.client(), []).token

    def forged(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Signed with the key of the installation; None takes a claim away."""
        good = self.token()
        signer = self.metadata.signing.signer()
        assert signer is not None
        changed = {**part(good, 1), **claims}
        changed = {name: value for name, value in changed.items() if value is not None}
        return jwt.encode({**part(good, 0), **(header or {})}, changed, ECKey.import_key(signer.private))


def part(token: str, number: int) -> dict[str, Any]:
    text = token.split(".")[number]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return read


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def assert_refused(tokens: Tokens, token: str, why: str = "none of this installation") -> None:
    with pytest.raises(Unauthorized, match=why):
        tokens.holder(token)


@pytest.fixture
def here(database: Path | str) -> Iterator[Installation]:
    made = Installation(database)
    yield made
    made.metadata.close()


# -- who gets one --------------------------------------------------------------------------------------


def test_a_client_shows_its_secret(here: Installation) -> None:
    client, secret = here.ring.create("a client", KeyKind.CLIENT, [PUSH], None)
    key, of_a_key = here.ring.create("a key", KeyKind.PERSONAL, [PUSH], None)
    assert here.tokens.client(client.id, secret) == client
    for id, shown in (
        (client.id, secret[:-1]),
        (client.id, ""),
        (client.id, of_a_key),
        (key.id, of_a_key),
        ("nobody", secret),
        ("", ""),
    ):
        with pytest.raises(InvalidClient):
            here.tokens.client(id, shown)


def test_a_client_that_does_not_stand_gets_none(here: Installation) -> None:
    client, secret = here.ring.create("a client", KeyKind.CLIENT, [PUSH], None)
    here.ring.disable(client)
    with pytest.raises(InvalidClient):
        here.tokens.client(client.id, secret)
    here.ring.enable(client)
    assert here.tokens.client(client.id, secret) == client
    here.ring.revoke(client)
    with pytest.raises(InvalidClient):
        here.tokens.client(client.id, secret)
    old, of_old = here.ring.create("old", KeyKind.CLIENT, [PUSH], None, now() - HOUR)
    with pytest.raises(InvalidClient):
        here.tokens.client(old.id, of_old)


@pytest.mark.parametrize(
    ("permission", "wanted", "granted"),
    [
        (PUSH, [PUSHING], {PUSH, READ}),
        (PUSH, [EVERYTHING], {PUSH, READ}),
        (PUSH, [], {PUSH, READ}),
        (READ, [EVERYTHING], {READ}),
        (READ, [], {READ}),
        (ADMIN, [PUSHING], {PUSH, READ}),
        (ADMIN, [PUSHING, PUSHING], {PUSH, READ}),
        (ADMIN, [EVERYTHING, PUSHING], {ADMIN, PUSH, READ}),
    ],
)
def test_scopes(
    here: Installation, permission: Permission, wanted: list[str], granted: set[Permission]
) -> None:
    grant = here.tokens.grant(here.client(permission), wanted)
    holder = here.tokens.holder(grant.token)
    assert tokens_module.included(holder.permissions) & (holder.scope or set()) == granted
    assert part(grant.token, 1)["scope"].split() == list(grant.scopes)
    assert set(wanted) <= set(grant.scopes) <= set(SCOPES)


@pytest.mark.parametrize(
    ("permission", "wanted"), [(READ, [PUSHING]), (ADMIN, ["team.admin"]), (ADMIN, [PUSHING, "x"])]
)
def test_scopes_that_a_client_may_not_have(
    here: Installation, permission: Permission, wanted: list[str]
) -> None:
    with pytest.raises(InvalidScope):
        here.tokens.grant(here.client(permission), wanted)


def test_a_token_lives_as_long_as_its_client_at_the_most(here: Installation) -> None:
    assert here.tokens.grant(here.client(), []).expires_in == 3600
    short = here.tokens.grant(here.client(expires_at=now() + HOUR / 2), [])
    assert 1790 <= short.expires_in <= 1800


# -- what is taken -------------------------------------------------------------------------------------


def test_a_token_says_who_it_is(here: Installation) -> None:
    client = here.client()
    token = here.token(client)
    holder = here.tokens.holder(token)
    assert (holder.id, holder.scope) == (client.id, PUSH.includes | ADMIN.includes)
    assert part(token, 0).keys() == {"alg", "kid", "typ"}
    assert here.metadata.signing.installation_id() in part(token, 1)["iss"]
    assert part(here.token(client), 1)["jti"] != part(token, 1)["jti"]


def test_a_token_of_another_installation(here: Installation, tmp_path: Path) -> None:
    other = Installation(tmp_path / "other.sqlite")
    assert_refused(here.tokens, other.token())
    assert other.tokens.holder(other.token())
    other.metadata.close()


def test_a_token_that_names_another_installation_though_our_key_signed_it(here: Installation) -> None:
    assert here.tokens.holder(here.forged())
    assert_refused(here.tokens, here.forged(iss="urn:uuid:00000000-0000-0000-0000-000000000000"))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "iat", "exp", "scope", "generation"])
def test_every_claim_must_be_there(here: Installation, claim: str) -> None:
    assert_refused(here.tokens, here.forged(**{claim: None}))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "another"}, "none of this"),
        ({"sub": "nobody"}, "client of this token is not known"),
        ({"exp": 1}, "expired"),
        ({"exp": "never"}, "none of this"),
        ({"iat": 2**40}, "none of this"),
        ({"nbf": 2**40}, "none of this"),
        ({"generation": 7}, "secret of this client was replaced"),
    ],
    ids=str,
)
def test_every_claim_is_checked(here: Installation, claims: dict[str, Any], why: str) -> None:
    assert_refused(here.tokens, here.forged(**claims), why)


def test_a_scope_that_nobody_knows_allows_nothing(here: Installation) -> None:
    assert here.tokens.holder(here.forged(scope="something else")).scope == frozenset()


def test_clocks_may_be_a_little_apart(here: Installation) -> None:
    seconds, at = int(LEEWAY.total_seconds()), int(now().timestamp())
    assert here.tokens.holder(here.forged(exp=at - seconds + 10))
    assert_refused(here.tokens, here.forged(exp=at - seconds - 10), "expired")
    assert here.tokens.holder(here.forged(iat=at + seconds - 10))
    assert_refused(here.tokens, here.forged(iat=at + seconds + 10))


def test_only_our_algorithm(here: Installation) -> None:
    good = here.token()
    _, claims, signature = good.split(".")
    [public] = here.tokens.public_keys()
    pem = ECKey.import_key(public).as_pem(private=False)
    signed = f"{encoded({**part(good, 0), 'alg': 'HS256'})}.{claims}"
    confused = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), "sha256")).decode().rstrip("=")
    other = ECKey.generate_key("P-256")
    for wrong in (
        f"{encoded({**part(good, 0), 'alg': 'none'})}.{claims}.",
        f"{encoded({**part(good, 0), 'alg': 'NONE'})}.{claims}.{signature}",
        f"{encoded({'alg': 'none'})}.{claims}.",
        f"{encoded({**part(good, 0), 'alg': 'ES384'})}.{claims}.{signature}",
        f"{signed}.{confused}",
        jwt.encode(part(good, 0), part(good, 1), other),
        jwt.encode({**part(good, 0), "jwk": other.as_dict(private=False)}, part(good, 1), other),
        here.forged({"typ": "JWT"}),
    ):
        assert_refused(here.tokens, wrong)
    assert here.tokens.holder(good)


def test_a_token_that_was_touched(here: Installation) -> None:
    good = here.token()
    header, claims, signature = good.split(".")
    raised = encoded({**part(good, 1), "scope": EVERYTHING, "sub": here.client(ADMIN).id})
    for wrong in (
        f"{header}.{raised}.{signature}",
        f"{header}.{claims}.{signature[:-4]}AAAA",
        f"{header}.{claims}.",
        f"{header}..{signature}",
        f".{claims}.{signature}",
        "..",
        "é.é.é",
        "a.b.c",
        f"{good}.x",
        f"{header}.{claims}.{'A' * 5000}",
        f"{encoded([])}.{claims}.{signature}",
        f"{encoded({**part(good, 0), 'kid': '../../etc'})}.{claims}.{signature}",
    ):
        assert_refused(here.tokens, wrong)


def test_what_ends_a_client_ends_its_tokens_at_once(here: Installation) -> None:
    client = here.client()
    token = here.token(client)
    here.ring.disable(client)
    assert_refused(here.tokens, token, "This client is disabled")
    here.ring.enable(client)
    here.ring.rotate(client, HOUR)
    assert here.tokens.holder(token), "a rotation with an overlap ends nothing"
    here.ring.rotate(client, timedelta(0))
    assert_refused(here.tokens, token, "was replaced")
    fresh = here.token(here.ring.get(client.id))
    assert here.tokens.holder(fresh)
    here.ring.revoke(client)
    assert_refused(here.tokens, fresh, "This client was revoked")


def test_a_key_is_no_client(here: Installation) -> None:
    key, _ = here.ring.create("a key", KeyKind.PERSONAL, [ADMIN], None)
    assert_refused(here.tokens, here.forged(sub=key.id), "not known here")


# -- the keys that sign --------------------------------------------------------------------------------


def test_after_a_rotation_old_tokens_are_good_until_they_expire(here: Installation) -> None:
    client = here.client()
    old = here.token(client)
    new_key = here.tokens.rotate_signing_key()
    new = here.token(client)
    assert part(old, 0)["kid"] != part(new, 0)["kid"] == new_key.kid
    assert here.tokens.holder(old)
    assert here.tokens.holder(new)
    young, retired = here.metadata.signing.verifiers(now())
    assert retired.verifies_until is not None
    left = retired.verifies_until - now()
    assert HOUR <= left <= HOUR + LEEWAY
    assert [k.kid for k in here.metadata.signing.verifiers(now() + left)] == [young.kid]


def test_a_key_that_verifies_no_more_refuses_its_tokens(database: Path | str) -> None:
    here = Installation(database, lifetime=timedelta(seconds=1))
    token = here.forged(exp=int(now().timestamp()) + 3600)  # as if it had been signed to live longer
    assert here.tokens.holder(token)
    retired = here.metadata.signing.signer()
    here.tokens.rotate_signing_key()
    here.metadata.signing.forget(now() + HOUR)
    assert retired is not None
    assert retired.kid not in [k.kid for k in here.metadata.signing.verifiers(now())]
    assert_refused(here.tokens, token)
    here.metadata.close()


def test_a_key_is_replaced_when_it_is_old(database: Path | str) -> None:
    here = Installation(database, key_life=timedelta(0))
    first, second = here.token(), here.token()
    assert part(first, 0)["kid"] != part(second, 0)["kid"]
    assert here.tokens.holder(first)
    here.metadata.close()


def test_tokens_that_live_longer_than_before_outlive_a_rotation(here: Installation) -> None:
    client = here.client()
    here.token(client)
    longer = Tokens(here.metadata, lifetime=48 * HOUR, key_life=1000 * HOUR)
    token = longer.grant(client, []).token
    here.tokens.rotate_signing_key()
    retired = here.metadata.signing.verifiers(now())[-1]
    assert retired.verifies_until is not None
    assert retired.verifies_until >= now() + 48 * HOUR
    assert here.tokens.holder(token)


def test_only_the_public_halves_are_shown(here: Installation) -> None:
    here.token()
    here.tokens.rotate_signing_key()
    shown = here.tokens.public_keys()
    assert len(shown) == 2
    assert all(key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"} for key in shown)


def test_another_server_of_the_installation_knows_the_same(here: Installation, database: Path | str) -> None:
    client = here.client()
    token = here.token(client)
    other = Installation(database)
    assert other.tokens.holder(token).id == client.id
    other.tokens.rotate_signing_key()
    assert here.tokens.holder(other.token(client)).id == client.id
    other.ring.revoke(client)
    assert_refused(here.tokens, token, "revoked")
    other.metadata.close()
