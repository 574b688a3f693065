"""The life of keys: shown once, stored as hashes, rotated with an overlap, disabled, revoked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.errors import InvalidRequest, NotFound
from headrace.keys import KeyRing, hash_of
from headrace.metadata import Metadata
from headrace.model import LONGEST_OVERLAP, Key, KeyKind, Permission, now

PUSH = Permission.PUSH
HOUR = timedelta(hours=1)


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    opened = Metadata(tmp_path / "metadata.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def ring(metadata: Metadata) -> KeyRing:
    return KeyRing(metadata)


def owner(metadata: Metadata, secret: str) -> Key | None:
    return metadata.keys.by_hash(hash_of(secret), now())


def test_no_secret_is_stored(ring: KeyRing, metadata: Metadata, tmp_path: Path) -> None:
    made = [ring.create("a key", kind, [PUSH], None) for kind in (*KeyKind, *KeyKind)]
    secrets = [secret for _, secret in made] + [ring.rotate(key, HOUR)[1] for key, _ in made]
    metadata.close()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files
    assert not any(secret[12:].encode() in data for secret in secrets for data in files)
    assert len({secret[12:] for secret in secrets}) == 12
    assert all(len(secret) > 40 for secret in secrets)


@pytest.mark.parametrize(("kind", "prefix"), [*zip(KeyKind, ("hr_app_", "hr_usr_", "hr_cli_"), strict=True)])
def test_its_beginning_is_shown_to_recognise_it(ring: KeyRing, kind: KeyKind, prefix: str) -> None:
    key, secret = ring.create("a key", kind, [PUSH], None)
    assert (key.prefix, key.prefix[:7]) == (secret[:12], prefix)
    assert list(ring.list()) == [key] == [ring.get(key.id)]


def test_a_key_has_a_permission(ring: KeyRing) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ring.create("a key", KeyKind.APPLICATION, [], None)
    assert caught.value.attribute == "permissions"
    assert list(ring.list()) == []


def test_a_key_is_found_by_its_kind(ring: KeyRing) -> None:
    client, _ = ring.create("a client", KeyKind.CLIENT, [PUSH], None)
    assert ring.get(client.id, (KeyKind.CLIENT,)) == client
    with pytest.raises(NotFound, match="no such key"):
        ring.get(client.id, (KeyKind.APPLICATION, KeyKind.PERSONAL))
    with pytest.raises(NotFound, match="no such client"):
        ring.get("nobody", (KeyKind.CLIENT,))


def test_a_key_is_rotated_with_an_overlap(ring: KeyRing, metadata: Metadata) -> None:
    key, old = ring.create("a key", KeyKind.APPLICATION, [PUSH], {"p"}, tables=["t"])
    rotated, new = ring.rotate(key, HOUR)
    assert owner(metadata, old) == owner(metadata, new) == rotated
    assert (rotated.id, rotated.pool_ids, rotated.tables) == (key.id, key.pool_ids, key.tables)
    assert rotated.previous_until is not None
    assert now() < rotated.previous_until <= now() + HOUR
    assert metadata.keys.by_hash(hash_of(old), now() + HOUR) is None
    _, newest = ring.rotate(key, HOUR)
    assert [bool(owner(metadata, secret)) for secret in (old, new, newest)] == [False, True, True]


def test_a_key_that_leaked_is_rotated_without_one(ring: KeyRing, metadata: Metadata) -> None:
    key, old = ring.create("a client", KeyKind.CLIENT, [PUSH], None)
    rotated, new = ring.rotate(key, timedelta(0))
    assert (owner(metadata, old), owner(metadata, new)) == (None, rotated)
    assert rotated.generation == key.generation + 1


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), LONGEST_OVERLAP + timedelta(seconds=1)])
def test_an_overlap_has_an_end(ring: KeyRing, overlap: timedelta) -> None:
    key, _ = ring.create("a key", KeyKind.APPLICATION, [PUSH], None)
    with pytest.raises(InvalidRequest, match="overlap"):
        ring.rotate(key, overlap)


def test_a_key_is_disabled_as_often_as_one_likes(ring: KeyRing) -> None:
    key, _ = ring.create("a key", KeyKind.APPLICATION, [PUSH], None)
    disabled = ring.disable(key)
    assert disabled.disabled_at is not None
    assert ring.disable(key) == disabled
    assert ring.enable(key) == key == ring.enable(key)


def test_a_key_is_revoked_once_and_for_good(ring: KeyRing) -> None:
    key, _ = ring.create("a key", KeyKind.APPLICATION, [PUSH], None)
    other, _ = ring.create("another", KeyKind.APPLICATION, [PUSH], None)
    ring.revoke(key)
    for again in (ring.revoke, ring.disable, ring.enable, lambda k: ring.rotate(k, HOUR)):
        with pytest.raises(NotFound, match="revoked"):
            again(key)
    assert ring.get(other.id) == other
