"""An installation that has grown for years: ``make many``. Are its lists and its start still quick?

2,000 pools with 10,000 tables, and 100,000 jobs in the ledger, half of them in one pool. Forty pools are
really loaded through the API. The others are copies of those: of their folders, with the catalog told where
its files lie, as a restored backup is, and of the rows of their jobs and chunks under new ids. Then a server
is started on it. Writes ``docs/many-run.md``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.figures import DOCS, Row, at_most, run_of, table
from bench.processes import Server
from bench.pushing import PUSH, new_pool
from headrace.tables.catalogfiles import move

RUN_FILE = DOCS / "many-run.md"
_TABLES = 5
"""In each pool."""

_CALLS = 200

_Job = Mapping[str, Any]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="headrace-many-") as folder:
        data = Path(folder) / "data"
        loaded = _loaded(data, options.loaded)
        pools = loaded + _copied(data, loaded, options.pools - options.loaded)
        jobs = _filled(data, loaded, pools, options.jobs)
        page = _page(data, pools, jobs, options)
    print(page)
    if options.write:
        RUN_FILE.write_text(page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.many")
    parser.add_argument("--pools", type=int, default=2000)
    parser.add_argument("--loaded", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help=f"write {RUN_FILE.name}")
    return parser.parse_args()


# -- what there is -------------------------------------------------------------------------------------


def _loaded(data: Path, pools: int) -> list[str]:
    """Pools whose tables were pushed; answers their ids."""
    server = Server(data)
    try:
        made = [new_pool(server, f"pool {number}") for number in range(pools)]
        jobs = [(pool, _pushed(server, pool, number)) for pool in made for number in range(_TABLES)]
        for pool, job in jobs:
            while server.api.get(f"{PUSH}/{pool}/jobs/{job}").json()["status"] != "DONE":
                time.sleep(0.05)
    finally:
        server.stop()
    return made


def _pushed(server: Server, pool: str, number: int) -> str:
    body = {"targetName": f"table_{number}", "type": "REPLACE", "fileType": "CSV"}
    job = str(server.api.post(f"{PUSH}/{pool}/jobs", json=body).raise_for_status().json()["id"])
    rows = b"id,name\n" + b"".join(b"%d,row %d\n" % (n, n) for n in range(100))
    url = f"{PUSH}/{pool}/jobs/{job}"
    server.api.post(f"{url}/chunks/upserted", files={"file": ("rows.csv", rows)}).raise_for_status()
    server.api.post(url).raise_for_status()
    return job


def _copied(data: Path, loaded: Sequence[str], count: int) -> list[str]:
    """Folders of pools like those that were loaded; a Parquet file is a link, a catalog a file of its own."""
    made = []
    for number in range(count):
        old, new = data / "pools" / loaded[number % len(loaded)], data / "pools" / str(uuid4())
        shutil.copytree(old, new, copy_function=_linked)
        move(new / "catalog.sqlite", new / "data")
        made.append(new.name)
    return made


def _linked(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def _filled(data: Path, loaded: Sequence[str], pools: Sequence[str], jobs: int) -> list[tuple[str, str]]:
    """The rows of the pools that were copied, and of so many jobs; answers pool and id of all jobs."""
    with closing(sqlite3.connect(data / "metadata.sqlite")) as db, db:
        db.row_factory = sqlite3.Row
        _add(db, "pools", _pool_rows(db, loaded, pools))
        there = [dict(row) for row in db.execute("SELECT * FROM jobs")]
        copies = list(_job_rows(there, pools, jobs - len(there)))
        _add(db, "jobs", (job for job, _ in copies))
        chunks = {row["job_id"]: dict(row) for row in db.execute("SELECT * FROM chunks")}
        _add(db, "chunks", (_chunk_of(job, chunks[of]) for job, of in copies))
        return [(row["pool_id"], row["id"]) for row in db.execute("SELECT pool_id, id FROM jobs")]


def _pool_rows(db: sqlite3.Connection, loaded: Sequence[str], pools: Sequence[str]) -> Iterator[_Job]:
    like = dict(db.execute("SELECT * FROM pools WHERE id = ?", [loaded[0]]).fetchone())
    for number, pool in enumerate(pools[len(loaded) :], len(loaded)):
        yield {**like, "id": pool, "name": f"pool {number}"}


def _job_rows(there: Sequence[_Job], pools: Sequence[str], count: int) -> Iterator[tuple[_Job, str]]:
    """Copies of jobs over half a year, every second of them of the first pool, and what each is a copy of."""
    for number in range(count):
        like = there[number % len(there)]
        pool = pools[0] if number % 2 else pools[number % len(pools)]
        moved = timedelta(minutes=number * 180 * 24 * 60 / count)
        times = {name: _earlier(value, moved) for name, value in like.items() if name.endswith("_at")}
        yield {**like, **times, "id": str(uuid4()), "pool_id": pool}, like["id"]


def _earlier(value: str | None, by: timedelta) -> str | None:
    return (datetime.fromisoformat(value) - by).isoformat(" ", "microseconds") if value else None


def _chunk_of(job: _Job, like: _Job) -> _Job:
    return {**like, "id": str(uuid4()), "job_id": job["id"], "pool_id": job["pool_id"]}


def _add(db: sqlite3.Connection, name: str, rows: Iterator[_Job]) -> None:
    columns = [column for _, column, *_ in db.execute(f"PRAGMA table_info({name})")]
    places = ", ".join(f":{column}" for column in columns)
    db.executemany(f"INSERT INTO {name} VALUES ({places})", rows)


# -- what it costs -------------------------------------------------------------------------------------


def _page(
    data: Path, pools: Sequence[str], jobs: Sequence[tuple[str, str]], options: argparse.Namespace
) -> str:
    begin = time.monotonic()
    server = Server(data)
    try:
        rows = [at_most("start, until it is ready, s", "", "", time.monotonic() - begin, 10.0)]
        rows += [_calls(server, what, url) for what, url in _lists(pools, jobs)]
        own, tree = server.peak_mb()
    finally:
        server.stop()
    rows.append(at_most("peak memory of the server, MB", "", "", own, 500.0))
    rows.append(at_most("… and of all its children, MB", "", "", tree, None))
    what = (
        f"{len(pools):,} pools with {len(pools) * _TABLES:,} tables, {len(jobs):,} jobs, half of them in one "
        f"pool; {options.loaded} pools were loaded, the others copied"
    )
    return f"{run_of(what)}\n\n{table(rows)}"


def _lists(
    pools: Sequence[str], jobs: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, Callable[[random.Random], str]]]:
    """What is asked, and how its address is made."""
    large, others = pools[0], pools[1:]
    half = sum(pool == large for pool, _ in jobs) // 2

    def job(chance: random.Random) -> str:
        pool, id = chance.choice(jobs)
        return f"{PUSH}/{pool}/jobs/{id}"

    yield "status of a job", job
    yield "one job with its chunks and logs", lambda c: "/api/v1/pools/{}/jobs/{}".format(*c.choice(jobs))
    yield "the newest 100 jobs of the pool that has most", lambda _: f"/api/v1/pools/{large}/jobs?limit=100"
    yield "100 jobs from its middle", lambda _: f"/api/v1/pools/{large}/jobs?limit=100&offset={half}"
    yield "the jobs of another pool, as the vendor lists them", lambda c: f"{PUSH}/{c.choice(others)}/jobs"
    yield "the tables of a pool", lambda c: f"/api/v1/pools/{c.choice(others)}/tables"
    yield "a page of pools", lambda c: f"/integration/api/pools/paged?limit=100&page={c.randrange(20)}"


def _calls(server: Server, what: str, url: Callable[[random.Random], str]) -> Row:
    chance, seconds = random.Random(7), []
    for _ in range(_CALLS):
        address = url(chance)
        start = time.monotonic()
        server.api.get(address).raise_for_status()
        seconds.append(time.monotonic() - start)
    median, slow = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
    told = f"{1000 * median:.1f} ms, 99 of 100 below {1000 * slow:.0f} ms"
    return at_most(f"{what}, median of {_CALLS} calls, ms", told, "", 1000 * median, 50.0)


if __name__ == "__main__":
    main()
