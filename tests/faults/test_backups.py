"""Backups that are taken at random moments of a server at work, and restored: each is of one moment.

``HEADRACE_FAULT_BACKUPS`` of them (3), ``HEADRACE_FAULT_SEED`` to see a run again.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event, Lock
from typing import Any

import httpx
import pytest
from born import BornServer, Nursery
from ran import ran

from commands.running import done
from harness import FINAL, add_chunk, create_job, create_pool, execute, sql, wait_for, wait_for_job

BACKUPS = int(os.environ.get("HEADRACE_FAULT_BACKUPS", "3"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))
PUSHERS, ROWS = 4, 50
CSV: dict[str, Any] = {"fileType": "CSV", "type": "DELTA"}


class Ledger:
    """The model: which jobs were begun to be executed, and which are known to be DONE."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.executed: set[str] = set()
        self.done: set[str] = set()

    def add(self, to: set[str], job: str) -> None:
        with self._lock:
            to.add(job)

    def now(self) -> tuple[set[str], set[str]]:
        with self._lock:
            return set(self.executed), set(self.done)


def pushing(api: httpx.Client, pool: str, ledger: Ledger, ended: Event) -> None:
    """Each row of a job bears its number, and the job that of the pusher in its label."""
    for number in count():
        if ended.is_set():
            return
        job = create_job(api, pool, f"t{number % 2}", **CSV)["id"]
        assert add_chunk(api, pool, job, b"job\n" + f"{job}\n".encode() * ROWS).status_code == 200
        ledger.add(ledger.executed, job)
        assert execute(api, pool, job).status_code == 200
        assert wait_for_job(api, pool, job)["status"] == "DONE"
        ledger.add(ledger.done, job)


@pytest.mark.timeout(120 + 30 * BACKUPS)
def test_at_random_moments(tmp_path: Path, warm: Nursery) -> None:
    chance, ended, ledger = random.Random(SEED), Event(), Ledger()
    moments = []
    with BornServer(warm, tmp_path / "data") as server, server.client() as api:
        pool = create_pool(api)
        with ThreadPoolExecutor(PUSHERS) as threads:
            pushers = [threads.submit(pushing, api, pool, ledger, ended) for _ in range(PUSHERS)]
            try:
                for number in range(BACKUPS):
                    jobs = len(ledger.now()[1]) + chance.randrange(1, 12)
                    wait_for(lambda jobs=jobs: len(ledger.now()[1]) >= jobs, 120, "more jobs")
                    before = ledger.now()[1]
                    done("backup", str(tmp_path / f"b{number}"), "--data-dir", str(server.data_dir))
                    moments.append((before, ledger.now()[0]))
            finally:
                ended.set()
            for pusher in pushers:
                pusher.result()
    for number, (before, after) in enumerate(moments):
        data = tmp_path / f"restored{number}"
        done("restore", str(tmp_path / f"b{number}"), "--data-dir", str(data))
        with BornServer(warm, data) as restored, restored.client() as api:
            assert before <= as_of_one_moment(api, pool) <= after
    ran("backups of a server at work, restored", BACKUPS, seed=SEED, beside=f"{len(ledger.done)} jobs")


def as_of_one_moment(api: httpx.Client, pool: str) -> set[str]:
    """What was executed ends in DONE; the tables have these jobs' rows once and no others. The jobs."""

    def jobs() -> dict[str, str]:
        return {j["id"]: j["status"] for j in api.get(f"/api/v1/pools/{pool}/jobs?limit=1000").json()}

    wait_for(lambda: {"NEW", *FINAL} >= set(jobs().values()), 60, "the end of all jobs")
    assert "ERROR" not in jobs().values()
    done = {job for job, status in jobs().items() if status == "DONE"}
    rows: Counter[str] = Counter()
    for table in api.get(f"/api/v1/pools/{pool}/tables").json():
        found = sql(api, pool, f"SELECT job, count(*) FROM {table['name']} GROUP BY job")
        rows.update({job: number for job, number in found})
    assert rows == {job: ROWS for job in done}
    return done
