"""A server of tests, its faults and its reset, met by clients that know nothing of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import requests
from pydantic import TypeAdapter
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from docs.test_docs import bash, blocks
from harness import PUSH, RunningServer, create_job, create_pool, execute, run_job, sql, wait_for_job
from headrace.client import Client
from headrace.errors import LoadFailed
from headrace.testing import BadSeed, CannotStart, Server
from headrace.web import faults
from headrace.web.description import TOLD

ROUTES = (("GET", "faults"), ("POST", "faults"), ("DELETE", "faults"), ("POST", "reset"), ("POST", "mark"))
SEED: dict[str, Any] = {
    "pools": {"Sales": {"tables": {"t": {"keys": ["id"], "rows": [{"id": 1, "v": "x"}]}}}}
}


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    with Server(seed=SEED) as server:
        yield server


@pytest.fixture
def server(started: Server) -> Iterator[Server]:
    yield started
    started.faults.clear()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


@pytest.fixture
def session(server: Server) -> Iterator[requests.Session]:
    """As a script does it that was told to try again."""
    with requests.Session() as session:
        retry = Retry(total=4, status_forcelist=[429, 500, 502, 503, 504], allowed_methods=None)
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.headers["Authorization"] = f"AppKey {server.key}"
        session.trust_env = False
        yield session


def history(reply: requests.Response) -> list[int | None]:
    return [entry.status for entry in reply.raw.retries.history]


# -- what happens to requests --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_requests_tries_again(server: Server, session: requests.Session, status: int) -> None:
    server.faults.answer(status, retry_after=0, times=2)
    reply = session.get(f"{server.url}/api/cloud")
    assert (reply.status_code, history(reply)) == (200, [status] * 2)
    assert server.faults.left() == []


def test_a_retry_after_is_kept(server: Server, session: requests.Session) -> None:
    pool = server.pool().id
    server.faults.answer(429, retry_after=1, method="POST", path="*/jobs/*/chunks/*")
    job = session.post(f"{server.url}{PUSH}/{pool}/jobs", json={"targetName": "t", "fileType": "CSV"}).json()[
        "id"
    ]
    chunks = f"{server.url}{PUSH}/{pool}/jobs/{job}/chunks"
    start = time.monotonic()
    reply = session.post(f"{chunks}/upserted", files={"file": ("a.csv", b"a\n1\n")})
    assert (reply.status_code, history(reply)) == (200, [429])
    assert time.monotonic() - start >= 1
    assert len(session.get(chunks).json()) == 1, "nothing was done of the one that was refused"


def test_an_answer_looks_like_the_real_one(server: Server, http: httpx.Client) -> None:
    server.faults.answer(429, retry_after=7, times=None)
    ours, theirs = http.get("/api/v1/keys"), http.get("/api/team")
    assert ours.headers["Content-Type"] == "application/problem+json"
    assert (ours.json()["code"], ours.headers["Retry-After"]) == ("too-many-submissions", "7")
    assert theirs.json().keys() == {"reference", "message", "shortMessage"}
    server.faults.clear()
    server.faults.answer(502)
    assert "Bad Gateway" in http.get("/api/team").text, "as a proxy says it"
    with pytest.raises(ValueError, match="one of 401, 429"):
        server.faults.answer(418)


def test_some_go_well_before(server: Server, http: httpx.Client) -> None:
    server.faults.answer(503, skip=2, path="/api/team")
    assert [http.get("/api/team").status_code for _ in range(4)] == [200, 200, 503, 200]
    assert http.get("/api/cloud").status_code == 200


def test_slow_answers(server: Server, http: httpx.Client) -> None:
    server.faults.slow(30, method="POST")
    with pytest.raises(httpx.ReadTimeout):
        http.post("/integration/api/pools", json={"name": "slow"}, timeout=0.2)
    assert "slow" in server.client().pools().values(), "it was done"
    server.faults.slow(0.3)
    start = time.monotonic()
    assert http.get("/api/cloud").status_code == 200
    assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize("after", [False, True])
def test_a_cut_connection(server: Server, http: httpx.Client, after: bool) -> None:
    name = f"cut {after}"
    server.faults.cut(after=after, method="POST")
    with pytest.raises(httpx.TransportError):
        http.post("/integration/api/pools", json={"name": name})
    assert (name in server.client().pools().values()) == after


def test_requests_survives_a_cut(server: Server, session: requests.Session) -> None:
    server.faults.cut(times=2)
    assert session.get(f"{server.url}/api/cloud").status_code == 200


def test_a_job_that_ends_in_error(server: Server, http: httpx.Client) -> None:
    pool = create_pool(http)
    server.faults.job_error("The disk of the lake is gone.", code="internal", table="ord*")
    other = run_job(http, pool, "customers", [b"a\n1\n"], fileType="CSV")
    failed = run_job(http, pool, "Orders", [b"a\n1\n"], fileType="CSV")
    assert (other["status"], failed["status"]) == ("DONE", "ERROR")
    assert failed["logs"] == ["The disk of the lake is gone."]
    shown = http.get(f"/api/v1/pools/{pool}/jobs/{failed['id']}").json()
    assert shown["errorCode"] == "internal"
    assert (shown["counts"]["rowsIn"], shown["counts"]["notLoaded"]) == (1, 1)
    assert [t["name"] for t in http.get(f"/api/v1/pools/{pool}/tables").json()] == ["customers"]
    assert run_job(http, pool, "Orders", [b"a\n1\n"], fileType="CSV")["status"] == "DONE"


def test_our_own_client_hears_and_tries_again(server: Server) -> None:
    pool = server.pool()
    server.faults.answer(503, retry_after=0, method="POST", path="*/chunks/*")
    server.faults.cut(after=True, method="POST", path="*/chunks/*")
    pool.push(pa.table({"a": [1]}), table="t")
    assert pool.sql("SELECT count(*) AS n FROM t") == [{"n": 1}], "sent again, stored once"
    server.faults.job_error("No luck.")
    with pytest.raises(LoadFailed) as failed:
        pool.push(pa.table({"a": [1]}), table="t")
    assert "No luck." in failed.value.logs


def test_the_commands_of_the_document(server: Server, tmp_path: Path) -> None:
    stand_in = RunningServer(server.data_dir)
    stand_in.url = server.url
    [commands] = blocks("docs/testing.md", "bash")
    said = bash(stand_in, tmp_path, commands)
    listed = json.loads(said[said.index("[{") :])
    assert [fault["kind"] for fault in listed] == ["answer", "slow", "cut", "job-error"]
    assert server.faults.left() == []


def test_the_answers_fit_what_is_told_of_them(server: Server, http: httpx.Client) -> None:
    wished = {"kind": "slow", "seconds": 0.1, "path": "/nowhere", "times": 2}
    added = http.post(f"{faults.PATH}/faults", json=wished)
    listed = http.get(f"{faults.PATH}/faults")
    for handler, reply in ((faults.add_fault, added), (faults.list_faults, listed)):
        assert reply.status_code == TOLD[handler].status
        TypeAdapter(TOLD[handler].answer).validate_json(reply.content)
    assert listed.json() == [added.json()]


# -- reset ---------------------------------------------------------------------------------------------


def state(http: httpx.Client) -> dict[str, Any]:
    """What a client can see of the server."""
    pools = {p["id"]: p["name"] for p in http.get("/integration/api/pools").json()}
    keys = [{**k, "lastUsedAt": None} for k in http.get("/api/v1/keys").json()]
    jobs = {id: http.get(f"/api/v1/pools/{id}/jobs").json() for id in pools}
    tables = {id: sql(http, id, "SELECT * FROM t") for id, name in pools.items() if name == "Sales"}
    audit = [
        e for e in http.get("/api/v1/audit").json() if e["action"] not in ("server-started", "server-stopped")
    ]
    return {"pools": pools, "keys": keys, "jobs": jobs, "tables": tables, "audit": audit}


def test_a_reset_is_as_after_the_start(server: Server, http: httpx.Client) -> None:
    server.reset()
    before = state(http)
    [pool] = before["pools"]
    assert before["tables"][pool][0][:2] == [1, "x"]
    for _ in range(2):
        assert run_job(http, pool, "t", [b"id,v\n7,y\n"], fileType="CSV")["status"] == "DONE"
        unfinished = create_job(http, pool, "t", fileType="CSV")["id"]
        execute(http, pool, unfinished)
        server.new_key()
        server.pool()
        server.faults.answer(503, path="/nowhere")
        assert state(http) != before
        server.reset()
        assert state(http) == before
        assert server.faults.left() == []
    assert wait_for_job(http, pool, before["jobs"][pool][0]["id"])["status"] == "DONE"
    files = [p.name for p in server.data_dir.glob("chunks/*/*")]
    assert files == []


def test_a_reset_ends_no_answer_in_the_middle(server: Server, http: httpx.Client) -> None:
    """A client that is held back gets its answer first; who comes meanwhile waits."""
    server.faults.slow(0.5, path="/api/cloud")
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(http.get("/api/cloud").status_code))
    thread.start()
    server.reset()
    thread.join()
    assert answers == [200]


# -- starting ------------------------------------------------------------------------------------------


def test_https_with_a_certificate_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PORT", "what the environment says does not count")
    with Server(tls=True, settings={"string_profile": "celonis"}) as server:
        assert server.url.startswith("https://")
        reply = requests.get(
            f"{server.url}/api/cloud",
            headers={"Authorization": f"AppKey {server.key}"},
            verify=str(server.certificate),
        )
        assert reply.status_code == 200
        with server.http(server.new_key(["read"])) as reader:
            assert reader.get("/api/cloud/permissions").json()[0]["permissions"] == ["VIEW_ALL_DATA_POOLS"]
        folder = server.data_dir
    assert not folder.exists()


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(CannotStart, match="load_workers"):
        Server(settings={"load_workers": 0}).start()
    with pytest.raises(BadSeed, match=r"pools.Sales.tables.t: .*rows or a file"):
        Server(seed={"pools": {"Sales": {"tables": {"t": {}}}}})


def test_whoever_asks_for_a_fault_must_be_an_administrator(server: Server) -> None:
    with server.http(server.new_key(["push", "read"])) as pusher:
        for method, path in ROUTES:
            assert pusher.request(method, f"/api/v1/testing/{path}", json={"kind": "cut"}).status_code == 403
    assert httpx.post(f"{server.url}/api/v1/testing/reset", trust_env=False).status_code == 401


def test_a_client_of_another_scheme(server: Server) -> None:
    personal = server.new_key(kind="personal")
    with Client(server.url, personal) as client:
        assert isinstance(client.pools(), dict)
