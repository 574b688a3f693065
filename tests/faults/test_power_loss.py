"""A loss of power at any moment: whatever was synced is there, of all else some, and the promises hold.

A small push is recorded by strace, from the first start of the server on. Then disks are made as a loss of
power may have left them, and a server is started on each. ``HEADRACE_POWER_LOSSES`` of them (12),
``HEADRACE_FAULT_SEED`` to see a run again.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import httpx
import psutil
import pytest
from born import BornServer, Nursery
from ran import ran
from recording import COMMAND, Replay, calls, differences, put
from test_crash_points import APPEND, DELTA, REPLACE
from world import APPENDED, KEYED, Job, World

from harness import RunningServer, create_pool, own_job, run_job, wait_for

LOSSES = int(os.environ.get("HEADRACE_POWER_LOSSES", "12"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))
ENV = {"HEADRACE_STAGING_PROCESSES": "1"}

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace")


class Traced(RunningServer):
    """Everything that it and its children do to files goes to ``record``."""

    @property
    def record(self) -> Path:
        return self.data_dir.parent / "record"

    def _launch(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [*COMMAND, "-o", str(self.record), self.python, "-m", "headrace", *arguments]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **self.env})


@dataclass
class Asked:
    """One request after the other, and what was answered."""

    replies: list[httpx.Response] = field(default_factory=list)

    def client(self, server: RunningServer) -> httpx.Client:
        return server.client(event_hooks={"response": [self._heard]})

    def _heard(self, reply: httpx.Response) -> None:
        reply.read()
        self.replies.append(reply)


@dataclass
class Recorded:
    record: Path
    data_dir: Path
    pool: str
    asked: Asked
    jobs: list[Job]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A first start, three jobs that are loaded and one that waits."""
    server, asked = Traced(tmp_path_factory.mktemp("power") / "data", env=ENV).start(), Asked()
    jobs = [Job(job.table, job.type, job.keys, job.chunks) for job in (REPLACE, APPEND, DELTA)]
    with asked.client(server) as api:
        world = World(server, create_pool(api))
        for job in jobs:
            world.step(job, api)
        jobs.append(Job(APPENDED, APPEND.type, APPEND.keys, APPEND.chunks))
        jobs[-1].id = api.post(world.jobs, json={"targetName": APPENDED, "type": "DELTA"}).json()["id"]
        world._send(jobs[-1], api)
    tracers = [p for p in psutil.process_iter(["cmdline"]) if str(server.record) in (p.info["cmdline"] or [])]
    server.stop()
    psutil.wait_procs(tracers, timeout=60)
    return Recorded(server.record, server.data_dir, world.pool, asked, jobs)


def replayed(recorded: Recorded) -> Iterator[tuple[Replay, int, bool]]:
    """After each call: the disk, how many requests were answered, whether the call changed anything."""
    answers: list[bytes] = []
    replay = Replay(recorded.data_dir, answers.append)
    for call in calls(recorded.record):
        yield replay, len(answers), replay.tell(call)


def test_the_record_is_what_lies_there(recorded: Recorded) -> None:
    """Nothing that was done to files has escaped it; of what is memory between processes it knows nothing."""
    *_, (replay, answers, _) = replayed(recorded)
    assert answers == len(recorded.asked.replies)
    assert [d for d in differences(replay.disk) if not d.endswith("-shm")] == []


def test_a_chunk_is_synced_before_its_answer(recorded: Recorded) -> None:
    """Its bytes, its name, and the names of its folders."""
    waiting, seen = [data for job in recorded.jobs for data in as_sent(job)], 0
    for replay, answers, _ in replayed(recorded):
        if answers == seen:
            continue
        seen = answers
        asked = recorded.asked.replies[seen - 1].request
        if asked.method == "POST" and "/chunks/" in asked.url.path:
            durable = replay.disk.only_what_is_synced(random.Random())
            job = asked.url.path.split("/")[-3]
            assert waiting.pop(0) in [data for path, data in durable.items() if path.parent.name == job]
    assert len(waiting) == 1  # of the last job, which was not pushed to its end


@pytest.mark.timeout(120 + 20 * LOSSES)
def test_whenever_power_is_lost(recorded: Recorded, warm: Nursery) -> None:
    chance = random.Random(SEED)
    changes = sum(changed for *_, changed in replayed(recorded))
    moments = sorted(chance.sample(range(changes), min(LOSSES, changes)))
    number = -1
    for replay, answers, changed in replayed(recorded):
        number += changed
        if changed and moments and number == moments[0]:
            moments.pop(0)
            disk = replay.disk
            lost = chance.choice([disk.only_what_is_synced, disk.all_but_the_end, disk.some])
            put(lost(chance), disk.root)
            try:
                promises_hold(recorded, answers, warm)
            except BaseException as error:
                error.add_note(f"after change {number} of {changes}, {lost}")
                raise
    ran("losses of power in a small push", min(LOSSES, changes), seed=SEED, beside=f"{changes:,} changes")


def promises_hold(recorded: Recorded, answers: int, warm: Nursery) -> None:
    """What was answered is so; of what was asked last, and of nothing else, it may be so or not."""
    told = [(r.request.method, r.request.url.path, r.text) for r in recorded.asked.replies[:answers]]
    posts = [(path, text) for method, path, text in told if method == "POST"]
    with BornServer(warm, recorded.data_dir, env=dict(ENV)) as server, server.client() as api:
        if not posts:
            create_pool(api)
            return
        pool, world = recorded.pool, World(server, recorded.pool)
        for job in recorded.jobs:
            if any(str(job.id) in text for _, text in posts):
                chunks = sum(f"{job.id}/chunks/" in path for path, _ in posts)
                executed = any(path.endswith(str(job.id)) for path, _ in posts)
                as_promised(api, world, job, chunks, executed)
        world.check(api)
        more = run_job(api, pool, KEYED, [b"k,v\nnew,1\n"], type="DELTA", keys=["k"], fileType="CSV")
        assert more["status"] == "DONE", more["logs"]


def as_promised(api: httpx.Client, world: World, job: Job, chunks: int, executed: bool) -> None:
    """So many of its chunks were acknowledged, perhaps its execution, too."""

    def settled() -> dict[str, Any] | None:
        shown = own_job(api, world.pool, str(job.id))
        return shown if shown["status"] not in ("QUEUED", "RUNNING") else None

    shown = wait_for(settled, 60, "the end of the job")
    sums = [sha256(data).hexdigest() for data in as_sent(job)]
    assert [c["sha256"] for c in shown["chunks"]][:chunks] == sums[:chunks]
    assert shown["status"] == "DONE" or (not executed and shown["status"] == "NEW"), shown["logs"]
    if shown["status"] == "DONE":
        world.apply(job)


def as_sent(job: Job) -> list[bytes]:
    return ["".join(f"{k},{v}\n" for k, v in [("k", "v"), *rows]).encode() for _, rows in job.chunks]
