"""Half of all answers are lost, and requests are sent again until one arrives: each has its effect once.

``HEADRACE_LOST_OPERATIONS`` creates, chunks and executes (400), ``HEADRACE_FAULT_SEED`` to see a run again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from cutting import Cutting
from ran import ran
from world import strays

from harness import PUSH, RunningServer, create_pool, sql, wait_for

OPERATIONS = int(os.environ.get("HEADRACE_LOST_OPERATIONS", "400"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))

CHUNKS, TABLES = 2, 4
JOBS = -(-OPERATIONS // (CHUNKS + 2))


class Insisting:
    """Sends a request until it is answered, under the same key."""

    def __init__(self, api: httpx.Client) -> None:
        self._api = api
        self.sent = 0

    def post(self, path: str, key: str, **more: Any) -> httpx.Response:
        while True:
            self.sent += 1
            try:
                reply = self._api.post(path, headers={"Idempotency-Key": key}, **more)
            except httpx.TransportError:
                continue
            assert reply.status_code == 200, (reply.status_code, reply.text)
            return reply


def push(asking: Insisting, pool: str, number: int) -> None:
    """A job of two chunks, whose rows say where they come from."""
    jobs = f"{PUSH}/{pool}/jobs"
    body = {"targetName": f"t{number % TABLES}", "type": "DELTA", "fileType": "CSV"}
    job = asking.post(jobs, f"create {number}", json=body).json()["id"]
    for chunk in range(CHUNKS):
        data = f"job,chunk\n{number},{chunk}\n".encode()
        asking.post(f"{jobs}/{job}/chunks/upserted", f"send {chunk}", files={"file": ("rows.csv", data)})
    asking.post(f"{jobs}/{job}", "execute")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "data") as running:
        yield running


@pytest.mark.timeout(120 + OPERATIONS)
def test_each_operation_has_its_effect_once(server: RunningServer) -> None:
    cutting = Cutting(server.url, SEED, 0.5)
    with server.client() as api, cutting.running() as url, server.client(base_url=url) as cut:
        pool, asking = create_pool(api), Insisting(cut)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: push(asking, pool, number), range(JOBS)))
        wait_for(lambda: not unfinished(api, pool), 120, "the end of all jobs", every=0.2)
        assert Counter(statuses(api, pool)) == {"DONE": JOBS}
        expected = {(str(job), str(chunk)) for job in range(JOBS) for chunk in range(CHUNKS)}
        for table in range(TABLES):
            rows = [tuple(row) for row in sql(api, pool, f"SELECT job, chunk FROM t{table}")]
            assert sorted(rows) == sorted(pair for pair in expected if int(pair[0]) % TABLES == table)
        wait_for(lambda: not strays(server.data_dir), 20, "the end of all chunks")
    assert asking.sent - JOBS * (CHUNKS + 2) == cutting.cut > JOBS
    operations, lost = JOBS * (CHUNKS + 2), f"{cutting.cut:,} lost answers"
    ran("creates, chunks and executes under a key", operations, seed=SEED, beside=lost)


def statuses(api: httpx.Client, pool: str) -> list[str]:
    found: list[str] = []
    while page := api.get(f"/api/v1/pools/{pool}/jobs?limit=1000&offset={len(found)}").json():
        found += [job["status"] for job in page]
    return found


def unfinished(api: httpx.Client, pool: str) -> bool:
    return not {"DONE", "ERROR"}.issuperset(statuses(api, pool))
