"""Pages of administrators: keys and what they may, the settings in force, the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Form, Query, Response

from headrace.console.rendering import see
from headrace.console.sessions import ROOT
from headrace.errors import InvalidRequest
from headrace.metadata.audit import AuditFilter
from headrace.model import AuditEntry, Key, KeyKind, Permission, Pool, now
from headrace.permissions import standing
from headrace.settings import Settings
from headrace.web.context import Asking, Use
from headrace.web.noting import Note

_ENTRIES = 100


@dataclass(frozen=True)
class KeyLine:
    key: Key
    standing: str
    pools: str
    tables: str


@dataclass(frozen=True)
class KeysPage:
    keys: Sequence[KeyLine]
    pools: Sequence[Pool]
    permissions: Sequence[Permission]
    made: Key | None = None
    secret: str | None = None


def list_keys(use: Use, asking: Asking) -> KeysPage:
    return _keys_page(use, asking)


def create_key(
    use: Use,
    asking: Asking,
    note: Note,
    name: Annotated[str, Form(max_length=255)] = "",
    kind: Annotated[KeyKind, Form()] = KeyKind.APPLICATION,
    permission: Annotated[Permission, Form()] = Permission.PUSH,
    pools: Annotated[list[str] | None, Form()] = None,
    tables: Annotated[str, Form()] = "",
    days: Annotated[int | None, Form(ge=1, le=3650)] = None,
) -> KeysPage:
    """The secret is on this page and nowhere else."""
    if not name.strip():
        raise InvalidRequest("A key needs a name.", attribute="name")
    patterns = [part.strip() for part in tables.split(",") if part.strip()]
    ends = now() + timedelta(days=days) if days else None
    key, secret = use.keys.create(
        name.strip(), kind, [permission], pools or None, ends, tables=patterns or None
    )
    note.subject = key.id
    return _keys_page(use, asking, key, secret)


def disable_key(key_id: str, use: Use) -> Response:
    use.keys.disable(use.keys.get(key_id))
    return see(f"{ROOT}/keys")


def enable_key(key_id: str, use: Use) -> Response:
    use.keys.enable(use.keys.get(key_id))
    return see(f"{ROOT}/keys")


def revoke_key(key_id: str, use: Use) -> Response:
    use.keys.revoke(use.keys.get(key_id))
    return see(f"{ROOT}/keys")


def _keys_page(use: Use, asking: Key, made: Key | None = None, secret: str | None = None) -> KeysPage:
    pools = {pool.id: pool for pool in use.pools.list(asking)}
    lines = [KeyLine(key, _standing(key), _pools(key, pools), _tables(key)) for key in use.keys.list()]
    return KeysPage(lines, list(pools.values()), tuple(Permission), made, secret)


def _standing(key: Key) -> str:
    refusal = standing(key, now())
    return refusal.rule if refusal else "good"


def _pools(key: Key, pools: Mapping[str, Pool]) -> str:
    if key.pool_ids is None:
        return "every pool"
    return ", ".join(sorted(pools[i].name if i in pools else i for i in key.pool_ids)) or "none"


def _tables(key: Key) -> str:
    return "every table" if key.tables is None else ", ".join(sorted(key.tables)) or "no table"


# -- settings ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SettingLine:
    name: str
    value: str
    changed: bool
    description: str


@dataclass(frozen=True)
class SettingsPage:
    lines: Sequence[SettingLine]
    confinement: Sequence[str]


def list_settings(use: Use) -> SettingsPage:
    """What is in force. Keys and certificates are named by their files, and what is secret shows stars."""
    return SettingsPage(
        [
            SettingLine(
                name,
                _shown(use.settings[name]),
                use.settings[name] != field.get_default(call_default_factory=True),
                field.description or "",
            )
            for name, field in Settings.model_fields.items()
        ],
        use.confinement,
    )


def _shown(value: object) -> str:
    if value is None or str(value) == "":
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- audit ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AuditPage:
    entries: Sequence[AuditEntry]
    pools: Mapping[str, str]
    keys: Mapping[str, str]
    key: str
    action: str
    pool: str
    older: str | None


def read_audit(
    use: Use,
    asking: Asking,
    key: str = "",
    action: Annotated[str, Query(max_length=100)] = "",
    pool: str = "",
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> AuditPage:
    wanted = AuditFilter(actor_id=key or None, action=action.strip() or None, pool_id=pool or None)
    entries = use.audit.page(wanted, before=before, limit=_ENTRIES)
    said = {"key": key, "action": action.strip(), "pool": pool}
    more = {**{n: v for n, v in said.items() if v}, "before": str(entries[-1].number)} if entries else {}
    return AuditPage(
        entries,
        {p.id: p.name for p in use.pools.list(asking)},
        {k.id: k.name for k in use.keys.list()},
        key,
        action.strip(),
        pool,
        "?" + urlencode(more) if len(entries) == _ENTRIES else None,
    )
