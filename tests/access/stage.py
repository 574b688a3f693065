"""What the matrix needs: something to protect, every kind of stranger, and requests byte for byte."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

from counted import counted
from harness import RunningServer, create_job, create_pool, new_key, run_job
from headrace.keys import KeyRing
from headrace.metadata import Metadata
from headrace.model import KeyKind, Permission, now
from headrace.tokens import Tokens
from headrace.web.rules import Endpoint

CSV = b"id,v\n1,x\n"
SALES, OTHERS = ["sales_*"], ["other_*"]


@dataclass
class Target:
    """A pool with a table, a job that takes chunks, a data connection, a key and a client."""

    pool: str
    job: str
    connection: str
    key: str
    client: str
    upload: str

    def path(self, route: Endpoint) -> str:
        key = self.client if "/clients/" in route.path else self.key
        filled = {"pool_id": self.pool, "job_id": self.job, "name": "sales_t", "key_id": key}
        filled |= {"connection_id": self.connection, "query_id": "a-query", "upload_id": self.upload}
        path = route.path
        for name, value in filled.items():
            path = path.replace(f"{{{name}:part}}", value)
        assert "{" not in path, f"the matrix does not know how to fill {route.path}: tell it"
        return path + _QUERIES.get(route.handler.__name__, "")


_QUERIES = {"list_columns": "?tableName=sales_t", "explain_permission": "?action=read"}
_TUS = {"Tus-Resumable": "1.0.0"}
_KEY = {"name": "another", "permissions": ["admin"]}
_BODIES: dict[str, dict[str, Any]] = {
    "create_job": {"json": {"targetName": "sales_new", "type": "REPLACE", "fileType": "CSV"}},
    "push_upserted": {"content": CSV, "headers": {"Content-Type": "text/csv"}},
    "push_deleted": {"content": CSV, "headers": {"Content-Type": "text/csv"}},
    "push_chunk": {"content": CSV, "headers": {"Content-Type": "text/csv"}},
    "create_upload": {"headers": {**_TUS, "Upload-Length": "9"}},
    "find_upload": {"headers": _TUS},
    "patch_upload": {
        "content": CSV[:3],
        "headers": {**_TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
    },
    "end_upload": {"headers": _TUS},
    "put_schema": {"json": {"columns": [{"columnName": "v", "columnType": "STRING"}]}},
    "create_pool": {"json": {"name": "another"}},
    "update_pool": {"json": {"name": "renamed"}},
    "create_connection": {"json": {"name": "another"}},
    "run_query": {"json": {"sql": "SELECT * FROM sales_t"}},
    "create_key": {"json": _KEY},
    "create_client": {"json": _KEY},
}


def body(route: Endpoint) -> dict[str, Any]:
    """What a request must bring along to succeed."""
    return _BODIES.get(route.handler.__name__, {})


def new_target(api: httpx.Client) -> Target:
    pool = create_pool(api, "protected")
    run_job(api, pool, "sales_t", [CSV], fileType="CSV")
    job = create_job(api, pool, "sales_t", fileType="CSV", type="DELTA", keys=["id"])["id"]
    made = api.post(f"/api/v1/pools/{pool}/jobs/{job}/uploads", headers={**_TUS, "Upload-Length": "9"})
    upload = made.headers["Location"].rpartition("/")[2]
    connection = api.post(f"/integration/api/pools/{pool}/data-sources", json={"name": "c"}).json()["id"]
    key = api.post("/api/v1/keys", json={"name": "k", "permissions": ["push"]}).json()["id"]
    client = api.post("/api/v1/clients", json={"name": "c", "permissions": ["push"]}).json()["id"]
    return Target(pool, job, connection, key, client, upload)


Headers = list[tuple[str, str]]


@dataclass
class Stage:
    """A server, what it protects, and who wants to get at it."""

    server: RunningServer
    api: httpx.Client
    folder: Path
    target: Target = field(init=False)
    other_pool: str = field(init=False)
    secrets: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.target = new_target(self.api)
        self.other_pool = create_pool(self.api, "of others")
        self.admin = self.server.admin_key
        self.secrets.append(self.admin)

    # -- identities --------------------------------------------------------------------------------

    def key(self, *permissions: str, kind: str = "application", **more: Any) -> str:
        """The Authorization of a new key."""
        secret = self._secret(new_key(self.api, kind, permissions or ["admin"], **more))
        return f"{'AppKey' if kind == 'application' else 'Bearer'} {secret}"

    def token(self, *permissions: str, scope: str = "", **more: Any) -> str:
        """The Authorization of a new client's token."""
        return self.client(*permissions, scope=scope, **more)[1]

    def client(self, *permissions: str, scope: str = "", **more: Any) -> tuple[str, str, str]:
        """A new client: its id, its token's Authorization, its secret."""
        sent = {"name": "a client", "permissions": permissions or ["admin"], **more}
        made = self.api.post("/api/v1/clients", json=sent).json()
        secret = self._secret(made["clientSecret"])
        form = {"grant_type": "client_credentials", "scope": scope}
        reply = httpx.post(
            f"{self.server.url}/oauth2/token", data=form, auth=(made["clientId"], secret), trust_env=False
        )
        assert reply.status_code == 200, reply.text
        return made["clientId"], f"Bearer {self._secret(reply.json()['access_token'])}", secret

    def forged(self, header: dict[str, Any], **claims: Any) -> str:
        """The Authorization of a token that our own key has signed, though never so."""
        good = self.token().removeprefix("Bearer ")
        with sqlite3.connect(self.server.data_dir / "metadata.sqlite") as db:
            pem, kid = db.execute("SELECT private, kid FROM signing_keys").fetchone()
        changed = {**_part(good, 1), **claims}
        signed = jwt.encode({**_part(good, 0), **header}, changed, ECKey.import_key(pem, {"kid": kid}))
        return f"Bearer {self._secret(signed)}"

    def _secret(self, secret: str) -> str:
        self.secrets.append(secret)
        return secret

    # -- requests ----------------------------------------------------------------------------------

    def send(self, route: Endpoint, headers: Headers, target: Target | None = None) -> httpx.Response:
        """The request that would succeed, with these headers and no other key."""
        request = dict(body(route))
        every = [*request.pop("headers", {}).items(), *headers]
        url = self.server.url + (target or self.target).path(route)
        reply = self._client.request(route.method, url, headers=every, **request)
        self.said.append(f"{reply.headers} {reply.text}")
        return reply

    def raw(self, method: str, path: str, *lines: str, content: bytes = b"") -> int:
        """Byte for byte, on a connection of its own; answers the status, 0 if none came."""
        parts = urlsplit(self.server.url)
        head = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close", *lines]
        head += ["Content-Type: application/json", f"Content-Length: {len(content)}", "", ""]
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall("\r\n".join(head).encode("latin-1") + content)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        self.said.append(answer.decode("latin-1"))
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0

    def open(self) -> None:
        self._client = self.server.client("", follow_redirects=False)

    def close(self) -> None:
        self._client.close()

    # -- what must not change ----------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that the server keeps, but for its notes on who came."""
        notes = {"audit", "sqlite_sequence"}
        with sqlite3.connect(f"file:{self.server.data_dir / 'metadata.sqlite'}?mode=ro", uri=True) as db:
            db.row_factory = sqlite3.Row
            tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = {t: [dict(row) for row in db.execute(f"SELECT * FROM {t}")] for t in set(tables) - notes}
        for row in rows["keys"]:
            del row["last_used_at"]
        files = sorted(
            str(path.relative_to(self.server.data_dir))
            for folder in ("chunks", "pools", "uploads")
            for path in (self.server.data_dir / folder).rglob("*")
            if not path.name.endswith(("-wal", "-shm"))
        )
        return {**rows, "files": files}

    # -- what must be nowhere ----------------------------------------------------------------------

    def assert_no_secret_is_told(self) -> None:
        """None is in an answer to a stranger, in the log, or in the audit."""
        audit = self.api.get("/api/v1/audit", params={"format": "ndjson"}).text
        assert '"status": 401' in audit
        shown_once = "The admin key is"
        log = "\n".join(line for line in self.server.log.splitlines() if not line.startswith(shown_once))
        told = [s for s in self.secrets if any(s[14:] in text for text in (log, audit, *self.said))]
        counted("secrets looked for in answers, log and audit", len(self.secrets), len(told))
        assert not told


