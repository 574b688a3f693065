"""A clock that jumps, forward and back: jobs count once, tokens hold, and nothing goes before its time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from shimmed import Shimmed, needs_a_compiler

from harness import (
    add_chunk,
    create_job,
    create_pool,
    execute,
    held,
    own_job,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)

pytestmark = needs_a_compiler

ENV = {"HEADRACE_EXECUTE_LIMITS": "celonis", "HEADRACE_LEASE_SECONDS": "4"}
NOW, DAY, YEAR = timedelta(), timedelta(days=1), timedelta(days=365)
CSV: dict[str, Any] = {"fileType": "CSV", "type": "DELTA"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shimmed]:
    with Shimmed(tmp_path_factory.mktemp("clock") / "data", env=ENV) as server:
        yield server


@pytest.fixture
def server(running: Shimmed) -> Iterator[Shimmed]:
    running.jump(NOW)
    yield running
    running.jump(NOW)


@pytest.fixture
def api(server: Shimmed) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def executed(api: httpx.Client, pool: str, row: bytes) -> str:
    job = str(create_job(api, pool, "t", **CSV)["id"])
    assert add_chunk(api, pool, job, b"a\n" + row).status_code == 200
    reply = wait_for(lambda: reply if (reply := execute(api, pool, job)).status_code != 429 else None)
    assert reply.status_code == 200, reply.text
    return job


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["forward", "back"])
def test_a_load_under_way_counts_once(by: timedelta, server: Shimmed, api: httpx.Client) -> None:
    """Forward its lease is over at once, back it is not for a day."""
    pool = create_pool(api)
    assert run_job(api, pool, "t", [b"a\n0\n"], **CSV)["status"] == "DONE"
    with held(server, pool):
        job = executed(api, pool, b"1\n")
        wait_for(lambda: own_job(api, pool, job)["status"] == "RUNNING")
        server.jump(by)
        other = executed(api, pool, b"2\n")
    for waits in (job, other):
        assert wait_for_job(api, pool, waits)["status"] == "DONE"
    assert sql(api, pool, "SELECT a FROM t ORDER BY a") == [["0"], ["1"], ["2"]]


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["forward", "back"])
def test_a_job_of_a_server_that_died_goes_on(by: timedelta, server: Shimmed, api: httpx.Client) -> None:
    pool = create_pool(api)
    assert run_job(api, pool, "t", [b"a\n0\n"], **CSV)["status"] == "DONE"
    with held(server, pool):
        job = executed(api, pool, b"1\n")
        wait_for(lambda: own_job(api, pool, job)["status"] == "RUNNING")
        server.kill()
        server.jump(by)
    server.start()
    with server.client() as after:
        assert wait_for_job(after, pool, job)["status"] == "DONE"
        assert sql(after, pool, "SELECT a FROM t ORDER BY a") == [["0"], ["1"]]


def test_executes_are_not_counted_for_ever(server: Shimmed, api: httpx.Client) -> None:
    """Those of a day that is to come again are no reason to wait for it."""
    pool = create_pool(api)
    for by in (DAY, NOW, -DAY, NOW):
        server.jump(by)
        jobs = [executed(api, pool, b"%d\n" % n) for n in range(12)]
        assert {wait_for_job(api, pool, job)["status"] for job in jobs} == {"DONE"}
    assert sql(api, pool, "SELECT count(*) FROM t") == [[48]]


def test_a_token_ends_with_its_time(server: Shimmed, api: httpx.Client) -> None:
    made = api.post("/api/v1/clients", json={"name": "c", "permissions": ["read"], "pools": None}).json()

    def token() -> str:
        form = {"grant_type": "client_credentials", "scope": "integration.data-pools"}
        who = (made["clientId"], made["clientSecret"])
        reply = httpx.post(f"{server.url}/oauth2/token", data=form, auth=who, trust_env=False)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["access_token"])

    def taken(bearer: str) -> bool:
        with server.client(f"Bearer {bearer}") as holder:
            return holder.get("/integration/api/pools").status_code == 200

    first = token()
    assert taken(first)
    server.jump(8 * DAY)
    assert not taken(first)
    second = token()
    assert taken(second)
    server.jump(NOW)
    assert taken(first) and taken(token())
    server.jump(-8 * DAY)
    assert taken(token())


def test_nothing_goes_before_its_time(server: Shimmed, api: httpx.Client) -> None:
    """A clock that was a year late is no reason to let go of what is from then, nor one that was early."""
    pool = create_pool(api)
    kept = create_job(api, pool, "kept", **CSV)["id"]
    assert run_job(api, pool, "t", [b"a\n1\n"], **CSV)["status"] == "DONE"
    server.jump(-YEAR)
    assert not any(kind["count"] for kind in api.post("/api/v1/gc").json())
    assert run_job(api, pool, "t", [b"a\n2\n"], **CSV)["status"] == "DONE"
    server.jump(NOW)
    assert own_job(api, pool, kept)["status"] == "NEW"
    assert sql(api, pool, "SELECT a FROM t ORDER BY a") == [["1"], ["2"]]
