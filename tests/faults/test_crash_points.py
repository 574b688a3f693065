"""The process is killed at every named step of a chunk's way; what was promised still holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from born import BornServer, Nursery
from world import APPENDED, KEYED, Job, World, strays

from harness import create_pool, wait_for
from headrace.crashpoints import POINTS

SEED = [("upserted", [(f"k{n}", "old") for n in range(10)])]
REPLACE = Job(
    KEYED, "REPLACE", ["k"], [("upserted", [("k1", "a"), ("k2", "b")]), ("upserted", [("k3", "c")])]
)
APPEND = Job(APPENDED, "DELTA", [], [("upserted", [("a", "1")]), ("upserted", [("a", "1"), ("b", "2")])])
DELTA = Job(
    KEYED, "DELTA", ["k"], [("upserted", [("k1", "n"), ("x", "n")]), ("deleted", [("k2", ""), ("zz", "")])]
)


@pytest.fixture
def world(tmp_path: Path, warm: Nursery) -> Iterator[World]:
    """Two tables with rows in them; the server is stopped."""
    server = BornServer(warm, tmp_path / "data").start()
    with server.client() as api:
        world = World(server, create_pool(api))
        for job in (Job(KEYED, "REPLACE", ["k"], SEED), Job(APPENDED, "DELTA", [], SEED)):
            world.step(job, api)
            world.apply(job)
    server.stop()
    yield world
    if server.process is not None:
        server.stop()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("job", [REPLACE, APPEND, DELTA], ids=["replace", "append", "delta"])
def test_killed_there(point: str, job: Job, world: World) -> None:
    job = Job(job.table, job.type, job.keys, job.chunks)
    _die_at(point, job, world)
    world.server.start()
    with world.server.client() as api:
        world.check_acknowledged(job, api)
        world.step(job, api)  # goes on where it stands
        world.apply(job)
        world.check(api)
        wait_for(lambda: not strays(world.server.data_dir), 10, "the sweep")


def test_an_append_is_not_applied_twice(world: World) -> None:
    """The lake has it, the job does not know: the receipt tells the next start."""
    job = Job(APPEND.table, APPEND.type, APPEND.keys, APPEND.chunks)
    _die_at("committed", job, world)
    world.apply(job)
    world.server.start()
    with world.server.client() as api:
        wait_for(lambda: world.status(job, api) == "DONE", 30, "the receipt")
        world.check(api)
        counts = api.get(f"/api/v1/pools/{world.pool}/jobs/{job.id}").json()["counts"]
        assert (counts["rowsIn"], counts["inserted"]) == (3, 3)


def test_no_child_outlives_its_server(world: World) -> None:
    world.server.start()
    children = psutil.Process(world.server.pid).children(recursive=True)
    assert children
    world.server.kill()
    wait_for(lambda: not any(child.is_running() for child in children), 10, "the end of the children")


def _die_at(point: str, job: Job, world: World) -> None:
    """Push until the server dies there; a point that is never reached fails the test."""
    server = world.server
    server.env = {"HEADRACE_CRASH_AT": point}
    server.start()
    process = server.process
    assert process is not None
    with server.client() as api, suppress(httpx.TransportError):
        world.step(job, api)
    assert process.wait(30) == -9, f"{point} was not reached"
    server.process, server.env = None, {}
