"""Many clients, servers and workers while all of them, and the database, die again and again.

``HEADRACE_STORM_JOBS`` says how many jobs are pushed: 200 by ``make test-scale``, else none. A model says
what the tables must be: each client upserts and deletes rows of its own, appends rows that are counted, and
replaces tables that nobody else writes to. So the order among clients does not matter, but every job counts,
and once.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import PUSH, create_pool
from objectstore import ObjectStore
from postgres import Postgres
from scale.installation import Installation, installation

JOBS = int(os.environ.get("HEADRACE_STORM_JOBS", "0"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))
LONG = JOBS >= 100
CLIENTS, TABLES, PROCESSES = (8, 20, 3) if LONG else (3, 4, 2)
PATIENCE_S = 240.0
"""How long a job may take: its worker may die several times."""

Rows = list[tuple[str, str]]


class Refused(httpx.TransportError):
    """The server, or what it needs, was going down or coming up."""


class Balanced:
    """A client of all servers, one after the other; what has no answer raises TransportError."""

    def __init__(self, made: Installation, start: int) -> None:
        self._made = made
        self._turns = count(start)
        self._header = {"Authorization": f"AppKey {made.servers[0].admin_key}"}

    def call(self, method: str, path: str, **more: Any) -> Any:
        server = self._made.servers[next(self._turns) % len(self._made.servers)]
        reply = httpx.request(
            method, server.url + path, headers=self._header, timeout=60, trust_env=False, **more
        )
        if reply.status_code == 503:
            raise Refused(reply.text)
        assert reply.status_code == 200, (reply.status_code, reply.text)
        return reply.json() if reply.content else None


@dataclass
class Push:
    """One job: its chunks, and how far the client has come with it."""

    table: str
    type: str
    keyed: bool
    chunks: list[tuple[str, Rows]]
    id: str | None = None


@dataclass
class Model:
    keyed: dict[str, dict[str, str]] = field(default_factory=dict)
    appended: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)

    def apply(self, push: Push) -> None:
        if not push.keyed:
            rows = self.appended.setdefault(push.table, Counter())
            rows.update(row for _, chunk in push.chunks for row in chunk)
            return
        if push.type == "REPLACE":
            self.keyed[push.table] = {}
        table = self.keyed.setdefault(push.table, {})
        for kind, chunk in push.chunks:
            for key, value in chunk:
                if kind == "upserted":
                    table[key] = value
                else:
                    table.pop(key, None)


class Client:
    """Pushes its jobs one after the other; whatever had no answer is looked up before it is sent again."""

    def __init__(self, number: int, api: Balanced, pool: str) -> None:
        self._number, self._api, self._pool = number, api, pool
        self._chance = random.Random(f"{SEED}-{number}")
        self.model = Model()

    def run(self, jobs: int) -> None:
        for _ in range(jobs):
            push = self._random()
            self._through(push)
            self.model.apply(push)

    def _through(self, push: Push) -> None:
        until = time.monotonic() + PATIENCE_S
        while not self._step(push):
            assert time.monotonic() < until, f"the job {push.id} does not end"

    def _step(self, push: Push) -> bool:
        """True when the job is DONE."""
        jobs = f"{PUSH}/{self._pool}/jobs"
        try:
            if push.id is None:
                keys = ["k"] if push.keyed else None
                body = {"targetName": push.table, "type": push.type, "fileType": "CSV", "keys": keys}
                push.id = self._api.call("POST", jobs, json=body)["id"]
            shown = self._api.call("GET", f"{jobs}/{push.id}")
            assert shown["status"] != "ERROR", shown["logs"]
            if shown["status"] == "NEW":
                self._send(push, f"{jobs}/{push.id}")
                self._api.call("POST", f"{jobs}/{push.id}")
            return bool(shown["status"] == "DONE")
        except httpx.TransportError:
            return False

    def _send(self, push: Push, job: str) -> None:
        stored = len(self._api.call("GET", f"{job}/chunks"))
        for kind, rows in push.chunks[stored:]:
            data = "".join(f"{k},{v}\n" for k, v in [("k", "v"), *rows]).encode()
            self._api.call("POST", f"{job}/chunks/{kind}", files={"file": ("rows.csv", data)})

    def _random(self) -> Push:
        chance = self._chance
        rows = [(self._key(), str(chance.randrange(10**6))) for _ in range(chance.randrange(1, 40))]
        upserts = [("upserted", part) for part in (rows[::2], rows[1::2]) if part]
        match chance.randrange(4):
            case 0:
                return Push(f"own{self._number}", "REPLACE", True, upserts)
            case 1:
                return Push(f"appended{chance.randrange(TABLES // 4)}", "DELTA", False, upserts)
            case _:
                deletes = [("deleted", [(self._key(), "") for _ in range(5)])]
                return Push(f"keyed{chance.randrange(TABLES // 2)}", "DELTA", True, [*upserts, *deletes])

    def _key(self) -> str:
        return f"c{self._number}-{self._chance.randrange(60)}"


@contextmanager
def storm(made: Installation, database: Postgres, ended: threading.Event) -> Iterator[Counter[str]]:
    """Until the end of the block; answers how often what died."""
    chance, deaths = random.Random(SEED), Counter[str]()

    def rage() -> None:
        while not ended.wait(chance.uniform(0.5, 4.0)):
            if deaths["database"] < 2 and sum(deaths.values()) % 4 == 3:
                database.stop()
                database.start()
                deaths["database"] += 1
                continue
            victim = chance.choice(made.processes)
            victim.kill()
            victim.start(timeout=120)
            deaths["server" if victim in made.servers else "worker"] += 1

    with ThreadPoolExecutor(1) as pool:
        raging = pool.submit(rage)
        try:
            yield deaths
        finally:
            ended.set()
            raging.result()


@pytest.mark.skipif(not JOBS, reason="minutes; its short form is a death of processes at random")
@pytest.mark.timeout(120 + 20 * JOBS)
def test_a_storm(tmp_path: Path, object_store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    env = object_store.environment(object_store.place())
    with (
        Postgres() as database,
        installation(tmp_path, database.database(), servers=PROCESSES, workers=PROCESSES, **env) as made,
    ):
        with made.servers[0].client() as api:
            pool = create_pool(api)
        clients = [Client(number, Balanced(made, number), pool) for number in range(CLIENTS)]
        started, ended = time.monotonic(), threading.Event()
        with storm(made, database, ended) as deaths, ThreadPoolExecutor(CLIENTS) as threads:
            shares = [JOBS // CLIENTS + (number < JOBS % CLIENTS) for number in range(CLIENTS)]
            for running in [threads.submit(c.run, n) for c, n in zip(clients, shares, strict=True)]:
                running.result()
            seconds = time.monotonic() - started
        for server in made.servers:
            with server.client() as api:
                compare(api, pool, clients)
    with capsys.disabled():
        print(f"\n{JOBS} jobs of {CLIENTS} clients in {seconds:.0f} s, deaths: {dict(deaths)} (seed {SEED})")


def compare(api: httpx.Client, pool: str, clients: list[Client]) -> None:
    keyed: dict[str, dict[str, str]] = {}
    appended: dict[str, Counter[tuple[str, str]]] = {}
    for client in clients:
        for table, rows in client.model.keyed.items():
            keyed.setdefault(table, {}).update(rows)
        for table, counted in client.model.appended.items():
            appended.setdefault(table, Counter()).update(counted)
    wanted = {table: Counter(rows.items()) for table, rows in keyed.items()} | appended
    shown = {table["name"] for table in api.get(f"/api/v1/pools/{pool}/tables").json()}
    assert shown == set(wanted)
    for table, rows in wanted.items():
        reply = api.post(f"/api/v1/pools/{pool}/sql", json={"sql": f"SELECT k, v FROM {table}"})
        assert reply.status_code == 200, reply.text
        found = Counter((k, v) for k, v in reply.json()["rows"])
        assert found == rows, (table, found - rows, rows - found)