def _part(token: str, number: int) -> dict[str, Any]:
    text = token.split(".")[number]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return read


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# -- who is nobody: 401 --------------------------------------------------------------------------------


def _one(authorization: str) -> Headers:
    return [("Authorization", authorization)]


def _revoked(stage: Stage) -> Headers:
    authorization = stage.key(name="to be revoked")
    _each(stage, "keys", "to be revoked", lambda id: stage.api.delete(f"/api/v1/keys/{id}"))
    return _one(authorization)


def _disabled(stage: Stage) -> Headers:
    authorization = stage.key(name="to be disabled", kind="personal")
    _each(stage, "keys", "to be disabled", lambda id: stage.api.post(f"/api/v1/keys/{id}/disable"))
    return _one(authorization)


def _rotated(stage: Stage) -> Headers:
    authorization = stage.key(name="to be rotated")
    _each(stage, "keys", "to be rotated", lambda id: stage.api.post(f"/api/v1/keys/{id}/rotate"))
    return _one(authorization)


def _each(stage: Stage, kind: str, name: str, act: Callable[[str], httpx.Response]) -> None:
    [found] = [k["id"] for k in stage.api.get(f"/api/v1/{kind}").json() if k["name"] == name]
    assert act(found).is_success


def _of_a_client(stage: Stage, act: str, method: str = "POST") -> Headers:
    id, authorization, _ = stage.client()
    assert stage.api.request(method, f"/api/v1/clients/{id}{act}").is_success
    return _one(authorization)


