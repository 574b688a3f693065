"""Programs of pushes, cancels, undos, restarts and kills, several at once, end as the model says.

``HEADRACE_FAULT_PROGRAMS`` of them (100), from the seed ``HEADRACE_FAULT_SEED`` on: one that fails names its
seed, and can be run alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from born import BornServer, Nursery
from keeper import Keeper
from programs import Strikes, run_programs
from ran import ran

PROGRAMS = int(os.environ.get("HEADRACE_FAULT_PROGRAMS", "100"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))


@pytest.mark.timeout(120 + 10 * PROGRAMS)
def test_programs_end_as_in_the_model(tmp_path: Path, warm: Nursery) -> None:
    env = {"HEADRACE_STAGING_PROCESSES": "1"}
    keeper = Keeper(BornServer(warm, tmp_path / "data", warm_children=True, env=env))
    did = run_programs(keeper, iter(range(SEED, SEED + PROGRAMS)), Strikes(keeper, SEED, 100))
    keeper.close()
    assert did["programs"] == PROGRAMS
    assert did["undone"] and did["cancelled"] and keeper.deaths
    jobs = f"{did['jobs']:,} jobs, {did['undone']:,} undos, {did['cancelled']:,} cancels"
    ran("programs beside a model", PROGRAMS, seed=SEED, beside=f"{jobs}, {keeper.deaths:,} kills")
