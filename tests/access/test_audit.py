"""Who did what, when, from where, with what outcome: every change and every refusal, and nothing secret."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from access.stage import CSV
from harness import PUSH, RunningServer, add_chunk, create_job, create_pool, execute, new_key, wait_for
from headrace.trail import STARTED, STOPPED
from headrace.web.routes import ROUTES

AUDIT = "/api/v1/audit"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A book that nobody else writes in."""
    env = {"HEADRACE_TRUSTED_PROXIES": "127.0.0.0/8"}
    with RunningServer(tmp_path_factory.mktemp("audit") / "data", env=env) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def book(api: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    reply = api.get(AUDIT, params=wanted)
    assert reply.status_code == 200, reply.text
    entries: list[dict[str, Any]] = reply.json()
    return entries


def after(api: httpx.Client, count: int = 1, **wanted: Any) -> list[dict[str, Any]]:
    """As many entries as this, the oldest first; those of pushes and refusals follow within a moment."""
    found = wait_for(lambda: (e := book(api, **wanted)) and len(e) >= count and e, 30, f"{wanted}")
    assert len(found) == count
    return found[::-1]


# -- what is in it -------------------------------------------------------------------------------------


def test_what_an_administrator_did_is_there_with_the_answer(api: httpx.Client) -> None:
    reply = api.post("/api/v1/keys", json={"name": "x", "permissions": ["push"]})
    [entry] = book(api, subject=reply.json()["id"])
    assert entry["request"] == reply.headers["x-request-id"]
    assert uuid.UUID(entry["request"])
    assert (entry["action"], entry["status"], entry["code"]) == ("create-key", 201, None)
    assert (entry["name"], entry["from"], entry["times"]) == ("admin", "127.0.0.1", 1)
    api.delete(f"/api/v1/keys/{reply.json()['id']}")
    assert [e["action"] for e in book(api, subject=reply.json()["id"])] == ["revoke-key", "create-key"]


def test_the_life_of_a_push(server: RunningServer, api: httpx.Client) -> None:
    pool = create_pool(api)
    assert [e["action"] for e in book(api, pool=pool)] == ["create-pool"]
    key = new_key(api, permissions=["push"], name="a pusher")
    with server.client(f"AppKey {key}") as pusher:
        job = create_job(pusher, pool, "t", fileType="CSV")["id"]
        add_chunk(pusher, pool, job, CSV)
        execute(pusher, pool, job)
        pusher.get(f"{PUSH}/{pool}/jobs/{job}")
        pusher.delete(f"{PUSH}/{pool}/jobs/{job}")
        add_chunk(pusher, pool, job, CSV)
    entries = after(api, 5, job=job)
    assert [(e["action"], e["status"], e["code"]) for e in entries] == [
        ("create-job", 200, None),
        ("push-upserted", 200, None),
        ("execute-job", 200, None),
        ("delete-job", 200, None),
        ("push-upserted", 404, "not-found"),
    ]
    assert {(e["name"], e["pool"]) for e in entries} == {("a pusher", pool)}


def test_refusals(server: RunningServer, api: httpx.Client) -> None:
    pool = create_pool(api)
    key = new_key(api, permissions=["read"], pools=[pool], name="a reader")
    other = create_pool(api)
    with server.client(f"AppKey {key}") as reader, server.client("AppKey hr_app_made_up") as nobody:
        refused = [reader.get(f"/api/v1/pools/{other}/tables") for _ in range(3)]
        refused.append(reader.post(f"{PUSH}/{pool}/jobs", json={"targetName": "t"}))
        unknown = nobody.get(f"/api/v1/pools/{pool}/tables")
    assert {r.status_code for r in refused} == {403}
    wait_for(lambda: sum(e["times"] for e in book(api, status=403)) == 4, 30, "the refusals")
    assert {(e["name"], e["action"], e["pool"], e["code"]) for e in book(api, status=403)} == {
        ("a reader", "list-tables", other, "forbidden"),
        ("a reader", "create-job", pool, "forbidden"),
    }
    [stranger] = after(api, status=401, action="list-tables")
    assert (stranger["key"], stranger["name"], stranger["code"]) == (None, None, "unauthorized")
    assert stranger["request"] == unknown.headers["x-request-id"] == unknown.json()["reference"]


def test_tokens(server: RunningServer, api: httpx.Client) -> None:
    made = api.post("/api/v1/clients", json={"name": "a program", "permissions": ["admin"]}).json()
    form = {"grant_type": "client_credentials"}
    with server.client("") as client:
        token = client.post("/oauth2/token", data=form, auth=(made["clientId"], made["clientSecret"])).json()
        client.post("/oauth2/token", data=form, auth=(made["clientId"], "wrong"))
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        client.post("/integration/api/pools", json={"name": "by a token"}, headers=headers)
    given, refused = after(api, 2, action="create-token")
    assert (given["name"], given["subject"], given["status"]) == ("a program", made["id"], 200)
    assert (refused["name"], refused["status"], refused["code"]) == (None, 401, "invalid_client")
    [entry] = book(api, key=made["id"], action="create-pool")
    assert entry["name"] == "a program"


def test_what_only_looks_and_is_let_in_leaves_no_entry(api: httpx.Client) -> None:
    pool = create_pool(api)
    for route in ROUTES:
        if not route.changes:
            path = route.path.replace("{pool_id:part}", pool).replace("{", "").replace(":part}", "")
            api.request(route.method, path, json={"sql": "SELECT 1"})
    api.post("/api/v1/keys", json={"name": "x", "permissions": ["push"]})  # waits for all before
    assert [e["action"] for e in book(api, pool=pool)] == ["create-pool"]


def test_from_where(server: RunningServer, api: httpx.Client) -> None:
    headers = {"X-Forwarded-For": "203.0.113.5, 198.51.100.7"}
    sent = {"name": "x", "permissions": ["push"]}
    reply = api.post("/api/v1/keys", json=sent, headers=headers)
    [entry] = book(api, subject=reply.json()["id"])
    assert entry["from"] == "198.51.100.7", "the last one that the proxy has seen"
    assert entry in book(api, peer="198.51.100.7")


@pytest.mark.parametrize("said", ["nonsense", "=1+1", "x" * 300, "1.2.3.4, <script>"])
def test_what_is_no_address_is_not_taken_for_one(api: httpx.Client, said: str) -> None:
    sent = {"name": "x", "permissions": ["push"]}
    reply = api.post("/api/v1/keys", json=sent, headers={"X-Forwarded-For": said})
    [entry] = book(api, subject=reply.json()["id"])
    assert entry["from"] == ""


def test_nobody_is_a_proxy_unless_said(tmp_path: Path) -> None:
    env = {"HEADRACE_TRUSTED_PROXIES": "192.0.2.1", "FORWARDED_ALLOW_IPS": "*"}
    with RunningServer(tmp_path / "data", env=env) as server, server.client() as api:
        sent = {"name": "x", "permissions": ["push"]}
        reply = api.post("/api/v1/keys", json=sent, headers={"X-Forwarded-For": "198.51.100.7"})
        [entry] = book(api, subject=reply.json()["id"])
        assert entry["from"] == "127.0.0.1"


# -- how it is read ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(api: httpx.Client) -> list[dict[str, Any]]:
    names = ["=1+1", "@x", 'a "b", c\nd', "é🦆", *map(str, range(8))]
    for name in names:
        body = {"name": name, "permissions": ["admin"]}
        key = api.post("/api/v1/keys", json=body).json()["key"]
        api.delete("/api/v1/keys/nobody", headers={"Authorization": f"AppKey {key}"})
    return book(api, limit=1000)


def test_pages(api: httpx.Client, many: list[dict[str, Any]]) -> None:
    pages: list[dict[str, Any]] = []
    while page := book(api, limit=7, before=pages[-1]["number"] if pages else 2**40):
        assert len(page) <= 7
        pages += page
    assert pages[-len(many) :] == many
    assert [e["number"] for e in pages] == sorted((e["number"] for e in pages), reverse=True)


def test_exports_are_whole(api: httpx.Client, many: list[dict[str, Any]]) -> None:
    lines = api.get(AUDIT, params={"format": "ndjson", "limit": 1}).text.splitlines()
    assert [json.loads(line) for line in lines][-len(many) :] == many
    reply = api.get(AUDIT, params={"format": "csv"})
    assert reply.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))[-len(many) :]
    assert [int(row["number"]) for row in rows] == [e["number"] for e in many]
    names = {row["name"] for row in rows}
    assert {"'=1+1", "'@x", 'a "b", c\nd', "é🦆"} <= names, "no formula for a spreadsheet"


