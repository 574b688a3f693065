"""Handlers of keys, OAuth clients, and of what they may."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from headrace.model import LONGEST_OVERLAP, Key, KeyKind, Permission
from headrace.permissions import authorize, decide
from headrace.web.context import Asking, Moment, Use
from headrace.web.noting import Note

KEYS = (KeyKind.APPLICATION, KeyKind.PERSONAL)
CLIENTS = (KeyKind.CLIENT,)


class NewClient(BaseModel):
    name: str = Field(min_length=1, max_length=255)
    permissions: list[Permission]
    pools: list[str] | None = Field(None, description="null: every pool")
    tables: list[str] | None = Field(None, description="patterns of names: 'sales_*'; null: every table")
    expiresAt: Moment | None = None


class NewKey(NewClient):
    kind: Literal["application", "personal"] = "application"


class Rotation(BaseModel):
    overlapSeconds: int = Field(
        0,
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        description="how long the old secret stays good; 0: it ends now",
    )


# -- keys ----------------------------------------------------------------------------------------------


def create_key(sent: NewKey, use: Use, note: Note) -> JSONResponse:
    """The secret is in this answer and nowhere else."""
    key, secret = _made(sent, KeyKind(sent.kind), use, note)
    return _secret({**_key(key), "key": secret}, 201)


def list_keys(use: Use) -> list[dict[str, Any]]:
    return [_key(key) for key in use.keys.list(KEYS)]


def get_key(key_id: str, use: Use) -> dict[str, Any]:
    return _key(use.keys.get(key_id, KEYS))


def rotate_key(key_id: str, use: Use, sent: Rotation | None = None) -> JSONResponse:
    """A new secret, in this answer and nowhere else."""
    key, secret = use.keys.rotate(use.keys.get(key_id, KEYS), _overlap(sent))
    return _secret({**_key(key), "key": secret})


def disable_key(key_id: str, use: Use) -> dict[str, Any]:
    return _key(use.keys.disable(use.keys.get(key_id, KEYS)))


def enable_key(key_id: str, use: Use) -> dict[str, Any]:
    return _key(use.keys.enable(use.keys.get(key_id, KEYS)))


def revoke_key(key_id: str, use: Use) -> Response:
    use.keys.revoke(use.keys.get(key_id, KEYS))
    return Response(status_code=204)


# -- clients -------------------------------------------------------------------------------------------


def create_client(sent: NewClient, use: Use, note: Note) -> JSONResponse:
    """A program that gets its tokens at ``/oauth2/token``; the secret is in this answer and nowhere else."""
    client, secret = _made(sent, KeyKind.CLIENT, use, note)
    return _secret({**_key(client), "clientId": client.id, "clientSecret": secret}, 201)


def list_clients(use: Use) -> list[dict[str, Any]]:
    return [_key(client) for client in use.keys.list(CLIENTS)]


def get_client(key_id: str, use: Use) -> dict[str, Any]:
    return _key(use.keys.get(key_id, CLIENTS))


def rotate_client(key_id: str, use: Use, sent: Rotation | None = None) -> JSONResponse:
    """A new secret. Without an overlap the client's tokens end as well."""
    client, secret = use.keys.rotate(use.keys.get(key_id, CLIENTS), _overlap(sent))
    return _secret({**_key(client), "clientId": client.id, "clientSecret": secret})


def disable_client(key_id: str, use: Use) -> dict[str, Any]:
    return _key(use.keys.disable(use.keys.get(key_id, CLIENTS)))


def enable_client(key_id: str, use: Use) -> dict[str, Any]:
    return _key(use.keys.enable(use.keys.get(key_id, CLIENTS)))


def revoke_client(key_id: str, use: Use) -> Response:
    use.keys.revoke(use.keys.get(key_id, CLIENTS))
    return Response(status_code=204)


# -- what they may -------------------------------------------------------------------------------------


def explain_permission(
    use: Use,
    asking: Asking,
    action: Permission,
    key: str | None = None,
    pool: str | None = None,
    table: str | None = None,
) -> dict[str, Any]:
    """Whether a key may do that, and the rule that decides it. Without ``key``: the one that asks."""
    if key is None or key == asking.id:
        asked = asking
    else:
        authorize(asking, Permission.ADMIN)
        asked = use.keys.get(key)
    decision = decide(asked, action, pool, table)
    return {
        "key": asked.id,
        "action": action,
        "pool": pool,
        "table": table,
        "allowed": decision.allowed,
        "rule": decision.rule,
        "because": decision.sentence,
    }


# -- their parts ---------------------------------------------------------------------------------------


def _made(sent: NewClient, kind: KeyKind, use: Use, note: Note) -> tuple[Key, str]:
    key, secret = use.keys.create(
        sent.name, kind, sent.permissions, sent.pools, sent.expiresAt, tables=sent.tables
    )
    note.subject = key.id
    return key, secret


def _secret(body: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"})


def _overlap(sent: Rotation | None) -> timedelta:
    return timedelta(seconds=sent.overlapSeconds if sent else 0)


def _key(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind,
        "prefix": key.prefix,
        "permissions": sorted(key.permissions),
        "pools": sorted(key.pool_ids) if key.pool_ids is not None else None,
        "tables": sorted(key.tables) if key.tables is not None else None,
        "createdAt": _iso(key.created_at),
        "expiresAt": _iso(key.expires_at),
        "lastUsedAt": _iso(key.last_used_at),
        "oldSecretUntil": _iso(key.previous_until),
        "disabledAt": _iso(key.disabled_at),
        "revokedAt": _iso(key.revoked_at),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
