"""How much two workers do more than one: ``make bench-workers`` prints the table of docs/scale.md.

Jobs wait, one table each, chunks not staged yet; then so many workers begin, each held to a core of its own
as a machine would hold it, and the time counts until the last job is DONE. Metadata and catalogs are in
PostgreSQL, chunks and tables in a folder that all share, or in a store. PostgreSQL, the store and one server
that only answers run beside them on the same cores: what they need is missing to the second worker, so their
CPU is told, too. One and two workers take turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import httpx
import psutil

from harness import RunningWorker, add_chunk, create_job, create_pool, execute, wait_for
from objectstore import ObjectStore
from postgres import Postgres
from scale.installation import environment, installation

KEYED = {"fileType": "CSV", "type": "DELTA", "keys": ["id"]}


class PinnedWorker(RunningWorker):
    """It and its children run on one core."""

    core = 0

    def _launch(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        process = super()._launch(arguments, log)
        psutil.Process(process.pid).cpu_affinity([self.core])  # what it starts later inherits that
        return process


@dataclass(frozen=True)
class Taken:
    """Until all jobs were done; ``workers`` and ``others`` are seconds of CPU."""

    seconds: float
    workers: float
    others: float


def main() -> None:
    options = _options()
    with Postgres() as postgres, ObjectStore() as store:
        for where in ("folder", "store"):
            taken: dict[int, list[Taken]] = {1: [], 2: []}
            for workers in (1, 2) * options.rounds:
                env = {**environment(postgres.database())}
                if where == "store":
                    env |= store.environment(store.place())
                with TemporaryDirectory() as folder:
                    installed = Installed(Path(folder), env, apart=where == "store")
                    taken[workers].append(_taken(installed, workers, options.jobs, options.rows))
            _tell(where, taken, options.jobs * options.rows)


def _tell(where: str, taken: dict[int, list[Taken]], rows: int) -> None:
    print(f"\nChunks and tables in a {where}:\n")
    print("| workers | seconds | rows a second | CPU of the workers, s | CPU of all else, s |")
    print("|---|---|---|---|---|")
    for workers, rounds in taken.items():
        seconds = statistics.median(t.seconds for t in rounds)
        told = ", ".join(f"{t.seconds:.1f}" for t in rounds)
        own, others = (statistics.median(getattr(t, name) for t in rounds) for name in ("workers", "others"))
        print(f"| {workers} | {told} | {rows / seconds:,.0f} | {own:.1f} | {others:.1f} |")
    ratios = [one.seconds / two.seconds for one, two in zip(taken[1], taken[2], strict=True)]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\nTwo do {statistics.median(ratios):.2f} times as much ({each}).", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scale.throughput")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--rows", type=int, default=500_000, help="of each job")
    return parser.parse_args()


@dataclass(frozen=True)
class Installed:
    folder: Path
    env: dict[str, str]
    apart: bool
    """No folder is shared."""

    def of_worker(self, number: int) -> Path:
        return self.folder / (f"data-of-worker-{number}" if self.apart else "data")


def _taken(installed: Installed, workers: int, jobs: int, rows: int) -> Taken:
    chunk = _csv(rows)
    env = installed.env
    url = env["HEADRACE_DATABASE_URL"]
    with (
        installation(installed.folder, url, servers=1, workers=0, apart=installed.apart, **env) as made,
        made.servers[0].client() as api,
    ):
        waiting = [_queued(api, chunk, number) for number in range(jobs)]
        with _working(installed, workers) as (began, cpu):
            all_before, before = _busy(), cpu()
            ends = [
                wait_for(partial(_ended, api, *job), 600, "the end of a job", every=1.0) for job in waiting
            ]
            own = cpu() - before
            return Taken(max(ends) - began, own, _busy() - all_before - own)


def _busy() -> float:
    """Seconds that the cores of this machine have worked."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


def _queued(api: httpx.Client, chunk: bytes, number: int) -> tuple[str, str]:
    pool = create_pool(api, f"pool {number}")
    job = str(create_job(api, pool, f"t{number}", **KEYED)["id"])
    assert add_chunk(api, pool, job, chunk).is_success
    assert execute(api, pool, job).is_success
    return pool, job


@contextmanager
def _working(installed: Installed, number: int) -> Iterator[tuple[float, Callable[[], float]]]:
    """The moment at which the first of them was ready, and the CPU of all.

    What the other still needs to be ready counts against it.
    """
    workers = [
        PinnedWorker(installed.of_worker(n), env=installed.env, name=f"worker-{n}") for n in range(number)
    ]
    for core, worker in enumerate(workers):
        worker.core = core
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        ready = [threads.submit(_ready, worker) for worker in workers]
        for worker in workers:
            stack.callback(worker.stop)
        yield min(moment.result() for moment in ready), lambda: sum(map(_cpu, workers))


def _ready(worker: PinnedWorker) -> float:
    worker.start()
    return time.time()


def _cpu(worker: PinnedWorker) -> float:
    """Of it and of its children, those that have ended, too."""
    assert worker.process
    process = psutil.Process(worker.process.pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _ended(api: httpx.Client, pool: str, job: str) -> float | None:
    """When the job ended, as the worker wrote it: asked rarely, for each question takes CPU."""
    shown = api.get(f"/api/v1/pools/{pool}/jobs/{job}").json()
    assert shown["status"] != "ERROR", shown["logs"]
    return datetime.fromisoformat(shown["finishedAt"]).timestamp() if shown["finishedAt"] else None


def _csv(rows: int) -> bytes:
    chance = random.Random(rows)
    lines = (
        f"{n},customer {n % 5000},{chance.randrange(10**6) / 100},2024-01-{n % 28 + 1:02d}\n"
        for n in range(rows)
    )
    return ("id,name,amount,day\n" + "".join(lines)).encode()


if __name__ == "__main__":
    main()