def test_an_export_of_nothing_is_a_header(api: httpx.Client) -> None:
    assert api.get(AUDIT, params={"format": "csv", "pool": "nobody's"}).text.startswith("number,at,key,")
    assert api.get(AUDIT, params={"format": "ndjson", "pool": "nobody's"}).text == ""


def test_filters(api: httpx.Client, many: list[dict[str, Any]]) -> None:
    at, whole = many[3]["at"], book(api, limit=1000)
    for filter, wanted in (("since", lambda e: e["at"] >= at), ("until", lambda e: e["at"] < at)):
        found = book(api, limit=1000, **{filter: at})
        assert found == [e for e in whole if wanted(e)] != [], filter
    assert {e["status"] for e in book(api, status=404, action="revoke-key")} == {404}
    for wrong in ({"since": "yesterday"}, {"limit": 0}, {"limit": 1001}, {"format": "xml"}, {"before": 0}):
        assert api.get(AUDIT, params=wrong).status_code == 400


@pytest.mark.parametrize("permission", ["push", "read"])
def test_it_is_for_administrators(server: RunningServer, api: httpx.Client, permission: str) -> None:
    with server.client(f"AppKey {new_key(api, permissions=[permission])}") as client:
        assert client.get(AUDIT).status_code == 403
    bound = new_key(api, permissions=["admin"], pools=[create_pool(api)])
    with server.client(f"AppKey {bound}") as client:
        assert client.get(AUDIT).status_code == 403


def test_starts_and_stops_are_there_so_that_a_kill_is_seen(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        server.restart()
        server.kill()
        server.start()
        with server.client() as api:
            assert [e["action"] for e in book(api)][::-1] == [STARTED, STOPPED, STARTED, STARTED]


def test_a_forged_request_is_there(server: RunningServer, api: httpx.Client) -> None:
    forged = {"Cookie": "session=x", "Sec-Fetch-Site": "cross-site"}
    reply = httpx.post(f"{server.url}/api/v1/keys", json={}, headers=forged)
    assert reply.status_code == 403
    [entry] = after(api, action="turned-away")
    assert (entry["status"], entry["code"]) == (403, "forbidden")
    assert entry["request"] == reply.headers["x-request-id"]
    assert entry["request"] == reply.json()["reference"]
