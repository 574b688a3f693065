"""Programs of pushes, cancels, undos, restarts and kills, several at once, end as the model says.

``HEADRACE_FAULT_PROGRAMS`` of them (100), from the seed ``HEADRACE_FAULT_SEED`` on: one that fails names its
seed, and can be run alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from born import BornServer, nursery
from keeper import Keeper
from programs import run_programs

from counted import counted

PROGRAMS = int(os.environ.get("HEADRACE_FAULT_PROGRAMS", "100"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))


@pytest.mark.timeout(120 + 10 * PROGRAMS)
def test_programs_end_as_in_the_model(tmp_path: Path) -> None:
    with nursery() as warm:
        keeper = Keeper(BornServer(warm, tmp_path / "data", env={"HEADRACE_STAGING_PROCESSES": "1"}))
        did = run_programs(keeper, iter(range(SEED, SEED + PROGRAMS)))
        keeper.close()
    assert did["programs"] == PROGRAMS
    assert did["undone"] and did["cancelled"] and keeper.deaths
    counted(f"programs of {did['jobs']} jobs beside {keeper.deaths} kills, seed {SEED}", PROGRAMS, 0)
