"""Keys and clients by HTTP: made, listed, rotated, disabled, revoked; and why something is allowed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest

from harness import RunningServer, create_pool, new_key, wait_for
from headrace.model import Permission
from headrace.permissions import Rule

SHOWN = {
    *("id", "name", "kind", "prefix", "permissions", "pools", "tables", "createdAt", "expiresAt"),
    *("lastUsedAt", "oldSecretUntil", "disabledAt", "revokedAt"),
}
kinds = pytest.mark.parametrize(
    ("path", "secret"), [("/api/v1/keys", "key"), ("/api/v1/clients", "clientSecret")]
)


def made(api: httpx.Client, path: str, **more: Any) -> dict[str, Any]:
    reply = api.post(path, json={"name": "a key", "permissions": ["push"], **more})
    assert reply.status_code == 201, reply.text
    assert reply.headers["cache-control"] == "no-store"
    shown: dict[str, Any] = reply.json()
    return shown


def who(server: RunningServer, key: str) -> int:
    with server.client(f"AppKey {key}") as client:
        return client.get("/api/cloud").status_code


@kinds
def test_a_secret_is_shown_once(api: httpx.Client, path: str, secret: str) -> None:
    shown = made(api, path, pools=["p"], tables=["sales_*"])
    assert shown[secret].startswith(shown["prefix"])
    ours = {name: shown[name] for name in SHOWN}
    assert api.get(f"{path}/{shown['id']}").json() == ours
    assert ours in api.get(path).json()
    assert (ours["pools"], ours["tables"], ours["permissions"]) == (["p"], ["sales_*"], ["push"])


@kinds
def test_a_rotation(api: httpx.Client, path: str, secret: str) -> None:
    before = made(api, path)
    kept = api.post(f"{path}/{before['id']}/rotate", json={"overlapSeconds": 3600}).json()
    assert kept["oldSecretUntil"] is not None
    assert kept[secret] != before[secret]
    ended = api.post(f"{path}/{before['id']}/rotate").json()
    assert ended["oldSecretUntil"] is None
    assert len({before[secret], kept[secret], ended[secret]}) == 3
    assert api.post(f"{path}/{before['id']}/rotate", json={"overlapSeconds": 10**9}).status_code == 400


@kinds
def test_disabled_enabled_revoked(api: httpx.Client, path: str, secret: str) -> None:
    id = made(api, path)["id"]
    assert api.post(f"{path}/{id}/disable").json()["disabledAt"] is not None
    assert api.post(f"{path}/{id}/enable").json()["disabledAt"] is None
    assert api.delete(f"{path}/{id}").status_code == 204
    assert api.get(f"{path}/{id}").json()["revokedAt"] is not None
    for method, end in (("DELETE", ""), ("POST", "/disable"), ("POST", "/enable"), ("POST", "/rotate")):
        assert api.request(method, f"{path}/{id}{end}").status_code == 404


def test_keys_and_clients_are_kept_apart(api: httpx.Client) -> None:
    key, client = made(api, "/api/v1/keys"), made(api, "/api/v1/clients")
    for path, other in (("/api/v1/keys", client), ("/api/v1/clients", key)):
        assert other["id"] not in [k["id"] for k in api.get(path).json()]
        for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/disable"), ("POST", "/rotate")):
            assert api.request(method, f"{path}/{other['id']}{end}").status_code == 404
    sent = {"name": "x", "permissions": ["push"], "kind": "client"}
    assert api.post("/api/v1/keys", json=sent).status_code == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"permissions": []},
        {"permissions": ["everything"]},
        {"name": ""},
        {"expiresAt": "soon"},
        {"pools": "all"},
    ],
)
@kinds
def test_what_is_no_key(api: httpx.Client, path: str, secret: str, wrong: dict[str, Any]) -> None:
    sent = {"name": "a key", "permissions": ["push"], **wrong}
    assert api.post(path, json=sent).status_code == 400


def test_a_rotated_key_opens_with_both_secrets_until_the_overlap_ends(
    server: RunningServer, api: httpx.Client
) -> None:
    key = made(api, "/api/v1/keys")
    new = api.post(f"/api/v1/keys/{key['id']}/rotate", json={"overlapSeconds": 3600}).json()["key"]
    assert [who(server, secret) for secret in (key["key"], new)] == [200, 200]
    newest = api.post(f"/api/v1/keys/{key['id']}/rotate", json={"overlapSeconds": 1}).json()["key"]
    assert [who(server, secret) for secret in (key["key"], newest)] == [401, 200]
    wait_for(lambda: who(server, new) == 401, 30, "the end of the overlap")


def test_when_a_key_was_last_used(server: RunningServer, api: httpx.Client) -> None:
    key = made(api, "/api/v1/keys")

    def last_used() -> str | None:
        shown: str | None = api.get(f"/api/v1/keys/{key['id']}").json()["lastUsedAt"]
        return shown

    assert last_used() is None
    assert who(server, key["key"]) == 200
    first = wait_for(last_used, 30, "the note of its use")
    assert who(server, key["key"]) == 200
    made(api, "/api/v1/keys")  # its answer waits for all that was noted before
    assert last_used() == first, "once a minute is enough"


# -- why ------------------------------------------------------------------------------------------------


def explained(client: httpx.Client, **question: str) -> tuple[bool, str]:
    reply = client.get("/api/v1/permissions/explain", params=question)
    assert reply.status_code == 200, reply.text
    assert reply.json().keys() == {"key", "action", "pool", "table", "allowed", "rule", "because"}
    return reply.json()["allowed"], reply.json()["rule"]


def test_why(server: RunningServer, api: httpx.Client, pool: str) -> None:
    other = create_pool(api)
    key = made(api, "/api/v1/keys", pools=[pool], tables=["sales_*"])
    for action, where, answer in (
        ("push", {"pool": pool, "table": "sales_1"}, (True, "granted")),
        ("read", {"pool": pool, "table": "sales_1"}, (True, "granted")),
        ("push", {"pool": pool, "table": "salaries"}, (False, "table")),
        ("push", {"pool": other, "table": "sales_1"}, (False, "pool")),
        ("admin", {"pool": pool}, (False, "permission")),
    ):
        assert explained(api, key=key["id"], action=action, **where) == answer
        with server.client(f"AppKey {key['key']}") as oneself:
            assert explained(oneself, action=action, **where) == answer
            assert explained(oneself, key=key["id"], action=action, **where) == answer
    api.post(f"/api/v1/keys/{key['id']}/disable")
    assert explained(api, key=key["id"], action="push", pool=pool) == (False, "disabled")
    api.delete(f"/api/v1/keys/{key['id']}")
    assert explained(api, key=key["id"], action="push", pool=pool) == (False, "revoked")


def test_why_is_nobody_elses_business(server: RunningServer, api: httpx.Client) -> None:
    other = made(api, "/api/v1/keys")["id"]
    with server.client(f"AppKey {new_key(api, permissions=['push'])}") as client:
        for key in (other, "nobody"):
            reply = client.get("/api/v1/permissions/explain", params={"key": key, "action": "read"})
            assert reply.status_code == 403
    nobody = api.get("/api/v1/permissions/explain", params={"key": "nobody", "action": "read"})
    assert nobody.status_code == 404
    assert api.get("/api/v1/permissions/explain", params={"action": "fly"}).status_code == 400


def test_a_refusal_says_the_rule(server: RunningServer, api: httpx.Client, pool: str) -> None:
    """The sentence is that of the explanation: the same function has made both."""
    key = made(api, "/api/v1/keys", pools=[pool])
    question = {"key": key["id"], "action": "read", "pool": create_pool(api)}
    because = api.get("/api/v1/permissions/explain", params=question).json()["because"]
    with server.client(f"AppKey {key['key']}") as client:
        assert client.get(f"/api/v1/pools/{question['pool']}/tables").json()["detail"] == because


# -- from the command line, beside the server ----------------------------------------------------------


def headrace(server: RunningServer, *words: str, code: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-m", "headrace", "keys", *words, "--data-dir", str(server.data_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout, ended.stderr


def test_the_life_of_a_key_on_the_command_line(server: RunningServer, api: httpx.Client, pool: str) -> None:
    limits = ("--permission", "push", "--pool", pool, "--table", "sales_*", "--expires", "2099-01-01")
    secret, said = headrace(server, "create", "by hand", *limits)
    assert who(server, secret.strip()) == 200
    assert secret.strip() not in said
    [shown] = [k for k in api.get("/api/v1/keys").json() if k["name"] == "by hand"]
    assert (shown["pools"], shown["tables"], shown["expiresAt"][:10]) == ([pool], ["sales_*"], "2099-01-01")
    id = shown["id"]
    listed = next(line for line in headrace(server, "list")[0].splitlines() if line.startswith(id))
    assert all(word in listed for word in ("by hand", "push", pool, "sales_*", "expires: 2099-01-01"))

    allowed, _ = headrace(server, "explain", id, "--action", "push", "--pool", pool, "--table", "sales_1")
    assert allowed.startswith("allowed: ")
    denied, _ = headrace(server, "explain", id, "--action", "admin", code=1)
    assert denied == f"denied: This key has no permission to admin. (rule: {Rule.PERMISSION})\n"

    new, _ = headrace(server, "rotate", id, "--overlap-hours", "1")
    assert [who(server, s.strip()) for s in (secret, new)] == [200, 200]
    for command, status in (("disable", 401), ("enable", 200), ("revoke", 401)):
        headrace(server, command, id)
        assert who(server, new.strip()) == status, "at once"
    assert "no such key" in headrace(server, "revoke", id, code=1)[1]
    noted = [e["action"] for e in api.get("/api/v1/audit", params={"subject": id}).json()]
    assert noted == ["revoke-key", "enable-key", "disable-key", "rotate-key", "create-key"]


def test_a_client_on_the_command_line(server: RunningServer) -> None:
    made, _ = headrace(server, "create", "a program", "--permission", "push", "--kind", "client")
    shown = dict(line.split("=", 1) for line in made.splitlines())
    form = {"grant_type": "client_credentials"}
    with server.client("") as client:
        url, auth = "/oauth2/token", (shown["CLIENT_ID"], shown["CLIENT_SECRET"])
        first = client.post(url, data=form, auth=auth).json()["access_token"]
        kid = headrace(server, "rotate-signing-key")[0].strip()
        assert kid in [k["kid"] for k in client.get("/oauth2/jwks").json()["keys"]]
        second = client.post(url, data=form, auth=auth).json()["access_token"]
        for token in (first, second):
            headers = {"Authorization": f"Bearer {token}"}
            assert client.get("/api/cloud", headers=headers).status_code == 200
    assert first.split(".")[0] != second.split(".")[0]


def test_mistakes_on_the_command_line(server: RunningServer, tmp_path: Any) -> None:
    assert "no such key" in headrace(server, "disable", "nobody", code=1)[1]
    assert "Usage: " in headrace(server, "create", "x", "--permission", "fly", code=2)[1]
    key = headrace(server, "list")[0].split()[0]
    for hours in ("1e6", "1e300", "-1"):
        assert "--overlap-hours" in headrace(server, "rotate", key, "--overlap-hours", hours, code=2)[1]
    command = [sys.executable, "-m", "headrace", "keys", "list", "--data-dir", str(tmp_path / "nothing")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "There is no server's folder" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_permission_can_be_given(api: httpx.Client) -> None:
    for permission in Permission:
        assert made(api, "/api/v1/keys", permissions=[permission])["permissions"] == [permission]
