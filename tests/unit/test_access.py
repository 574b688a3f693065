"""Who is it: the scheme must fit the kind, and nobody gets in who does not stand."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.access import Access, Scrapers
from headrace.errors import Unauthorized
from headrace.keys import KeyRing
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, Permission, now
from headrace.tokens import Tokens

APPLICATION, PERSONAL, CLIENT = KeyKind
PUSH, READ = Permission.PUSH, Permission.READ
DAY = timedelta(days=1)


class Door:
    """Access, the keys that fit, and who went through."""

    def __init__(self, metadata: Metadata) -> None:
        self.ring = KeyRing(metadata)
        self.tokens = Tokens(metadata, lifetime=DAY, key_life=DAY)
        self.used: list[Key] = []
        access = Access(metadata, self.tokens, self.used.append)
        self.authenticate, self.by_secret = access.authenticate, access.by_secret
        self.create = self.ring.create


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    metadata = Metadata(tmp_path / "metadata.sqlite")
    yield Door(metadata)
    metadata.close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("kind", "scheme", "other"), [(APPLICATION, "AppKey", "Bearer"), (PERSONAL, "Bearer", "AppKey")]
)
def test_the_scheme_fits_the_kind(door: Door, kind: KeyKind, scheme: str, other: str) -> None:
    key, secret = door.create("a key", kind, [PUSH], None)
    for spelled in (scheme, scheme.lower(), scheme.upper()):
        assert door.authenticate(f"{spelled} {secret}") == key
        assert door.authenticate(f"  {spelled}   {secret} ") == key
    with pytest.raises(Unauthorized, match=f"of the {kind} kind"):
        door.authenticate(f"{other} {secret}")
    assert door.used == [key] * 6


@pytest.mark.parametrize(
    "header",
    [None, "", " ", "AppKey", "AppKey ", "Bearer x", "Token x", "hr_app_x", "Basic eDp5", "AppKey é\0"],
)
def test_who_has_no_key_is_not_let_in(door: Door, header: str | None) -> None:
    door.create("a key", APPLICATION, [PUSH], None)
    with pytest.raises(Unauthorized):
        door.authenticate(header)
    assert door.used == []


def test_a_key_must_be_whole(door: Door) -> None:
    key, secret = door.create("a key", APPLICATION, [PUSH], None)
    for wrong in (
        secret[:-1],
        secret + "x",
        secret.upper(),
        secret.removeprefix("hr_app_"),
        key.prefix,
        key.id,
        "\ud800",
    ):
        with pytest.raises(Unauthorized, match="not known"):
            door.authenticate(f"AppKey {wrong}")


def test_a_browser_sends_a_key_of_either_kind_as_the_password(door: Door) -> None:
    for kind in (APPLICATION, PERSONAL):
        key, secret = door.create("a key", kind, [READ], None)
        assert door.authenticate(basic("anyone", secret), basic=True) == key
        with pytest.raises(Unauthorized):
            door.authenticate(basic("anyone", secret))
    for wrong in ("Basic", "Basic !", "Basic /w==", basic("x", ""), basic(secret, "")):
        with pytest.raises(Unauthorized):
            door.authenticate(wrong, basic=True)


def test_a_password_that_is_not_even_ascii(door: Door) -> None:
    with pytest.raises(Unauthorized):
        door.authenticate("Basic é", basic=True)


def test_the_secret_of_a_client_opens_nothing_but_the_desk_for_tokens(door: Door) -> None:
    client, secret = door.create("a client", CLIENT, [PUSH], None)
    for header, as_basic in (
        (f"AppKey {secret}", False),
        (f"Bearer {secret}", False),
        (basic(client.id, secret), True),
    ):
        with pytest.raises(Unauthorized, match="get a token"):
            door.authenticate(header, basic=as_basic)


def test_a_token_is_a_bearer_and_nothing_else(door: Door) -> None:
    client, _ = door.create("a client", CLIENT, [PUSH], None)
    token = door.tokens.grant(client, []).token
    assert door.authenticate(f"Bearer {token}").id == client.id
    for header, as_basic in ((f"AppKey {token}", False), (basic("x", token), True)):
        with pytest.raises(Unauthorized, match="not known"):
            door.authenticate(header, basic=as_basic)


def test_a_key_expires(door: Door) -> None:
    _, old = door.create("old", APPLICATION, [PUSH], None, now() - timedelta(seconds=1))
    _, good = door.create("good", APPLICATION, [PUSH], None, now() + timedelta(hours=1))
    door.authenticate(f"AppKey {good}")
    for header, as_basic in ((f"AppKey {old}", False), (basic("", old), True)):
        with pytest.raises(Unauthorized, match="expired"):
            door.authenticate(header, basic=as_basic)


def test_a_key_is_let_in_until_it_is_revoked_or_disabled(door: Door) -> None:
    key, secret = door.create("a key", APPLICATION, [PUSH], None)
    other, stays = door.create("another", APPLICATION, [PUSH], None)
    door.ring.disable(key)
    with pytest.raises(Unauthorized, match="disabled"):
        door.authenticate(f"AppKey {secret}")
    door.ring.enable(key)
    assert door.authenticate(f"AppKey {secret}") == key
    door.ring.revoke(key)
    with pytest.raises(Unauthorized, match="revoked"):
        door.authenticate(f"AppKey {secret}")
    assert door.authenticate(f"AppKey {stays}") == other


def test_both_secrets_of_a_rotated_key_open(door: Door) -> None:
    key, old = door.create("a key", PERSONAL, [PUSH], None)
    rotated, new = door.ring.rotate(key, DAY)
    assert door.authenticate(f"Bearer {old}") == door.authenticate(f"Bearer {new}") == rotated
    _, newest = door.ring.rotate(key, timedelta(0))
    for gone in (old, new):
        with pytest.raises(Unauthorized, match="not known"):
            door.authenticate(f"Bearer {gone}")
    door.authenticate(f"Bearer {newest}")


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ("AppKey", "The Authorization header must read 'AppKey <key>' or 'Bearer <key>'."),
        ("Token x", "The Authorization header must read 'AppKey <key>' or 'Bearer <key>'."),
        ("AppKey hr_app_unknown", "This key is not known here."),
        ("Bearer {application}", "This is a key of the application kind: send it with the other scheme."),
        ("AppKey {personal}", "This is a key of the personal kind: send it with the other scheme."),
        ("Bearer {client}", "This is the secret of a client: get a token for it at /oauth2/token."),
    ],
)
def test_who_is_refused_hears_what_to_do(door: Door, sent: str, sentence: str) -> None:
    secrets = {str(kind): door.create(str(kind), kind, [PUSH], None)[1] for kind in KeyKind}
    with pytest.raises(Unauthorized) as refused:
        door.authenticate(sent.format(**secrets))
    assert refused.value.message == sentence
    assert door.used == []


def test_a_secret_that_a_person_types(door: Door) -> None:
    made, secret = door.create("a key", PERSONAL, [PUSH], None)
    assert door.by_secret(f" {secret}\n").id == made.id
    assert [key.id for key in door.used] == [made.id]
    with pytest.raises(Unauthorized):
        door.by_secret(secret[:-1])


def test_what_only_looks_like_a_password_is_none(door: Door) -> None:
    _, secret = door.create("a key", APPLICATION, [PUSH], None)
    good = basic("somebody", secret)
    assert door.authenticate(good, basic=True).name == "a key"
    for bad in (basic("some:body", secret), f"{good[:20]}!{good[20:]}", good[:-3]):
        with pytest.raises(Unauthorized):
            door.authenticate(bad, basic=True)
    with pytest.raises(Unauthorized):
        door.authenticate(good)


# -- scrapers of metrics -------------------------------------------------------------------------------


TOKEN = "0123456789abcdef"


def test_a_scraper_is_nobody_unless_somebody_says_so() -> None:
    for peer in ("127.0.0.1", "::1", "10.0.0.1", ""):
        assert not Scrapers().admit(f"Bearer {TOKEN}", peer, forwarded=False)
        assert not Scrapers().admit(None, peer, forwarded=False)


@pytest.mark.parametrize(
    ("peer", "forwarded", "admitted"),
    [
        ("127.0.0.1", False, True),
        ("127.1.2.3", False, True),
        ("::1", False, True),
        ("127.0.0.1", True, False),
        ("10.0.0.1", False, False),
        ("", False, False),
    ],
)
def test_a_scraper_of_the_same_machine(peer: str, forwarded: bool, admitted: bool) -> None:
    assert Scrapers(loopback=True).admit(None, peer, forwarded=forwarded) is admitted


@pytest.mark.parametrize(
    ("sent", "admitted"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (f"AppKey {TOKEN}", False),
        (f"Bearer {TOKEN}0", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Bearer {TOKEN[:-1]}é", False),
        (TOKEN, False),
        ("Bearer", False),
        ("", False),
        (None, False),
    ],
)
def test_a_scraper_with_a_token(tmp_path: Path, sent: str | None, admitted: bool) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert Scrapers(token_file=file).admit(sent, "10.0.0.1", forwarded=True) is admitted


@pytest.mark.parametrize("content", [None, "", "\n", TOKEN[:-1]])
def test_no_file_and_a_short_token_open_nothing(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    scrapers = Scrapers(token_file=file)
    assert scrapers.token() is None
    assert not scrapers.admit(f"Bearer {content or ''}", "10.0.0.1", forwarded=False)


def test_a_token_is_replaced_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    scrapers = Scrapers(token_file=file)
    for token in (TOKEN, TOKEN[::-1]):
        file.write_text(token)
        assert scrapers.admit(f"Bearer {token}", "", forwarded=False)
    assert not scrapers.admit(f"Bearer {TOKEN}", "", forwarded=False)
