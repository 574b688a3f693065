"""How much two workers do more than one: ``make bench-workers`` prints the table of docs/scale.md.

Jobs wait, one table each, chunks not staged yet; then so many workers begin, each held to a core of its own
as a machine would hold it, and the time counts until the last job is DONE. Metadata and catalogs are in
PostgreSQL, chunks and tables in a store, no folder is shared. PostgreSQL, the store and one server that only
answers run beside them on the same cores: what they need is missing to the second worker. One and two workers
take turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import httpx
import psutil

from harness import FINAL, RunningWorker, add_chunk, create_job, create_pool, execute, wait_for
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


def main() -> None:
    options = _options()
    with Postgres() as postgres, ObjectStore() as store:
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for workers in (1, 2) * options.rounds:
            with TemporaryDirectory() as folder:
                env = {**environment(postgres.database()), **store.environment(store.place())}
                seconds[workers].append(_taken(Path(folder), env, workers, options.jobs, options.rows))
    rows = options.jobs * options.rows
    print("| workers | seconds | rows a second |\n|---|---|---|")
    for workers, taken in seconds.items():
        told = ", ".join(f"{s:.1f}" for s in taken)
        print(f"| {workers} | {told} | {rows / statistics.median(taken):,.0f} |")
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    print(
        f"\nTwo do {statistics.median(ratios):.2f} times as much ({', '.join(f'{r:.2f}' for r in ratios)})."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scale.throughput")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--rows", type=int, default=500_000, help="of each job")
    return parser.parse_args()


def _taken(folder: Path, env: dict[str, str], workers: int, jobs: int, rows: int) -> float:
    chunk = _csv(rows)
    url = env["HEADRACE_DATABASE_URL"]
    with (
        installation(folder, url, servers=1, workers=0, apart=True, **env) as made,
        made.servers[0].client() as api,
    ):
        waiting = [_queued(api, chunk, number) for number in range(jobs)]
        with _working(folder, env, workers) as began:
            wait_for(lambda: all(_is_done(api, *job) for job in waiting), 600, "all jobs", every=0.2)
            return time.monotonic() - began


def _queued(api: httpx.Client, chunk: bytes, number: int) -> tuple[str, str]:
    pool = create_pool(api, f"pool {number}")
    job = str(create_job(api, pool, f"t{number}", **KEYED)["id"])
    assert add_chunk(api, pool, job, chunk).is_success
    assert execute(api, pool, job).is_success
    return pool, job


@contextmanager
def _working(folder: Path, env: dict[str, str], number: int) -> Iterator[float]:
    """The moment at which the first of them was ready; what the other still needs then counts against it."""
    workers = [
        PinnedWorker(folder / f"data-of-worker-{n}", env=env, name=f"worker-{n}") for n in range(number)
    ]
    for core, worker in enumerate(workers):
        worker.core = core
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        ready = [threads.submit(_ready, worker) for worker in workers]
        for worker in workers:
            stack.callback(worker.stop)
        yield min(moment.result() for moment in ready)


def _ready(worker: PinnedWorker) -> float:
    worker.start()
    return time.monotonic()


def _is_done(api: httpx.Client, pool: str, job: str) -> bool:
    status = api.get(f"/integration/api/v1/data-push/{pool}/jobs/{job}").json()["status"]
    assert status != "ERROR"
    return status in FINAL


def _csv(rows: int) -> bytes:
    chance = random.Random(rows)
    lines = (
        f"{n},customer {n % 5000},{chance.randrange(10**6) / 100},2024-01-{n % 28 + 1:02d}\n"
        for n in range(rows)
    )
    return ("id,name,amount,day\n" + "".join(lines)).encode()


if __name__ == "__main__":
    main()
