"""The process is killed while jobs are undone, run again or called off: once or not at all, and told truly.

Each death is another pool's, and one start follows the other: a start is what costs here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from world import strays

from harness import (
    PUSH,
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    own_job,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)
from headrace.metadata import Metadata
from headrace.model import now

ALL = "HEADRACE_FAULT_ROUNDS" in os.environ
UNDONE = ["claimed", "before-commit", "finished", "committed"] if ALL else ["before-commit", "committed"]
RETRIED = ["kept", "queued"] if ALL else ["queued"]  # at last: a start loads it, and may die of that
CANCELLED = ["committed", "reduced"] if ALL else ["reduced"]

KEYED: dict[str, Any] = {"fileType": "CSV", "type": "DELTA", "keys": ["k"]}
NAMED = {"Idempotency-Key": "this undo"}
BEFORE = [["1", "a", None], ["2", "b", None]]
AFTER = [["2", "B", "x"], ["3", "c", "y"]]
LOOK = "SELECT k, v, w FROM t ORDER BY k"
SCHEMA = {"tableName": "t", "columns": [{"columnName": "n", "columnType": "FLOAT", "decimals": 1}]}


@dataclass
class Story:
    """A server, and for each crash point a pool with a job that something is done to."""

    server: RunningServer
    undone: dict[str, tuple[str, str]] = field(default_factory=dict)
    retried: dict[str, tuple[str, str]] = field(default_factory=dict)
    cancelled: dict[str, tuple[str, str]] = field(default_factory=dict)
    foreseen: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        with self.server.client() as api:
            for point in UNDONE:
                pool, job = self.undone[point] = changed_tables(api)
                self.foreseen[point] = ask(api, pool, job, "undo?dryRun=true").json()["tables"]
            self.retried = {point: failed(api) for point in RETRIED}
            self.cancelled = {point: waiting(api) for point in CANCELLED}

    def die(self, point: str, method: str, path: str, **more: Any) -> None:
        """Start it so that it dies there, and ask."""
        if self.server.process:
            self.server.stop()
        self.server.env = {"HEADRACE_CRASH_AT": point}
        self.server.start()
        process = self.server.process
        assert process is not None
        with self.server.client() as api, suppress(httpx.TransportError):
            api.request(method, path, **more)
            wait_for(lambda: api.get("/healthz").is_error, 60, "its death")
        assert process.wait(30) == -9, f"{point} was not reached"
        self.server.process, self.server.env = None, {}


def changed_tables(api: httpx.Client) -> tuple[str, str]:
    """A job that changes a table's rows, and makes another one."""
    pool = create_pool(api)
    run_job(api, pool, "t", [b"k,v,w\n1,a,\n2,b,\n"], **{**KEYED, "type": "REPLACE"})
    chunks = [b"k,v,w\n2,B,x\n3,c,y\n", ("deleted", b"k\n1\n")]
    return pool, run_job(api, pool, "t", chunks, **KEYED, mirrorTargetNames=["m"])["id"]


def failed(api: httpx.Client) -> tuple[str, str]:
    pool = create_pool(api)
    more: dict[str, Any] = {"fileType": "CSV", "type": "DELTA", "tableSchema": SCHEMA}
    return pool, run_job(api, pool, "t", [b'k,n\na,"1,5"\n'], **more)["id"]


def waiting(api: httpx.Client) -> tuple[str, str]:
    pool = create_pool(api)
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    add_chunk(api, pool, job, b"k\n1\n")
    return pool, job


def ask(api: httpx.Client, pool: str, job: str, what: str, **more: Any) -> httpx.Response:
    return api.post(f"/api/v1/pools/{pool}/jobs/{job}/{what}", **more)


def retry(api: httpx.Client, pool: str, job: str) -> httpx.Response:
    return ask(api, pool, job, "retry", json={"csvParsingOptions": {"decimalSeparator": ","}})


def asked_to_cancel(server: RunningServer, job: str) -> None:
    """The wish had come right before the crash."""
    metadata = Metadata(server.data_dir / "metadata.sqlite")
    metadata.jobs.cancel(job, now(), None)
    metadata.close()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All deaths, and a start after them."""
    with RunningServer(tmp_path_factory.mktemp("undos") / "data") as server:
        story = Story(server)
        story.prepare()
        for point, (pool, job) in story.undone.items():
            story.die(point, "POST", f"/api/v1/pools/{pool}/jobs/{job}/undo", headers=NAMED)
        for point, (pool, job) in story.cancelled.items():
            story.die(point, "POST", f"/api/v1/pools/{pool}/jobs/{job}/execute")
            asked_to_cancel(server, job)
        for point, (pool, job) in story.retried.items():
            more = {"json": {"csvParsingOptions": {"decimalSeparator": ","}}}
            story.die(point, "POST", f"/api/v1/pools/{pool}/jobs/{job}/retry", **more)
        server.start()
        yield story


@pytest.mark.parametrize("point", UNDONE)
def test_killed_while_a_job_is_undone(story: Story, point: str) -> None:
    pool, job = story.undone[point]
    done = point in ("committed", "finished")
    with story.server.client() as api:
        assert sql(api, pool, LOOK) == (BEFORE if done else AFTER)
        assert bool(own_job(api, pool, job)["undoneAt"]) == done
        if done:
            refused = ask(api, pool, job, "undo")
            assert (refused.status_code, refused.json()["code"]) == (409, "not-undoable")
        for _ in range(2):  # under its key it answers what was done, whenever that was
            answer = ask(api, pool, job, "undo", headers=NAMED)
            assert (answer.status_code, answer.json()["tables"]) == (200, story.foreseen[point]), answer.text
        assert sql(api, pool, LOOK) == BEFORE
        assert [t["name"] for t in api.get(f"/api/v1/pools/{pool}/tables").json()] == ["t"]
        told = [line for line in own_job(api, pool, job)["logs"] if line.startswith("Undone")]
        assert len(told) == 2
        versions = api.get(f"/api/v1/pools/{pool}/tables/t").json()["versions"]
        assert [v["undo"] for v in versions] == [True, False, False]
        again = run_job(api, pool, "t", [b"k,v,w\n9,z,\n"], **KEYED)  # its tables are free
        assert again["status"] == "DONE"


@pytest.mark.parametrize("point", RETRIED)
def test_killed_while_a_failed_job_is_run_again(story: Story, point: str) -> None:
    pool, job = story.retried[point]
    with story.server.client() as api:
        holder = own_job(api, pool, job)["retriedBy"]
        assert bool(holder) == (point == "queued")
        second = retry(api, pool, job)
        assert second.status_code == (409 if holder else 201), second.text
        assert wait_for_job(api, pool, holder or second.json()["id"])["status"] == "DONE"
        assert sql(api, pool, "SELECT k, n FROM t") == [["a", "1.5"]]


@pytest.mark.parametrize("point", CANCELLED)
def test_a_wish_to_cancel_outlives_a_crash(story: Story, point: str) -> None:
    """And a load that was committed before is DONE all the same."""
    pool, job = story.cancelled[point]
    with story.server.client() as api:
        status = "DONE" if point == "committed" else "ERROR"
        assert wait_for_job(api, pool, job)["status"] == status
        tables = api.get(f"/api/v1/pools/{pool}/tables").json()
        assert [t["name"] for t in tables] == (["t"] if status == "DONE" else [])


def test_nothing_is_left(story: Story) -> None:
    with story.server.client() as api:
        for pool, job in story.cancelled.values():  # they could be run again
            api.delete(f"{PUSH}/{pool}/jobs/{job}")
    wait_for(lambda: not strays(story.server.data_dir), 20, "the end of all chunks")
