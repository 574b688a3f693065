"""The server is stopped (SIGSTOP) in a load until its lease has run out, and goes on: the job counts once.

What another worker does meanwhile is the matter of test_takeovers.py.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread

import psutil
import pytest
from born import BornServer, Nursery
from test_crash_points import APPEND, DELTA, REPLACE, SEED
from world import APPENDED, KEYED, Job, World, strays

from harness import create_pool, wait_for
from headrace.model import now

LEASE = timedelta(seconds=1)
KINDS = {"replace": REPLACE, "append": APPEND, "delta": DELTA}


@pytest.fixture
def world(tmp_path: Path, warm: Nursery, request: pytest.FixtureRequest) -> Iterator[World]:
    """Two tables with rows in them, on a server that will stop at the second job's ``point``."""
    env = {"HEADRACE_LEASE_SECONDS": "1", "HEADRACE_STAGING_PROCESSES": "1"}
    server = BornServer(warm, tmp_path / "data", env=env).start()
    with server.client() as api:
        world = World(server, create_pool(api))
        for job in (Job(KEYED, "REPLACE", ["k"], SEED), Job(APPENDED, "DELTA", [], SEED)):
            world.step(job, api)
            world.apply(job)
    server.stop()
    server.env["HEADRACE_CRASH_AT"] = f"pause:{request.getfixturevalue('point')}"
    with server:
        yield world


CASES = [(point, kind) for point in ("before-commit", "committing") for kind in KINDS]
CASES += [(point, "append") for point in ("claimed", "reduced", "committed")]


@pytest.mark.parametrize(("point", "kind"), CASES)
def test_a_load_that_was_stopped_counts_once(point: str, kind: str, world: World) -> None:
    job = KINDS[kind]
    job = Job(job.table, job.type, job.keys, job.chunks)
    with world.server.client() as api:
        pushing = Thread(target=world.step, args=(job, api))
        pushing.start()
        stopped_for_longer_than_a_lease(world.server.pid)
        pushing.join()
        assert world.status(job, api) == "DONE"
        world.apply(job)
        world.check(api)
        wait_for(lambda: not strays(world.server.data_dir), 10, "the end of its chunks")


def stopped_for_longer_than_a_lease(pid: int) -> None:
    process = psutil.Process(pid)
    wait_for(lambda: process.status() == psutil.STATUS_STOPPED, 60, "the pause")
    over = now() + LEASE
    wait_for(lambda: now() > over, 10, "the end of the lease")
    process.send_signal(signal.SIGCONT)
