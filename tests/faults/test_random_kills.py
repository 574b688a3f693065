"""The process is killed at random moments, again and again; the tables are what the model says.

``HEADRACE_FAULT_ROUNDS`` kills (50), ``HEADRACE_FAULT_SEED`` to see a run again.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from world import World, random_job, strays

from harness import RunningServer, create_pool

ROUNDS = int(os.environ.get("HEADRACE_FAULT_ROUNDS", "50"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))


@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_killed_at_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)
    server = RunningServer(tmp_path / "data").start()
    with server.client() as api:
        world = World(server, create_pool(api))
    kills = jobs = 0
    job = random_job(chance)
    while kills < ROUNDS:
        killer = _kill_after(server, chance.uniform(0, 1.5))
        with server.client() as api, suppress(httpx.TransportError, httpx.HTTPError):
            while True:
                world.check_acknowledged(job, api)
                world.step(job, api)
                world.apply(job)
                jobs += 1
                job = random_job(chance)
        killer.join()
        kills += 1
        server.process = None
        server.start()
    with server.client() as api:
        world.step(job, api)
        world.apply(job)
        world.check(api)
    assert not strays(server.data_dir)
    server.stop()
    with capsys.disabled():
        print(f"\n{kills} kills, {jobs + 1} jobs, 0 differences (seed {SEED})")


def _kill_after(server: RunningServer, seconds: float) -> threading.Thread:
    """The moment of death is what is random here, so it is a time."""
    process = server.process
    assert process is not None

    def kill() -> None:
        time.sleep(seconds)
        process.kill()
        process.wait(30)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread
