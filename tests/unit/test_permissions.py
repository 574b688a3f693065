"""What a key may: one function decides, names the rule that did, and every rule has its turn."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from headrace.errors import Forbidden
from headrace.model import Key, KeyKind, Permission, now
from headrace.permissions import Rule, authorize, decide, effective, sees_pool, sees_table

PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN


def key_with(
    *permissions: Permission,
    pools: frozenset[str] | None = None,
    tables: frozenset[str] | None = None,
    kind: KeyKind = KeyKind.APPLICATION,
) -> Key:
    return Key("id", "a key", kind, "hr_app_xxxxx", frozenset(permissions), pools, now(), tables=tables)


def may(key: Key, permission: Permission, pool: str | None = None, table: str | None = None) -> bool:
    """What ``authorize`` says, which must be what ``decide`` says."""
    decision = decide(key, permission, pool, table)
    try:
        authorize(key, permission, pool, table)
    except Forbidden as error:
        assert (decision.allowed, decision.sentence) == (False, error.message)
        return False
    assert (decision.allowed, decision.rule) == (True, Rule.GRANTED)
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
    assert {p for p in Permission if may(key, p, "any pool", "any table")} == allowed
    assert effective(key) == allowed


def test_what_concerns_the_whole_server_is_closed_to_a_key_that_is_bound() -> None:
    for bound in (key_with(ADMIN, pools=frozenset({"p"})), key_with(ADMIN, tables=frozenset({"t"}))):
        assert decide(bound, READ).allowed
        assert decide(bound, READ, whole_server=True).rule is Rule.SERVER
        with pytest.raises(Forbidden, match="bound to single"):
            authorize(bound, READ, whole_server=True)
    assert decide(key_with(READ), READ, whole_server=True).allowed
    authorize(key_with(READ), READ, whole_server=True)


@pytest.mark.parametrize("given", Permission)
def test_a_key_of_single_pools_ends_there(given: Permission) -> None:
    key = key_with(given, pools=frozenset({"p", "q"}))
    free = key_with(given)
    for permission in Permission:
        assert may(key, permission, "p") == may(free, permission, "p")
        assert not may(key, permission, "another")
        assert may(key, permission) == (may(free, permission) and permission is not ADMIN)


def test_which_pools_a_key_sees() -> None:
    assert sees_pool(key_with(READ), "p")
    assert sees_pool(key_with(READ, pools=frozenset({"p"})), "p")
    assert not sees_pool(key_with(ADMIN, pools=frozenset({"p"})), "q")
    assert not sees_pool(key_with(READ, pools=frozenset()), "p")


@pytest.mark.parametrize(
    ("patterns", "seen", "hidden"),
    [
        ({"sales_*"}, ["sales_", "sales_2024", "SALES_x", "sales_a/b"], ["sales", "xsales_1", "orders"]),
        ({"Orders"}, ["orders", "ORDERS"], ["orders2", "order"]),
        ({"a?", "b*"}, ["ab", "b", "bcd"], ["a", "abc", "c"]),
        ({"*"}, ["anything", "", "Ä"], []),
        ({"straße"}, ["STRASSE", "Straße"], ["strase"]),
        ({"x[1]"}, ["x1"], ["x[1]"]),
        (set(), [], ["anything"]),
    ],
)
def test_a_key_of_single_tables_ends_there(patterns: set[str], seen: list[str], hidden: list[str]) -> None:
    key = key_with(ADMIN, tables=frozenset(patterns))
    for permission in Permission:
        assert all(may(key, permission, "p", table) for table in seen)
        assert not any(may(key, permission, "p", table) for table in hidden)
    assert all(sees_table(key, table) for table in seen)
    assert not any(sees_table(key, table, *seen) for table in hidden), "one that is hidden hides all"
    assert not may(key, ADMIN), "the server is more than its tables"


def test_a_whole_pool_is_more_than_its_tables() -> None:
    key = key_with(ADMIN, tables=frozenset({"*"}))
    assert decide(key, READ, "p").allowed
    assert decide(key, READ, "p", whole_pool=True).rule is Rule.TABLE
    assert decide(key_with(ADMIN), READ, "p", whole_pool=True).allowed


def test_a_token_may_what_its_scopes_and_its_client_may() -> None:
    client = key_with(ADMIN, kind=KeyKind.CLIENT)
    token = replace(client, scope=PUSH.includes)
    assert [may(token, p, "p") for p in (READ, PUSH, ADMIN)] == [True, True, False]
    assert decide(token, ADMIN).rule is Rule.SCOPE
    assert effective(token) == {PUSH, READ}
    reader = replace(token, permissions=frozenset({READ}))
    assert decide(reader, PUSH).rule is Rule.PERMISSION
    assert effective(reader) == {READ}


BOUND = key_with(PUSH, pools=frozenset({"p"}), tables=frozenset({"t"}))
PAST = now() - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("key", "action", "pool", "table", "rule", "sentence"),
    [
        (replace(BOUND, revoked_at=PAST), PUSH, "p", "t", Rule.REVOKED, "This key was revoked."),
        (replace(BOUND, disabled_at=PAST), PUSH, "p", "t", Rule.DISABLED, "This key is disabled."),
        (replace(BOUND, expires_at=PAST), PUSH, "p", "t", Rule.EXPIRED, "This key has expired."),
        (BOUND, ADMIN, "q", "u", Rule.PERMISSION, "This key has no permission to admin."),
        (
            replace(BOUND, scope=READ.includes, kind=KeyKind.CLIENT),
            PUSH,
            "q",
            "u",
            Rule.SCOPE,
            "The scopes of this token do not include to push.",
        ),
        (BOUND, PUSH, "q", "u", Rule.POOL, "This key is not valid for this pool."),
        (
            replace(BOUND, permissions=frozenset({ADMIN})),
            ADMIN,
            None,
            None,
            Rule.SERVER,
            "This key is bound to single pools.",
        ),
        (BOUND, PUSH, "p", "u", Rule.TABLE, "This key is bound to the tables t; u is none of them."),
        (
            BOUND,
            READ,
            "p",
            "t",
            Rule.GRANTED,
            "This key has the permission push, which includes read, for this pool and the tables t.",
        ),
        (
            key_with(ADMIN, READ, kind=KeyKind.CLIENT),
            READ,
            "p",
            "t",
            Rule.GRANTED,
            "This client has the permission read, for every pool and every table.",
        ),
    ],
    ids=lambda value: value if isinstance(value, Rule) else "",
)
def test_the_first_rule_that_applies_decides(
    key: Key, action: Permission, pool: str | None, table: str | None, rule: Rule, sentence: str
) -> None:
    decision = decide(key, action, pool, table)
    assert (decision.rule, decision.sentence) == (rule, sentence)
    assert decision.allowed == (rule is Rule.GRANTED)


def test_time_alone_ends_a_key() -> None:
    key = replace(BOUND, expires_at=now() + timedelta(hours=1))
    assert decide(key, PUSH, "p", "t").allowed
    assert decide(key, PUSH, "p", "t", at=now() + timedelta(hours=2)).rule is Rule.EXPIRED


def test_it_ends_at_its_moment_and_not_after_it() -> None:
    end = now() + timedelta(hours=1)
    key = replace(BOUND, expires_at=end)
    assert decide(key, PUSH, "p", "t", at=end - timedelta(microseconds=1)).allowed
    assert decide(key, PUSH, "p", "t", at=end).rule is Rule.EXPIRED


def test_who_is_let_in_to_a_pool_is_not_to_all_of_it() -> None:
    key = key_with(ADMIN, tables=frozenset({"a", "b"}))
    authorize(key, READ, "p")
    with pytest.raises(Forbidden) as refused:
        authorize(key, READ, "p", whole_pool=True)
    assert refused.value.message == "This key is bound to the tables a, b; this concerns the whole pool."
    assert decide(key, READ, "p", whole_pool=True).allowed is False
    nothing = key_with(READ, tables=frozenset())
    assert decide(nothing, READ, "p", "t").sentence == (
        "This key is bound to the tables (none); t is none of them."
    )


def test_a_sentence_names_all_the_tables_and_what_binds() -> None:
    key = key_with(READ, tables=frozenset({"b", "a"}))
    assert decide(key, READ, "p", "a").sentence == (
        "This key has the permission read, for every pool and the tables a, b."
    )
    assert decide(key, READ, whole_server=True).sentence == "This key is bound to single tables."


def test_a_key_of_no_tables_in_particular_sees_every_table() -> None:
    assert sees_table(key_with(READ), "any table", "and another")
