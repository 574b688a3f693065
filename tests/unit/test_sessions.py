"""Sessions of the console: signed here, for a key that stands, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from headrace import sessions as sessions_module
from headrace.errors import Forbidden, Unauthorized
from headrace.keys import KeyRing
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, Permission, now
from headrace.sessions import Sessions, check_csrf, csrf_of, new_nonce
from headrace.tokens import Tokens

HOUR = timedelta(hours=1)


class Installation:
    def __init__(self, where: Path | str) -> None:
        self.metadata = Metadata(where)
        self.tokens = Tokens(self.metadata, lifetime=HOUR, key_life=HOUR)
        self.used: list[Key] = []
        self.sessions = Sessions(self.metadata, self.tokens, 12 * HOUR, self.used.append)
        self.ring = KeyRing(self.metadata)

    def key(self, kind: KeyKind = KeyKind.APPLICATION) -> Key:
        return self.ring.create("a key", kind, [Permission.READ], None)[0]


@pytest.fixture
def here(database: Path | str) -> Iterator[Installation]:
    installation = Installation(database)
    yield installation
    installation.metadata.close()


def test_a_session_is_that_of_its_key(here: Installation) -> None:
    key = here.key()
    session = here.sessions.holder(here.sessions.open(key))
    assert session.key.id == key.id
    assert [used.id for used in here.used] == [key.id]


@pytest.mark.parametrize("end", ["revoke", "disable", "rotate"])
def test_it_ends_with_its_key(here: Installation, end: str) -> None:
    key = here.key()
    cookie = here.sessions.open(key)
    here.ring.rotate(key, timedelta(0)) if end == "rotate" else getattr(here.ring, end)(key)
    with pytest.raises(Unauthorized):
        here.sessions.holder(cookie)


def test_a_rotation_with_an_overlap_leaves_it(here: Installation) -> None:
    key = here.key()
    cookie = here.sessions.open(key)
    here.ring.rotate(key, HOUR)
    assert here.sessions.holder(cookie).key.id == key.id


def test_it_ends_by_itself(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    past = now() - 13 * HOUR
    with monkeypatch.context() as then:
        then.setattr(sessions_module, "now", lambda: past)
        cookie = here.sessions.open(here.key())
    with pytest.raises(Unauthorized, match="expired"):
        here.sessions.holder(cookie)


def test_it_outlives_a_change_of_the_key_that_signs(here: Installation) -> None:
    """For as long as sessions may live, the old key verifies, though tokens live shorter."""
    key = here.key()
    cookie = here.sessions.open(key)
    signer = here.metadata.signing.signer()
    assert signer is not None
    assert signer.longest_token_s >= 12 * 3600
    here.tokens.rotate_signing_key()
    assert here.sessions.holder(cookie).key.id == key.id


def test_neither_is_taken_for_the_other(here: Installation) -> None:
    client = here.ring.create("a client", KeyKind.CLIENT, [Permission.PUSH], None)[0]
    token = here.tokens.grant(client, []).token
    with pytest.raises(Unauthorized):
        here.sessions.holder(token)
    with pytest.raises(Unauthorized):
        here.tokens.holder(here.sessions.open(client))
    with pytest.raises(Unauthorized):
        here.sessions.holder(here.sessions.open(client))  # a client is no person


@pytest.mark.parametrize("cookie", [None, "", "x", "a.b.c", "é"])
def test_nonsense(here: Installation, cookie: str | None) -> None:
    with pytest.raises(Unauthorized):
        here.sessions.holder(cookie)


def test_another_installation(here: Installation, tmp_path: Path) -> None:
    there = Installation(tmp_path / "there.sqlite")
    with pytest.raises(Unauthorized):
        there.sessions.holder(here.sessions.open(here.key()))
    there.metadata.close()


def test_the_proof_of_a_form() -> None:
    nonce = new_nonce()
    check_csrf(nonce, csrf_of(nonce))
    for wrong in (None, "", "x", "é", nonce, csrf_of(new_nonce())):
        with pytest.raises(Forbidden):
            check_csrf(nonce, wrong)
