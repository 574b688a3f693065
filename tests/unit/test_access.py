"""Keys: only their hashes are stored, the scheme must fit the kind, and a key may what it was given."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.access import Access, authorize, visible
from headrace.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from headrace.metadata import Metadata
from headrace.model import Key, KeyKind, Permission, now

APPLICATION, PERSONAL = KeyKind.APPLICATION, KeyKind.PERSONAL
PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    opened = Metadata(tmp_path / "metadata.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def access(metadata: Metadata) -> Access:
    return Access(metadata)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("kind", "scheme", "other"), [(APPLICATION, "AppKey", "Bearer"), (PERSONAL, "Bearer", "AppKey")]
)
def test_the_scheme_fits_the_kind(access: Access, kind: KeyKind, scheme: str, other: str) -> None:
    key, secret = access.create("a key", kind, [PUSH], None)
    for spelled in (scheme, scheme.lower(), scheme.upper()):
        assert access.authenticate(f"{spelled} {secret}") == key
        assert access.authenticate(f"  {spelled}   {secret} ") == key
    with pytest.raises(Unauthorized, match=f"of the {kind} kind"):
        access.authenticate(f"{other} {secret}")


@pytest.mark.parametrize(
    "header",
    [None, "", " ", "AppKey", "AppKey ", "Bearer x", "Token x", "hr_app_x", "Basic eDp5", "AppKey é\0"],
)
def test_who_has_no_key_is_not_let_in(access: Access, header: str | None) -> None:
    access.create("a key", APPLICATION, [PUSH], None)
    with pytest.raises(Unauthorized):
        access.authenticate(header)


def test_a_key_must_be_whole(access: Access) -> None:
    key, secret = access.create("a key", APPLICATION, [PUSH], None)
    for wrong in (
        secret[:-1],
        secret + "x",
        secret.upper(),
        secret.removeprefix("hr_app_"),
        key.prefix,
        key.id,
    ):
        with pytest.raises(Unauthorized, match="not known"):
            access.authenticate(f"AppKey {wrong}")


def test_a_browser_sends_a_key_of_either_kind_as_the_password(access: Access) -> None:
    for kind in KeyKind:
        key, secret = access.create("a key", kind, [READ], None)
        assert access.authenticate(basic("anyone", secret), basic=True) == key
        with pytest.raises(Unauthorized):
            access.authenticate(basic("anyone", secret))
    for wrong in ("Basic", "Basic !", "Basic /w==", basic("x", ""), basic(secret, "")):
        with pytest.raises(Unauthorized):
            access.authenticate(wrong, basic=True)


def test_a_password_that_is_not_even_ascii(access: Access) -> None:
    with pytest.raises(Unauthorized):
        access.authenticate("Basic é", basic=True)


def test_no_secret_is_stored(access: Access, metadata: Metadata, tmp_path: Path) -> None:
    secrets = [access.create("a key", kind, [PUSH], None)[1] for kind in (*KeyKind, *KeyKind)]
    metadata.close()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files
    assert not any(secret[12:].encode() in data for secret in secrets for data in files)
    assert len({secret[12:] for secret in secrets}) == 4
    assert all(len(secret) > 40 for secret in secrets)


def test_its_beginning_is_shown_to_recognise_it(access: Access) -> None:
    key, secret = access.create("a key", PERSONAL, [PUSH], None)
    assert (key.prefix, key.prefix[:7]) == (secret[:12], "hr_usr_")
    assert list(access.list()) == [key]


def test_a_key_expires(access: Access) -> None:
    _, old = access.create("old", APPLICATION, [PUSH], None, now() - timedelta(seconds=1))
    _, good = access.create("good", APPLICATION, [PUSH], None, now() + timedelta(hours=1))
    access.authenticate(f"AppKey {good}")
    for header, as_basic in ((f"AppKey {old}", False), (basic("", old), True)):
        with pytest.raises(Unauthorized, match="expired"):
            access.authenticate(header, basic=as_basic)


def test_a_key_is_revoked_once(access: Access) -> None:
    key, secret = access.create("a key", APPLICATION, [PUSH], None)
    other, stays = access.create("another", APPLICATION, [PUSH], None)
    access.revoke(key.id)
    with pytest.raises(Unauthorized, match="revoked"):
        access.authenticate(f"AppKey {secret}")
    assert access.authenticate(f"AppKey {stays}") == other
    for gone in (key.id, "no such key"):
        with pytest.raises(NotFound):
            access.revoke(gone)


def test_a_key_has_a_permission(access: Access) -> None:
    with pytest.raises(InvalidRequest) as caught:
        access.create("a key", APPLICATION, [], None)
    assert caught.value.attribute == "permissions"
    assert list(access.list()) == []


# -- what a key may ------------------------------------------------------------------------------------


def key_with(*permissions: Permission, pools: frozenset[str] | None = None) -> Key:
    return Key("k", "a key", APPLICATION, "hr_app_", frozenset(permissions), pools, now())


def may(key: Key, permission: Permission, pool: str | None = None) -> bool:
    try:
        authorize(key, permission, pool)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ([READ], {READ}),
        ([PUSH], {PUSH, READ}),
        ([ADMIN], {ADMIN, PUSH, READ}),
        ([PUSH, READ], {PUSH, READ}),
        ([], set()),
    ],
)
def test_permissions(given: list[Permission], allowed: set[Permission]) -> None:
    key = key_with(*given)
    assert {p for p in Permission if may(key, p)} == allowed
    assert {p for p in Permission if may(key, p, "any pool")} == allowed


@pytest.mark.parametrize("given", Permission)
def test_a_key_of_single_pools_ends_there(given: Permission) -> None:
    key = key_with(given, pools=frozenset({"p", "q"}))
    free = key_with(given)
    for permission in Permission:
        assert may(key, permission, "p") == may(free, permission, "p")
        assert not may(key, permission, "another")
        assert may(key, permission) == (may(free, permission) and permission is not ADMIN)


def test_which_pools_a_key_sees() -> None:
    assert visible(key_with(READ), "p")
    assert visible(key_with(READ, pools=frozenset({"p"})), "p")
    assert not visible(key_with(ADMIN, pools=frozenset({"p"})), "q")
    assert not visible(key_with(READ, pools=frozenset()), "p")
