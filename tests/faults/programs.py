"""Programs of pushes, cancels, undos and deaths of the server, each beside a model of its tables.

A program is made of its seed alone. Many run at once against one server, each with tables of its own, and
a strike meets all of them: whatever had no answer is sent again under its key.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import cycle, islice, permutations
from threading import Lock
from typing import Any

import httpx
from keeper import Keeper
from randomjobs import DELETE, as_body, as_parquet, assert_same_rows, random_job

from engine import model_of_loads as model
from engine.model_of_loads import Chunk, Model, Table, Unspecified
from harness import FINAL, PUSH, wait_for
from headrace.model import JobStatus

UNDO, CANCEL = 0.25, 0.15
"""How likely a step of a program is an undo, and a push is cancelled."""


class Strikes:
    """Kills and restarts, each of which meets all programs that run: one every ``steps`` steps or so."""

    def __init__(self, keeper: Keeper, seed: int, steps: int) -> None:
        self._keeper = keeper
        self._chance = random.Random(seed)
        self._steps = steps
        self._strikes = cycle([keeper.kill, keeper.restart, keeper.kill])
        self._counting = Lock()
        self._left = self._gap()

    def step(self) -> None:
        """A program has done one more."""
        with self._counting:
            self._left -= 1
            if self._left:
                return
            self._left = self._gap()
            strike = next(self._strikes)
        strike()

    def _gap(self) -> int:
        return self._chance.randint(self._steps // 2, self._steps * 3 // 2)


@dataclass
class Pushed:
    """A job that is DONE, and each table that it changed: before and after."""

    id: str
    targets: set[str]
    changed: dict[str, tuple[Table | None, Table]]


@dataclass
class Program:
    keeper: Keeper
    pool: str
    seed: int
    did: Counter[str] = field(default_factory=Counter)
    """How often it did what."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.tables = [f"p{self.seed}t{n}" for n in range(4)]
        self.expected = Model()
        self.pushed: list[Pushed] = []

    def run(self, strikes: Strikes) -> None:
        try:
            for _ in range(self.chance.randrange(2, 6)):
                self.step()
                strikes.step()
            self.check()
        except BaseException as error:
            error.add_note(f"in the program of seed {self.seed}")
            raise

    def step(self) -> None:
        if self.chance.random() < UNDO and self.pushed:
            self.undo(self.chance.choice(self.pushed[-3:]))
        else:
            self.push(random_job(self.chance, self.tables))

    # -- pushes ----------------------------------------------------------------------------------------

    def push(self, job: model.Job) -> None:
        if not self._is_specified(job):
            return
        body = {"targetName": job.spec.target_name, **as_body(job.spec)}
        id = self._told("POST", self._jobs, json=body, headers=self._key())["id"]
        job = self._sent(id, job)
        self._told("POST", f"{self._jobs}/{id}", headers=self._key())
        cancels = self.chance.random() < CANCEL
        if cancels:
            assert self.keeper.ask("POST", f"{self._own}/{id}/cancel").status_code in (200, 202, 409)
        ended = self._ended(id)
        if cancels and ended["errorCode"] == "cancelled":
            self.did["cancelled"] += 1
            if self.chance.random() < 0.5:
                id = self._retried(id)
                ended = self._ended(id)
        self._compare(ended, job)

    def _is_specified(self, job: model.Job) -> bool:
        """In whatever order its chunks come."""
        for chunks in permutations(job.chunks):
            try:
                Model(dict(self.expected.tables), self.expected.jobs).apply(replace(job, chunks=chunks))
            except Unspecified:
                return False
        return True

    def _sent(self, id: str, job: model.Job) -> model.Job:
        """All chunks at once; the job with them in the order of their arrival."""
        by_hash: dict[str, Chunk] = {}
        sends = []
        for chunk in job.chunks:
            data = as_parquet(chunk)
            by_hash[sha256(data).hexdigest()] = chunk
            kind = "deleted" if chunk.type is DELETE else "upserted"
            sends.append((f"{self._jobs}/{id}/chunks/{kind}", data, self._key()))
        with ThreadPoolExecutor(len(sends)) as threads:
            list(threads.map(lambda send: self._send(*send), sends))
        stored = [c["sha256"] for c in self._told("GET", f"{self._own}/{id}")["chunks"]]
        assert Counter(stored) == Counter(sha256(data).hexdigest() for _, data, _ in sends), "lost, or twice"
        self.did["chunks"] += len(stored)
        return replace(job, chunks=tuple(by_hash[hash] for hash in stored))

    def _send(self, path: str, data: bytes, key: dict[str, str]) -> None:
        reply = self.keeper.ask("POST", path, files={"file": ("rows.parquet", data)}, headers=key)
        assert reply.status_code == 200, (reply.status_code, reply.text)

    def _ended(self, id: str) -> dict[str, Any]:
        def ended() -> bool:
            return self._told("GET", f"{self._jobs}/{id}")["status"] in FINAL

        wait_for(ended, 600, f"the end of {id}", every=0.05, slower=1.3)
        shown: dict[str, Any] = self._told("GET", f"{self._own}/{id}")
        return shown

    def _retried(self, id: str) -> str:
        reply = self.keeper.ask("POST", f"{self._own}/{id}/retry")
        if reply.status_code == 409:  # its answer was lost
            return str(self._told("GET", f"{self._own}/{id}")["retriedBy"])
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def _compare(self, ended: dict[str, Any], job: model.Job) -> None:
        """How the job has ended with how the model says that it does."""
        self.did["jobs"] += 1
        if ended["errorCode"] == "cancelled":
            return
        before = dict(self.expected.tables)
        outcome = self.expected.apply(job)
        assert (ended["status"], ended["errorCode"]) == (outcome.status, outcome.code), ended["logs"]
        assert list(ended["counts"].values()) == list(asdict(outcome.counts).values()), ended["logs"]
        if outcome.status is JobStatus.DONE:
            now = self.expected.tables.items()
            changed = {n: (before.get(n), t) for n, t in now if before.get(n) != t}
            targets = {ref.name.casefold() for ref in job.spec.targets}
            self.pushed.append(Pushed(ended["id"], targets, changed))

    # -- undos -----------------------------------------------------------------------------------------

    def undo(self, pushed: Pushed) -> None:
        reply = self.keeper.ask("POST", f"{self._own}/{pushed.id}/undo", headers=self._key())
        newer = self.pushed[self.pushed.index(pushed) + 1 :]
        if reply.status_code == 409:  # one that changed nothing may stand in the way, too
            assert any(pushed.targets & other.targets for other in newer), reply.text
            return
        assert reply.status_code == 200, reply.text
        self.did["undone"] += 1
        self.pushed.remove(pushed)
        for name, (before, after) in pushed.changed.items():
            assert self.expected.tables.pop(name) == after, "a newer job had changed it"
            if before:
                self.expected.tables[name] = before

    # -- what is there ---------------------------------------------------------------------------------

    def check(self) -> None:
        shown = self._told("GET", f"/api/v1/pools/{self.pool}/tables")
        ours = {t["name"].casefold() for t in shown} & set(self.tables)
        assert ours == set(self.expected.tables)
        for table in self.expected.tables.values():
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            query = {"sql": f'SELECT {names} FROM "{table.name}"', "timeoutSeconds": 30}
            answer = self._told("POST", f"/api/v1/pools/{self.pool}/sql", json=query)
            assert_same_rows(answer["rows"], table)
            self.did["tables"] += 1

    # -- requests --------------------------------------------------------------------------------------

    def _told(self, method: str, path: str, **more: Any) -> Any:
        return told(self.keeper.ask(method, path, **more))

    def _key(self) -> dict[str, str]:
        return {"Idempotency-Key": f"{self.chance.getrandbits(64):x}"}

    @property
    def _jobs(self) -> str:
        return f"{PUSH}/{self.pool}/jobs"

    @property
    def _own(self) -> str:
        return f"/api/v1/pools/{self.pool}/jobs"


