"""Many jobs and readers on a few lakes at once, for as long as one likes; the tables are what the model says.

New columns, mirrors, deletes, both upsert strategies, REPLACE, tables of growing decimals and upkeep at every
third load, while other threads list tables and versions, query and export. The server must not end, no
answer may be a 5xx, and every table must at last be that of the model.

``HEADRACE_SOAK_ROUNDS`` jobs for each of the four pushers (6), ``HEADRACE_SOAK_SEED`` to see a run again.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from randomjobs import DELETE, as_body, as_parquet, assert_same_rows, random_job

from counted import counted
from engine import model_of_loads as model
from engine.model_of_loads import Model, Unspecified
from harness import (
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    own_job,
    parquet,
    wait_for,
    wait_for_job,
)
from headrace.model import JobStatus

ROUNDS = int(os.environ.get("HEADRACE_SOAK_ROUNDS", "6"))
SEED = int(os.environ.get("HEADRACE_SOAK_SEED", "20261124"))

LAKES, PUSHERS_A_LAKE, READERS = 2, 2, 3


# -- who pushes ----------------------------------------------------------------------------------------


@dataclass
class Pusher:
    """Pushes to tables of its own, one job after the other, beside a model of them."""

    api: httpx.Client
    pool: str
    name: str
    chance: random.Random
    expected: Model = field(default_factory=Model)
    jobs: int = 0

    @property
    def tables(self) -> list[str]:
        return [f"{self.name}{n}" for n in range(4)]

    def push(self) -> None:
        if self.chance.random() < 0.15:
            self._push_decimals()
        else:
            self._push_job(random_job(self.chance, self.tables))

    def _push_job(self, job: model.Job) -> None:
        try:
            outcome = self.expected.apply(job)
        except Unspecified:
            return
        spec = job.spec
        id = create_job(self.api, self.pool, spec.target_name, **as_body(spec))["id"]
        for chunk in job.chunks:
            kind = "deleted" if chunk.type is DELETE else "upserted"
            reply = add_chunk(self.api, self.pool, id, as_parquet(chunk), kind)
            assert reply.status_code == 200, reply.text
        assert execute(self.api, self.pool, id).status_code == 200
        ended = wait_for_job(self.api, self.pool, id, 300)
        self.jobs += 1
        assert ended["status"] == outcome.status, (ended["logs"], job, outcome)
        if outcome.status is JobStatus.DONE:
            for ref in spec.targets:
                self.check(ref.name)

    def check(self, name: str) -> None:
        """The table holds the rows of the model, each as often."""
        if not (table := self.expected.tables.get(name.casefold())):
            return
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        assert_same_rows(self._sql(f'SELECT {names} FROM "{table.name}"'), table)

    def _push_decimals(self) -> None:
        """Two jobs at once on a table of fifty decimals; the second widens what the first makes."""
        rows = {n: [Decimal(self.chance.randrange(10**n)).scaleb(-2) for _ in range(5)] for n in (6, 18)}
        table = f"{self.name}-wide"
        jobs = []
        for digits, values in rows.items():
            type = "REPLACE" if digits == 6 else "DELTA"
            jobs.append(
                create_job(self.api, self.pool, table, type=type, fileType="PARQUET", keys=["id"])["id"]
            )
            column = pa.array(values, pa.decimal128(digits, 2))
            data = parquet(
                pa.table({"id": range(digits, digits + 5), **{f"d{n}": column for n in range(50)}})
            )
            assert add_chunk(self.api, self.pool, jobs[-1], data).status_code == 200
        for job in jobs:  # what is staged later has the types of the table as it is then
            wait_for(lambda job=job: self._staged(job), 300, "the chunks to be staged")
        for job in jobs:
            assert execute(self.api, self.pool, job).status_code == 200
            self.jobs += 1
        for job in jobs:
            ended = wait_for_job(self.api, self.pool, job, 300)
            assert ended["status"] == "DONE", ended["logs"]
        [[count, first, last]] = self._sql(f'SELECT count(*), sum(d0), sum(d49) FROM "{table}"')
        assert (count, Decimal(first), Decimal(last)) == (10, *[sum(map(sum, rows.values()))] * 2)

    def _staged(self, job: str) -> bool:
        return all(chunk["state"] == "staged" for chunk in own_job(self.api, self.pool, job)["chunks"])

    def _sql(self, text: str) -> list[list[Any]]:
        reply = self.api.post(
            f"/api/v1/pools/{self.pool}/sql", json={"sql": text, "timeoutSeconds": 30}, timeout=120
        )
        assert reply.status_code == 200, reply.text
        rows: list[list[Any]] = reply.json()["rows"]
        assert not reply.json()["truncated"]
        return rows


# -- who reads -----------------------------------------------------------------------------------------


def read_on(api: httpx.Client, pools: Sequence[str], chance: random.Random, over: threading.Event) -> int:
    """Looks at this and that until all is pushed; answers how often. Nothing may be a 5xx."""
    looks = 0
    while not over.is_set():
        pool = f"/api/v1/pools/{chance.choice(pools)}"
        tables = api.get(f"{pool}/tables")
        assert tables.status_code == 200, tables.text
        for table in chance.sample(tables.json(), min(2, len(tables.json()))):
            reply = _look(api, pool, table, chance)
            # a query or an export may find every process busy
            assert reply.status_code in (200, 422), (reply.request.url, reply.status_code, reply.text)
            looks += 1
    return looks


def _look(api: httpx.Client, pool: str, table: dict[str, Any], chance: random.Random) -> httpx.Response:
    name = table["name"]
    looks: list[Callable[[], httpx.Response]] = [
        lambda: api.get(f"{pool}/tables/{name}"),
        lambda: api.get(f"{pool}/tables/{name}/export", params={"format": chance.choice(FORMATS)}),
        lambda: api.post(f"{pool}/sql", json={"sql": f'SELECT count(*) FROM "{name}"'}),
        lambda: api.post(f"{pool}/sql", json={"sql": f'SELECT * FROM "{name}" ORDER BY ALL LIMIT 10'}),
    ]
    return chance.choice(looks)()


FORMATS = ("csv", "parquet", "ndjson", "arrow")


# -- the soak ------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    env = {
        "HEADRACE_UPKEEP_LOADS": "3",
        "HEADRACE_KEEP_VERSIONS_DAYS": "0.0001",
        "HEADRACE_LOAD_WORKERS": "4",
        "HEADRACE_STAGING_PROCESSES": "2",
        "PYTHONFAULTHANDLER": "1",
    }
    with RunningServer(tmp_path / "data", env=env) as running:
        yield running


@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_many_jobs_and_readers_at_once(server: RunningServer) -> None:
    process = server.process
    assert process is not None
    over = threading.Event()
    with server.client(timeout=120) as api, ThreadPoolExecutor(16) as threads:
        pools = [create_pool(api, f"lake {n}") for n in range(LAKES)]
        pushers = [
            Pusher(api, pool, f"p{n}t", random.Random(f"{SEED} {pool_number} {n}"))
            for pool_number, pool in enumerate(pools)
            for n in range(PUSHERS_A_LAKE)
        ]
        readers = [
            threads.submit(read_on, api, pools, random.Random(f"{SEED} r{n}"), over) for n in range(READERS)
        ]
        try:
            pushed = [threads.submit(_push_all, pusher) for pusher in pushers]
            for future in pushed:
                future.result()
        finally:
            over.set()
        looks = sum(reader.result() for reader in readers)
        for pusher in pushers:
            for name in pusher.tables:
                pusher.check(name)
    assert process.poll() is None, server.log[-5000:]
    assert "Fatal Python error" not in server.log
    assert '"level": "error"' not in server.log, [
        line for line in server.log.splitlines() if '"level": "error"' in line
    ][:3]
    jobs = sum(pusher.jobs for pusher in pushers)
    assert all(pusher.jobs for pusher in pushers) and looks
    counted(f"soak: {jobs} jobs, {looks} looks beside them, seed {SEED}", jobs, 0)


def _push_all(pusher: Pusher) -> None:
    for _ in range(ROUNDS):
        pusher.push()
