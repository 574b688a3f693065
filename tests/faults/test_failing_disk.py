"""A disk that fails to write and to sync: said as such, nothing acknowledged lost, and no restart needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from shimmed import Shimmed, needs_a_compiler
from world import strays

from harness import (
    PUSH,
    add_chunk,
    create_job,
    create_pool,
    execute,
    own_job,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)

pytestmark = needs_a_compiler

SPEC: dict[str, Any] = {"fileType": "CSV", "keys": ["a"]}
FIRST = b"a,b\n" + b"".join(b"%d,first\n" % n for n in range(100))
SECOND = b"a,b\n" + b"".join(b"%d,second\n" % n for n in range(50, 150))
BEFORE = [["first", 100]]
AFTER = [["first", 50], ["second", 100]]

METADATA = "metadata.sqlite*"
BOTH = ("write", "fsync")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shimmed]:
    with Shimmed(tmp_path_factory.mktemp("failing") / "data", env={"HEADRACE_LEASE_SECONDS": "2"}) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Shimmed) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def pool(api: httpx.Client) -> str:
    made = create_pool(api)
    assert run_job(api, made, "t", [FIRST], **SPEC)["status"] == "DONE"
    return made


def rows(api: httpx.Client, pool: str) -> list[list[Any]]:
    return sql(api, pool, "SELECT b, count(*) FROM t GROUP BY ALL ORDER BY ALL")


def new_job(api: httpx.Client, pool: str) -> str:
    return str(create_job(api, pool, "t", type="DELTA", **SPEC)["id"])


def assert_failed(reply: httpx.Response) -> None:
    assert reply.status_code == 500, f"{reply.status_code} {reply.text}"
    assert "disk-failed" in reply.text


def works(api: httpx.Client, pool: str, job: str) -> None:
    """The job from its NEW on, in the same process as before."""
    assert execute(api, pool, job).status_code == 200
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert rows(api, pool) == AFTER


@pytest.mark.parametrize("call", BOTH)
def test_while_a_chunk_is_received(call: str, server: Shimmed, api: httpx.Client, pool: str) -> None:
    job = new_job(api, pool)
    with server.failing(call, "chunks/*"):
        assert_failed(add_chunk(api, pool, job, SECOND))
    assert own_job(api, pool, job)["chunks"] == []
    assert not strays(server.data_dir)
    assert add_chunk(api, pool, job, SECOND).status_code == 200
    works(api, pool, job)


@pytest.mark.parametrize("call", BOTH)
def test_while_a_chunk_is_recorded(call: str, server: Shimmed, api: httpx.Client, pool: str) -> None:
    """Its bytes are there, and no row knows them."""
    job = new_job(api, pool)
    with server.failing(call, METADATA):
        assert_failed(add_chunk(api, pool, job, SECOND))
    assert own_job(api, pool, job)["chunks"] == []
    assert add_chunk(api, pool, job, SECOND).status_code == 200
    works(api, pool, job)


def test_while_it_is_staged(server: Shimmed, api: httpx.Client, pool: str) -> None:
    """The job says what was the matter, keeps the chunk, and runs again."""
    job = new_job(api, pool)
    with server.failing("write", "pools/*/staging/*"):
        assert add_chunk(api, pool, job, SECOND).status_code == 200
        wait_for(lambda: own_job(api, pool, job)["chunks"][0]["state"] != "received")
    assert server.failed
    assert execute(api, pool, job).status_code == 200
    failed = wait_for_job(api, pool, job)
    assert failed["status"] == "ERROR" and "Could not write file" in failed["logs"][-1]
    assert rows(api, pool) == BEFORE
    again = api.post(f"/api/v1/pools/{pool}/jobs/{job}/retry").json()["id"]
    assert wait_for_job(api, pool, again)["status"] == "DONE"
    assert rows(api, pool) == AFTER


COMMITS = [("fsync", "pools/*/data/*"), ("write", "pools/*/catalog*"), ("fsync", "pools/*/catalog*")]


@pytest.mark.parametrize(("call", "pattern"), COMMITS)
def test_while_it_is_committed(
    call: str, pattern: str, server: Shimmed, api: httpx.Client, pool: str
) -> None:
    """It is loaded, or ends in ERROR with the reason: once, and never half."""
    job = new_job(api, pool)
    assert add_chunk(api, pool, job, SECOND).status_code == 200
    wait_for(lambda: own_job(api, pool, job)["chunks"][0]["state"] == "staged")
    seen = len(server.failed)
    with server.failing(call, pattern):
        assert execute(api, pool, job).status_code == 200
        wait_for(lambda: len(server.failed) > seen, 60, "the fault")
    ended = wait_for_job(api, pool, job)
    if ended["status"] == "ERROR":
        assert own_job(api, pool, job)["errorCode"] in ("disk-failed", "disk-full")
        assert "disk" in ended["logs"][-1]
        assert rows(api, pool) == BEFORE
        job = new_job(api, pool)
        assert add_chunk(api, pool, job, SECOND).status_code == 200
        assert execute(api, pool, job).status_code == 200
        assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert rows(api, pool) == AFTER
    versions = api.get(f"/api/v1/pools/{pool}/tables/t").json()["versions"]
    assert len([v for v in versions if v["job"] == job]) == 1


@pytest.mark.parametrize("call", BOTH)
def test_when_no_word_of_it_can_be_written(call: str, server: Shimmed, api: httpx.Client, pool: str) -> None:
    """All that changes something is refused, what is only read is answered, and the job is as it was."""
    job = new_job(api, pool)
    assert add_chunk(api, pool, job, SECOND).status_code == 200
    wait_for(lambda: own_job(api, pool, job)["chunks"][0]["state"] == "staged")
    jobs = f"{PUSH}/{pool}/jobs"
    with server.failing(call, METADATA):
        for reply in (
            api.post(jobs, json={"targetName": "t"}),
            execute(api, pool, job),
            api.delete(f"{jobs}/{job}"),
            api.post("/integration/api/pools", json={"name": "another"}),
        ):
            assert_failed(reply)
        for path in (jobs, f"{jobs}/{job}", f"/api/v1/pools/{pool}/tables/t", "/readyz"):
            assert api.get(path).status_code == 200, path
        assert rows(api, pool) == BEFORE
    assert own_job(api, pool, job)["status"] == "NEW"
    works(api, pool, job)


def test_what_was_acknowledged_is_there_after_a_restart(server: Shimmed, api: httpx.Client) -> None:
    """The faults have left nothing behind that a start stumbles over."""
    pool = create_pool(api)
    assert run_job(api, pool, "t", [FIRST], **SPEC)["status"] == "DONE"
    job = new_job(api, pool)
    assert add_chunk(api, pool, job, SECOND).status_code == 200
    with server.failing("fsync", "*"):
        execute(api, pool, job)
        server.kill()
    server.start()
    with server.client() as after:
        if own_job(after, pool, job)["status"] == "NEW":
            assert execute(after, pool, job).status_code == 200
        if wait_for_job(after, pool, job)["status"] == "ERROR":  # the load was quicker than the kill
            assert own_job(after, pool, job)["errorCode"] == "disk-failed"
            job = after.post(f"/api/v1/pools/{pool}/jobs/{job}/retry").json()["id"]
        assert wait_for_job(after, pool, job)["status"] == "DONE"
        assert rows(after, pool) == AFTER
