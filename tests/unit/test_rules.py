"""What holds a request to the rule of its route: who is asked, for what, and what the audit hears."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from headrace.errors import Forbidden, Unauthorized
from headrace.model import Key, KeyKind, Permission, now
from headrace.web.noting import Noted
from headrace.web.rules import ANY, OPEN, Endpoint, by_header, by_header_or_basic, guard

PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN
JOB = "/pools/{pool_id:part}/jobs/{job_id:part}"
TABLE = "/pools/{pool_id:part}/tables/{name:part}"


def some_thing() -> None:
    """A handler."""


def key_with(*permissions: Permission, **more: Any) -> Key:
    pools, tables = more.get("pools"), more.get("tables")
    return Key("k", "a key", KeyKind.APPLICATION, "hr", frozenset(permissions), pools, now(), tables=tables)


class Door:
    """The services that a rule asks, and what it asked them."""

    def __init__(self, key: Key | None = None, *, admits: bool = False, tables: tuple[str, ...] = ()) -> None:
        self._key = key
        self._admits = admits
        self._tables = tables
        self.asked: list[Any] = []
        self.services = SimpleNamespace(access=self, scrapers=self, pushes=self)

    def authenticate(self, authorization: str | None, *, basic: bool = False) -> Key:
        self.asked.append((authorization, basic))
        if self._key is None:
            raise Unauthorized
        return self._key

    def admit(self, authorization: str | None, peer: str, *, forwarded: bool) -> bool:
        self.asked.append((authorization, peer, forwarded))
        return self._admits

    def tables(self, pool_id: str, job_id: str) -> tuple[str, ...]:
        self.asked.append((pool_id, job_id))
        return self._tables


@pytest.fixture(autouse=True)
def services_of_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.web.rules.the_services", lambda request: request.app.services)


def asked(door: Door, path: dict[str, str] | None = None, *headers: tuple[str, str]) -> Request:
    sent = [(name.lower().encode(), value.encode()) for name, value in headers]
    state = {"noted": Noted("a-request", "10.0.0.1")}
    scope = {"type": "http", "headers": sent, "path_params": path or {}, "state": state, "app": door}
    return Request(scope)


def route(
    needs: Permission | str = READ, path: str = "/things", method: str = "GET", **more: Any
) -> Endpoint:
    return Endpoint(method, path, some_thing, needs, "a tag", **more)


def noted(request: Request) -> Noted:
    found: Noted = request.state.noted
    return found


# -- who -----------------------------------------------------------------------------------------------


def test_what_is_open_asks_nobody() -> None:
    door = Door()
    guard(route(OPEN))(asked(door))
    assert door.asked == []


@pytest.mark.parametrize(("identify", "basic"), [(by_header, False), (by_header_or_basic, True)])
def test_the_header_says_who_it_is(identify: Callable[..., Key], basic: bool) -> None:
    door = Door(key_with(READ))
    request = asked(door, {}, ("Authorization", "AppKey x"))
    guard(route(), identify)(request)
    assert door.asked == [("AppKey x", basic)]
    assert request.state.key is noted(request).actor
    assert request.state.key.id == "k"


def test_without_a_header_nobody_is_told() -> None:
    door = Door()
    with pytest.raises(Unauthorized):
        guard(route(ANY))(asked(door))
    assert door.asked == [(None, False)]


def test_two_headers_are_none() -> None:
    door = Door(key_with(ADMIN))
    with pytest.raises(Unauthorized, match=r"^There is more than one Authorization header\.$"):
        guard(route())(asked(door, {}, ("Authorization", "AppKey x"), ("Authorization", "AppKey x")))
    assert door.asked == []


# -- may it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "given", "allowed"),
    [(READ, READ, True), (READ, PUSH, True), (PUSH, READ, False), (ADMIN, PUSH, False), (ADMIN, ADMIN, True)],
)
def test_the_permission(needs: Permission, given: Permission, allowed: bool) -> None:
    held_to(allowed, route(needs), key_with(given))
    held_to(allowed, route(needs, "/pools/{pool_id:part}"), key_with(given), {"pool_id": "p"})


def test_any_key_will_do() -> None:
    held_to(True, route(ANY), key_with())


def held_to(
    allowed: bool, to: Endpoint, key: Key, path: dict[str, str] | None = None, tables: tuple[str, ...] = ()
) -> None:
    request = asked(Door(key, tables=tables), path)
    if allowed:
        guard(to)(request)
    else:
        with pytest.raises(Forbidden):
            guard(to)(request)
    assert noted(request).actor is key, "the audit hears who it was"


def test_a_key_of_pools() -> None:
    key = key_with(ADMIN, pools=frozenset({"p"}))
    held_to(True, route(READ, JOB), key, {"pool_id": "p", "job_id": "j"})
    held_to(False, route(READ, JOB), key, {"pool_id": "q", "job_id": "j"})
    held_to(True, route(READ), key)
    held_to(False, route(READ, whole_server=True), key)


def test_a_key_of_tables() -> None:
    key = key_with(ADMIN, tables=frozenset({"t", "u"}))
    path = {"pool_id": "p", "name": "t"}
    held_to(True, route(READ, TABLE), key, path)
    held_to(False, route(READ, TABLE), key, {**path, "name": "x"})
    of_job = {"pool_id": "p", "job_id": "j"}
    held_to(True, route(PUSH, JOB), key, of_job, ("t", "u"))
    held_to(False, route(PUSH, JOB), key, of_job, ("t", "x"))
    held_to(True, route(PUSH, JOB), key_with(ADMIN), of_job, ("t", "x"))
    whole = "/pools/{pool_id:part}"
    with pytest.raises(Forbidden, match=r"bound to the tables t, u; this concerns the whole pool\.$"):
        guard(route(READ, whole))(asked(Door(key), {"pool_id": "p"}))
    held_to(True, route(READ, whole, narrowed=True), key, {"pool_id": "p"})
    held_to(True, route(READ, whole), key_with(READ), {"pool_id": "p"})


def test_the_tables_of_a_job_are_asked_for_by_its_pool() -> None:
    door = Door(key_with(PUSH, tables=frozenset({"t"})), tables=("t",))
    guard(route(PUSH, JOB))(asked(door, {"pool_id": "p", "job_id": "j"}))
    assert door.asked[1:] == [("p", "j")]


# -- scrapers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", ""])
def test_a_scraper_is_let_in_where_it_may(header: str) -> None:
    door = Door(admits=True)
    headers = [("Authorization", "Bearer x"), *([(header, "10.0.0.2")] if header else [])]
    guard(route(READ, scraped=True))(asked(door, {}, *headers))
    assert door.asked == [("Bearer x", "10.0.0.1", bool(header))]


def test_and_nowhere_else() -> None:
    for door, to in ((Door(admits=True), route(READ)), (Door(admits=False), route(READ, scraped=True))):
        with pytest.raises(Unauthorized):
            guard(to)(asked(door))


# -- what the audit hears ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "needs", "changes", "waits"),
    [
        ("GET", READ, False, False),
        ("GET", ADMIN, False, False),
        ("HEAD", PUSH, False, False),
        ("OPTIONS", PUSH, False, False),
        ("POST", READ, False, False),
        ("POST", PUSH, True, False),
        ("DELETE", ADMIN, True, True),
        ("POST", OPEN, True, False),
    ],
)
def test_what_changes_is_noted(method: str, needs: Permission | str, changes: bool, waits: bool) -> None:
    request = asked(Door(key_with(ADMIN)), {"pool_id": "p", "job_id": "j"})
    guard(route(needs, "/things", method))(request)
    found = noted(request)
    assert (found.action, found.changes, found.waits) == ("some-thing", changes, waits)
    assert (found.pool_id, found.job_id, found.subject) == ("p", "j", None)


@pytest.mark.parametrize("name", ["name", "connection_id", "key_id", "upload_id"])
def test_what_it_is_about_is_noted(name: str) -> None:
    request = asked(Door(), {name: "the subject"})
    guard(route(OPEN))(request)
    assert (noted(request).subject, noted(request).pool_id) == ("the subject", None)


def test_a_route_knows_what_it_concerns() -> None:
    assert (route(path=JOB).of_job, route(path=JOB).of_table) == (True, False)
    assert (route(path=TABLE).of_job, route(path=TABLE).of_table) == (False, True)
    assert route().action == "some-thing"