def told(reply: httpx.Response) -> Any:
    assert reply.is_success, (reply.request.url, reply.status_code, reply.text)
    return reply.json() if reply.content else None


# -- many programs -------------------------------------------------------------------------------------


def run_programs(
    keeper: Keeper, seeds: Iterator[int], strikes: Strikes, *, pools: int = 4, lanes: int = 10
) -> Counter[str]:
    """All of them, in so many pools at once so many; answers how often what was done.

    Those that run when there is a first difference are the last.
    """
    did: Counter[str] = Counter()
    taking, failed = Lock(), []

    def batch() -> list[int]:
        with taking:
            return [] if failed else list(islice(seeds, 4 * lanes))

    def run(pool: str, seed: int) -> None:
        if failed:
            return
        program = Program(keeper, pool, seed)
        try:
            program.run(strikes)
        except BaseException:
            failed.append(seed)
            raise
        with taking:
            did.update(program.did, programs=1)

    def one_pool_after_the_other() -> None:
        while of_pool := batch():
            with _pool(keeper, f"programs from {of_pool[0]}") as pool, ThreadPoolExecutor(lanes) as threads:
                list(threads.map(partial(run, pool), of_pool))

    with ThreadPoolExecutor(pools) as threads:
        for ended in [threads.submit(one_pool_after_the_other) for _ in range(pools)]:
            ended.result()
    return did


@contextmanager
def _pool(keeper: Keeper, name: str) -> Iterator[str]:
    pools = "/integration/api/pools"
    pool = told(keeper.ask("POST", pools, json={"name": name}))["id"]
    yield pool
    assert keeper.ask("DELETE", f"{pools}/{pool}").status_code in (200, 404)
