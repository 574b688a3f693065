"""May it, and why: one function decides, and says which rule did.

The rules in their order; the first that applies decides. An identity that does not stand (revoked, disabled,
expired) is refused with 401 wherever it goes, everything else with 403.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from headrace.errors import Forbidden
from headrace.model import Key, KeyKind, Permission, fold, now


class Rule(StrEnum):
    REVOKED = "revoked"  # it was revoked, for good
    DISABLED = "disabled"  # it is disabled until it is enabled again
    EXPIRED = "expired"  # its time is over
    PERMISSION = "permission"  # it was not given the permission, nor one that includes it
    SCOPE = "scope"  # the token's scopes do not include the permission
    POOL = "pool"  # it is bound to other pools
    SERVER = "server"  # the whole server is concerned, and it is bound to pools or tables
    TABLE = "table"  # it is bound to tables, and another one or the whole pool is concerned
    GRANTED = "granted"  # none of these: it may


@dataclass(frozen=True)
class Decision:
    allowed: bool
    rule: Rule
    sentence: str


def decide(
    key: Key,
    action: Permission,
    pool_id: str | None = None,
    table: str | None = None,
    *,
    whole_pool: bool = False,
    whole_server: bool = False,
    at: datetime | None = None,
) -> Decision:
    """Whether the key may do that, in that pool, to that table.

    No ``pool_id``: to as much of the server as the key may see; to administer it, or what concerns all of it
    (``whole_server``), is closed to a key that is bound. No ``table``: to as much of the pool as the key may
    see, or to all of it (``whole_pool``).
    """
    return (
        standing(key, at or now())
        or _by_permission(key, action)
        or _by_pool(key, pool_id)
        or _by_server(key, whole_server or (action is Permission.ADMIN and pool_id is None))
        or _by_table(key, pool_id, table, whole_pool)
        or Decision(True, Rule.GRANTED, _granted(key, action))
    )


def standing(key: Key, at: datetime) -> Decision | None:
    """Why nobody may use the key now; None: it stands."""
    if key.revoked_at is not None:
        return Decision(False, Rule.REVOKED, f"This {_noun(key)} was revoked.")
    if key.disabled_at is not None:
        return Decision(False, Rule.DISABLED, f"This {_noun(key)} is disabled.")
    if key.expires_at is not None and key.expires_at <= at:
        return Decision(False, Rule.EXPIRED, f"This {_noun(key)} has expired.")
    return None


def authorize(
    key: Key,
    action: Permission,
    pool_id: str | None = None,
    table: str | None = None,
    *,
    whole_pool: bool = False,
    whole_server: bool = False,
) -> None:
    """Raise Forbidden, with the sentence of the rule, unless the key may do that."""
    decision = decide(key, action, pool_id, table, whole_pool=whole_pool, whole_server=whole_server)
    if not decision.allowed:
        raise Forbidden(decision.sentence)


def sees_pool(key: Key, pool_id: str) -> bool:
    return key.pool_ids is None or pool_id in key.pool_ids


def sees_table(key: Key, *names: str) -> bool:
    """Whether the key may see all of these tables, in a pool that it sees."""
    if key.tables is None:
        return True
    patterns = [fold(pattern) for pattern in key.tables]
    return all(any(fnmatchcase(fold(name), pattern) for pattern in patterns) for name in names)


# -- the rules -----------------------------------------------------------------------------------------


def _by_permission(key: Key, action: Permission) -> Decision | None:
    if action not in included(key.permissions):
        return Decision(False, Rule.PERMISSION, f"This {_noun(key)} has no permission to {action}.")
    if key.scope is not None and action not in key.scope:
        return Decision(False, Rule.SCOPE, f"The scopes of this token do not include to {action}.")
    return None


def _by_pool(key: Key, pool_id: str | None) -> Decision | None:
    if pool_id is not None and not sees_pool(key, pool_id):
        return Decision(False, Rule.POOL, f"This {_noun(key)} is not valid for this pool.")
    return None


def _by_server(key: Key, concerned: bool) -> Decision | None:
    bound = key.pool_ids is not None or key.tables is not None
    if concerned and bound:
        bonds = "pools" if key.pool_ids is not None else "tables"
        return Decision(False, Rule.SERVER, f"This {_noun(key)} is bound to single {bonds}.")
    return None


def _by_table(key: Key, pool_id: str | None, table: str | None, whole_pool: bool) -> Decision | None:
    if key.tables is None or pool_id is None:
        return None
    bonds = f"This {_noun(key)} is bound to the tables {', '.join(sorted(key.tables)) or '(none)'}"
    if table is not None and not sees_table(key, table):
        return Decision(False, Rule.TABLE, f"{bonds}; {table} is none of them.")
    if table is None and whole_pool:
        return Decision(False, Rule.TABLE, f"{bonds}; this concerns the whole pool.")
    return None


def _granted(key: Key, action: Permission) -> str:
    given = min((p for p in key.permissions if action in p.includes), key=lambda p: (p is not action, p))
    by = f"the permission {given}" + (f", which includes {action}" if given is not action else "")
    pools = "every pool" if key.pool_ids is None else "this pool"
    tables = "every table" if key.tables is None else f"the tables {', '.join(sorted(key.tables))}"
    return f"This {_noun(key)} has {by}, for {pools} and {tables}."


def included(permissions: frozenset[Permission]) -> frozenset[Permission]:
    return frozenset[Permission]().union(*(permission.includes for permission in permissions))


def effective(key: Key) -> frozenset[Permission]:
    """What the key's permissions and, of a token, its scopes leave."""
    given = included(key.permissions)
    return given if key.scope is None else given & key.scope


def _noun(key: Key) -> str:
    return "client" if key.kind is KeyKind.CLIENT else "key"