def _secret_of_a_client(stage: Stage) -> Headers:
    return _one(f"Bearer {stage.client()[2]}")


def _of_another_installation(stage: Stage) -> Headers:
    folder = stage.folder / "another"
    folder.mkdir()
    metadata = Metadata(folder / "metadata.sqlite")
    client, _ = KeyRing(metadata).create("c", KeyKind.CLIENT, [Permission.ADMIN], None)
    day = timedelta(days=1)
    token = Tokens(metadata, lifetime=day, key_life=day).grant(client, []).token
    metadata.close()
    return _one(f"Bearer {stage._secret(token)}")


def _without_algorithm(stage: Stage) -> Headers:
    _, claims, _ = stage.token().removeprefix("Bearer ").split(".")
    return _one(f"Bearer {_encoded({'alg': 'none', 'typ': 'at+jwt'})}.{claims}.")


def _with_a_wrong_signature(stage: Stage) -> Headers:
    good = stage.token().removeprefix("Bearer ")
    return _one("Bearer " + jwt.encode(_part(good, 0), _part(good, 1), ECKey.generate_key("P-256")))


def _signed_with_the_public_half(stage: Stage) -> Headers:
    good = stage.token().removeprefix("Bearer ")
    public = stage.api.get("/oauth2/jwks").json()["keys"][0]
    signed = f"{_encoded({**_part(good, 0), 'alg': 'HS256'})}.{good.split('.')[1]}"
    mac = hmac.digest(ECKey.import_key(public).as_pem(private=False), signed.encode(), "sha256")
    return _one(f"Bearer {signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}")


NOBODIES: dict[str, Callable[[Stage], Headers]] = {
    "no key": lambda stage: [],
    "an empty header": lambda stage: _one(""),
    "a scheme and nothing else": lambda stage: _one("AppKey"),
    "a key without a scheme": lambda stage: _one(stage.admin),
    "a scheme that nobody knows": lambda stage: _one(f"Token {stage.admin}"),
    "an application key as a bearer": lambda stage: _one(f"Bearer {stage.admin}"),
    "a personal key as an application": lambda stage: _one(
        stage.key(kind="personal").replace("Bearer", "AppKey")
    ),
    "a token as an application key": lambda stage: _one(stage.token().replace("Bearer", "AppKey")),
    "a key as a password": lambda stage: _one(
        "Basic " + base64.b64encode(f"x:{stage.admin}".encode()).decode()
    ),
    "an unknown key": lambda stage: _one("AppKey hr_app_" + "x" * 43),
    "a key cut short": lambda stage: _one(f"AppKey {stage.admin[:-1]}"),
    "two keys in one header": lambda stage: _one(f"AppKey {stage.admin}, AppKey {stage.admin}"),
    "two headers": lambda stage: [*_one(f"AppKey {stage.admin}"), *_one(f"AppKey {stage.admin}")],
    "a key in another header": lambda stage: [
        ("X-Api-Key", stage.admin),
        ("Proxy-Authorization", f"AppKey {stage.admin}"),
        ("Cookie", f"Authorization=AppKey {stage.admin}"),
        ("X-Forwarded-User", "admin"),
    ],
    "an expired key": lambda stage: _one(stage.key(expiresAt=str(now() - timedelta(seconds=1)))),
    "a revoked key": _revoked,
    "a disabled key": _disabled,
    "the old secret of a rotated key": _rotated,
    "the secret of a client": _secret_of_a_client,
    "a token of another installation": _of_another_installation,
    "a token with alg none": _without_algorithm,
    "a token with a wrong signature": _with_a_wrong_signature,
    "a token signed with the public half": _signed_with_the_public_half,
    "a token with another issuer": lambda stage: _one(stage.forged({}, iss="urn:uuid:another")),
    "a token of another type": lambda stage: _one(stage.forged({"typ": "JWT"})),
    "an expired token": lambda stage: _one(stage.forged({}, exp=int(now().timestamp()) - 3600)),
    "a token of a revoked client": lambda stage: _of_a_client(stage, "", "DELETE"),
    "a token of a disabled client": lambda stage: _of_a_client(stage, "/disable"),
    "a token of a rotated client": lambda stage: _of_a_client(stage, "/rotate"),
}
"""Who gets 401 everywhere."""
