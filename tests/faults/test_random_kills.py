"""The server is killed again and again, at named places and at random ones: nothing is lost, twice or stuck.

Programs of pushes and undos go on beside it (programs.py), several at once, and a death meets all of them.
``HEADRACE_FAULT_ROUNDS`` deaths (200), ``HEADRACE_FAULT_SEED`` to see a run again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import count, islice, takewhile
from pathlib import Path

import pytest
from born import BornServer, Nursery
from keeper import Keeper
from programs import Strikes, run_programs
from ran import ran
from world import strays

from harness import wait_for
from headrace.crashpoints import POINTS

ROUNDS = int(os.environ.get("HEADRACE_FAULT_ROUNDS", "200"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))


def deaths_to_come(chance: random.Random) -> Iterator[str]:
    """Crash points, each at one of its first passages."""
    while True:
        yield f"{chance.choice(POINTS)}:{chance.randrange(1, 9)}"


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_killed_again_and_again(tmp_path: Path, warm: Nursery) -> None:
    env = {"HEADRACE_STAGING_PROCESSES": "1"}
    server = BornServer(warm, tmp_path / "data", warm_children=True, env=env)
    keeper = Keeper(server, islice(deaths_to_come(random.Random(SEED)), ROUNDS))
    seeds = takewhile(lambda _: keeper.deaths < ROUNDS, count(SEED))
    did = run_programs(keeper, seeds, Strikes(keeper, SEED, 10), pools=1, lanes=8)
    wait_for(lambda: not strays(server.data_dir), 20, "the end of all chunks")
    keeper.close()
    assert keeper.deaths >= ROUNDS
    chunks = f"{did['chunks']:,} acknowledged chunks in {did['jobs']:,} jobs of {did['programs']:,} programs"
    ran("kills at crash points and at random", keeper.deaths, seed=SEED, beside=chunks)
