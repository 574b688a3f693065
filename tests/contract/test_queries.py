"""A query that is called off, by its id or because nobody waits for it any more."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from harness import RunningServer, create_pool, run_job, sql, wait_for

ENDLESS = "SELECT count(*) FROM range(100000000000000) t(i) WHERE hash(i) = 1"


@pytest.fixture(scope="module")
def pool(api: httpx.Client) -> Iterator[str]:
    made = create_pool(api, "queries")
    run_job(api, made, "orders", [b"id\n1\n"], fileType="CSV")
    yield made


def busy(server: RunningServer) -> bool:
    """One of the server's children computes."""
    children = psutil.Process(server.pid).children()
    return any(child.cpu_percent(0.05) > 30 for child in children)


def start(api: httpx.Client, pool: str, **body: object) -> httpx.Response:
    return api.post(f"/api/v1/pools/{pool}/sql", json={"sql": ENDLESS, "timeoutSeconds": 30, **body})


def test_a_query_is_cancelled_by_its_id(server: RunningServer, api: httpx.Client, pool: str) -> None:
    sql(api, pool, "SELECT 1")
    path = f"/api/v1/pools/{pool}/sql/my-query"
    assert api.delete(path).status_code == 404
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(start, api, pool, queryId="my-query")
        wait_for(lambda: busy(server), what="the query to run")
        assert start(api, pool, queryId="my-query").status_code == 409
        other = create_pool(api, "another")
        assert api.delete(f"/api/v1/pools/{other}/sql/my-query").status_code == 404
        assert api.delete(path).status_code == 204
        reply = running.result()
    assert (reply.status_code, reply.json()["code"]) == (409, "query-cancelled")
    assert api.delete(path).status_code == 404
    assert sql(api, pool, "SELECT count(*) FROM orders") == [[1]]


def test_a_query_ends_when_its_client_goes_away(server: RunningServer, api: httpx.Client, pool: str) -> None:
    with server.client(timeout=httpx.Timeout(30, read=2)) as impatient, pytest.raises(httpx.ReadTimeout):
        start(impatient, pool, queryId="left-alone")
    path = f"/api/v1/pools/{pool}/sql/left-alone"
    # long before its own limit of time
    wait_for(lambda: api.delete(path).status_code == 404, 15, "the query to end")
    assert sql(api, pool, "SELECT count(*) FROM orders") == [[1]]


def test_every_answer_has_its_id(api: httpx.Client, pool: str) -> None:
    path = f"/api/v1/pools/{pool}/sql"
    mine = api.post(path, json={"sql": "SELECT 1", "queryId": "mine.1"})
    assert mine.headers["x-query-id"] == "mine.1"
    assert api.post(path, json={"sql": "SELECT 1"}).headers["x-query-id"]
    for bad in ("", "a b", "a/b", "x" * 65, "a\n"):
        assert api.post(path, json={"sql": "SELECT 1", "queryId": bad}).status_code == 400


def test_the_confinement_is_said(api: httpx.Client) -> None:
    assert isinstance(api.get("/readyz").json()["sqlConfinement"], list)
