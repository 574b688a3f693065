"""Headrace beside others on the same files: ``make peers``. Writes ``docs/performance-peers.md``.

In every round the server and each of the others take the same steps, one after the other, the others in a
process of their own (``bench/engines.py``). A ratio is the median of the rounds' ratios. CPU is that of all
processes of each; memory is the peak of the server with all of its children, summed, though they do not peak
at once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import httpx

from bench import data
from bench.engines import COPY, CSV, DELETES, DELTA, MERGE, PARQUET, PARSE, SMALL, Cost, Files
from bench.figures import DOCS, Row, at_least, at_most, run_of, table
from bench.processes import Server, sinks
from bench.pushing import Push, new_pool, tiny_job

RUN_FILE = DOCS / "performance-peers.md"
_OTHERS = ("DuckDB", "PostgreSQL", "delta-rs", "polars", "chdb")
_STAGING, _EXECUTE = "staging", "execute"
_KEYED, _LATER = "parquet, duplicates looked for", "delta, three times the rows"
_NEW = 40_000_000

Costs = dict[str, Cost]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="headrace-peers-") as name:
        folder = Path(name)
        files = _files(folder / "files", options)
        server = Server(folder / "data")
        try:
            page = _page(server, files, folder, options)
        finally:
            server.stop()
    print(page)
    if options.write:
        RUN_FILE.write_text(page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.peers")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--others", nargs="*", default=_OTHERS, choices=_OTHERS)
    parser.add_argument("--large-mb", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help=f"write {RUN_FILE.name}")
    return parser.parse_args()


def _files(folder: Path, options: argparse.Namespace) -> Files:
    """A table in four CSV and four Parquet chunks, twice as many rows more, and what changes it."""
    folder.mkdir()
    db, rows = duckdb.connect(), options.rows
    for n in range(12):
        numbers = f"SELECT range AS i FROM range({n * rows // 4}, {(n + 1) * rows // 4})"
        name = f"base{n}" if n < 4 else f"more{n}"
        data.copy_events(db, numbers, folder / f"{name}.parquet", seed=0)
        if n < 4:
            data.copy_events(db, numbers, folder / f"{name}.csv", seed=0)
    data.copy_events(db, _mixed(rows, rows // 10, _NEW), folder / "delta.csv", seed=77)
    data.copy_events(db, f"SELECT range * 90 AS i FROM range({rows // 100})", folder / "deletes.csv", seed=0)
    for n in range(50):
        numbers = _mixed(rows, rows // 1000, 2 * _NEW + n * rows, start=n)
        data.copy_events(db, numbers, folder / f"small{n:02}.csv", seed=100 + n)
    with (folder / "large.csv").open("wb") as out:
        while out.tell() < options.large_mb << 20:
            out.write((folder / "base0.csv").read_bytes())
        out.truncate(options.large_mb << 20)
    return Files(folder)


def _mixed(rows: int, count: int, new: int, start: int = 0) -> str:
    """Half of them are there, anywhere in the table, and half are not."""
    half = count // 2
    return (
        f"SELECT range * {rows // half} + {start} AS i FROM range({half}) "
        f"UNION ALL SELECT range FROM range({new}, {new + half})"
    )


def _page(server: Server, files: Files, folder: Path, options: argparse.Namespace) -> str:
    rounds: list[dict[str, Costs]] = []
    for number in range(options.repeats):
        costs = {"Headrace": _ours(server, files)}
        for other in options.others:
            costs[other] = _theirs(other, files, folder / f"{other}-{number}")
        rounds.append(costs)
        print(f"round {number + 1}: {costs}", file=sys.stderr, flush=True)
    rows = _loads(rounds, options.rows)
    rows += _uploads(server, files, folder, options.repeats)
    rows += [_tiny_jobs(server, clients) for clients in (1, 8, 32)]
    what = (
        f"{options.rows:,} rows in four chunks, {_size(files.csv)} of CSV or {_size(files.parquet)} of "
        f"Parquet, a delta of {options.rows // 10:,}; medians of {options.repeats} paired rounds"
    )
    return f"{run_of(what)}\n\n{table(rows)}\n{_all_costs(rounds)}"


def _size(paths: Sequence[Path]) -> str:
    return f"{sum(path.stat().st_size for path in paths) / 1e6:,.0f} MB"


# -- the steps -----------------------------------------------------------------------------------------


def _theirs(other: str, files: Files, where: Path) -> Costs:
    where.mkdir()
    command = [sys.executable, "-m", "bench.engines", other, str(files.folder), str(where)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    subprocess.run(["rm", "-rf", str(where)], check=True)
    return {what: Cost(**cost) for what, cost in json.loads(ran.stdout.splitlines()[-1]).items()}


def _ours(server: Server, files: Files) -> Costs:
    push = Push(server, new_pool(server, "bench"))
    more = sorted(files.folder.glob("more*.parquet"))
    costs: Costs = {}
    for what, paths, spec in (
        (CSV, files.csv, {"type": "REPLACE"}),
        (PARQUET, files.parquet, {"type": "REPLACE", "fileType": "PARQUET"}),
        (_KEYED, files.parquet, {"type": "REPLACE", "fileType": "PARQUET"}),
        (DELTA, [files.delta], {"type": "DELTA"}),
        (DELETES, [files.deletes], {"type": "DELTA"}),
    ):
        costs |= _pushed(push, what, paths, "deleted" if what is DELETES else "upserted", **spec)
    costs[SMALL] = _cost(server, lambda: _small_deltas(push, files.small))
    push.load("t", [*files.parquet, *more], type="REPLACE", fileType="PARQUET")
    costs |= _pushed(push, _LATER, [files.delta], type="DELTA")
    server.api.delete(f"/integration/api/pools/{push.pool}").raise_for_status()
    return costs


def _pushed(push: Push, what: str, paths: Sequence[Path], kind: str = "upserted", **spec: object) -> Costs:
    """The whole from the last byte of each chunk to DONE, what of it is staging, what comes after execute."""
    server, keys = push.server, list(data.KEYS)
    server.forget_peak()
    job = push.create("t", **{"keys": keys if what not in (CSV, PARQUET) else None, **spec})
    staged = server.children_cpu()
    for path in paths:
        push.send(job, path, kind)
    push.wait_staged(job)
    staged = server.children_cpu() - staged
    execute = _cost(server, lambda: push.execute(job, every=0.01))
    _, peak = server.peak_mb()
    return {
        what: Cost(staged + execute.cpu, execute.wall, peak),
        f"{what}, {_STAGING}": Cost(staged, 0.0, peak),
        f"{what}, {_EXECUTE}": Cost(execute.cpu, execute.wall, peak),
    }


def _small_deltas(push: Push, paths: Sequence[Path]) -> None:
    for path in paths:
        push.load("t", [path], type="DELTA")


def _cost(server: Server, work: Callable[[], object]) -> Cost:
    cpu, wall = server.tree_cpu(), time.monotonic()
    work()
    cpu, wall = server.tree_cpu() - cpu, time.monotonic() - wall
    return Cost(cpu, wall, server.peak_mb()[1])


# -- figures -------------------------------------------------------------------------------------------


def _loads(rounds: Sequence[dict[str, Costs]], rows: int) -> list[Row]:
    lines = [
        (
            "staging the CSV, CPU, against DuckDB's COPY to Parquet",
            f"{CSV}, {_STAGING}",
            "DuckDB",
            COPY,
            1.15,
        ),
        ("REPLACE, CSV: execute to DONE, CPU, against CTAS", f"{CSV}, {_EXECUTE}", "DuckDB", CSV, 0.05),
        ("REPLACE, CSV: received to DONE, CPU, against CTAS", CSV, "DuckDB", CSV, 1.0),
        ("… against reading the CSV alone", CSV, "DuckDB", PARSE, None),
        ("… against PostgreSQL's COPY", CSV, "PostgreSQL", CSV, None),
        ("… against polars, scan_csv to Parquet", CSV, "polars", CSV, None),
        ("… against chdb, MergeTree", CSV, "chdb", CSV, None),
        ("REPLACE, Parquet: received to DONE, CPU, against CTAS", PARQUET, "DuckDB", PARQUET, None),
        ("… against delta-rs, write", PARQUET, "delta-rs", PARQUET, None),
        ("… against chdb, MergeTree", PARQUET, "chdb", PARQUET, None),
        (
            "DELTA: execute to DONE, CPU, against DELETE and INSERT",
            f"{DELTA}, {_EXECUTE}",
            "DuckDB",
            DELTA,
            0.75,
        ),
        ("DELTA: received to DONE, CPU, against DELETE and INSERT", DELTA, "DuckDB", DELTA, None),
        ("… against DuckDB's MERGE", DELTA, "DuckDB", MERGE, None),
        ("… against delta-rs, merge", DELTA, "delta-rs", DELTA, 0.25),
        ("… against PostgreSQL, INSERT ON CONFLICT", DELTA, "PostgreSQL", DELTA, 0.12),
        ("… against polars, anti join and a new file", DELTA, "polars", DELTA, None),
        ("deletions by key: received to DONE, CPU, against DuckDB", DELETES, "DuckDB", DELETES, None),
        ("50 small deltas, CPU, against DuckDB", SMALL, "DuckDB", SMALL, None),
        ("… against PostgreSQL", SMALL, "PostgreSQL", SMALL, None),
    ]
    found = [_against(rounds, *line) for line in lines if line[2] in rounds[0]]
    later = statistics.median(
        r["Headrace"][f"{_LATER}, {_EXECUTE}"].cpu / r["Headrace"][f"{DELTA}, {_EXECUTE}"].cpu for r in rounds
    )
    found.append(
        at_most(
            f"the delta into {3 * rows:,} rows against {rows:,}: execute to DONE, CPU", "", "", later, 2.0
        )
    )
    for what in (CSV, PARQUET, _KEYED, DELTA, DELETES, SMALL, _LATER):
        peak = max(r["Headrace"][what].peak_mb for r in rounds)
        found.append(at_most(f"peak memory, all processes, MB: {what}", f"{peak:.0f} MB", "", peak, 500))
    return found


def _against(
    rounds: Sequence[dict[str, Costs]], what: str, ours: str, other: str, theirs: str, bar: float | None
) -> Row:
    pairs = [(r["Headrace"][ours].cpu, r[other][theirs].cpu) for r in rounds]
    one, two = (f"{statistics.median(some):.2f} s" for some in zip(*pairs, strict=True))
    return at_most(what, one, two, statistics.median(a / b for a, b in pairs), bar)


def _all_costs(rounds: Sequence[dict[str, Costs]]) -> str:
    """Every step of everybody: medians."""
    lines = ["| who | step | CPU | wall | peak memory |", "|---|---|---|---|---|"]
    for who, steps in rounds[0].items():
        for what in steps:
            costs = [r[who][what] for r in rounds]
            cpu, wall, peak = (
                statistics.median(getattr(cost, name) for cost in costs)
                for name in ("cpu", "wall", "peak_mb")
            )
            lines.append(f"| {who} | {what} | {cpu:.2f} s | {wall:.2f} s | {peak:.0f} MB |")
    return "\n".join(lines) + "\n"


def _uploads(server: Server, files: Files, folder: Path, repeats: int) -> list[Row]:
    """CPU of the receiving process: one large chunk, and eight at once."""
    push, large = Push(server, new_pool(server, "uploads")), files.folder / "large.csv"
    part = folder / "part.csv"
    with large.open("rb") as source:
        part.write_bytes(source.read(large.stat().st_size // 10))

    def ours(paths: Sequence[Path]) -> float:
        job = push.create("upload", tableSchema=None)
        before = server.cpu()
        push.send_all(job, paths)
        spent = server.cpu() - before
        push.delete(job)
        return spent

    with sinks(folder) as (url, cpu), httpx.Client(base_url=url, timeout=600) as client:

        def sink(paths: Sequence[Path]) -> float:
            before = cpu()
            with ThreadPoolExecutor(len(paths)) as threads:
                list(threads.map(lambda path: _to_sink(client, path), paths))
            return cpu() - before

        cases = (
            (f"an upload of {_size([large])}", [large]),
            (f"8 uploads of {_size([part])} at once", [part] * 8),
        )
        measured = [(what, [(ours(paths), sink(paths)) for _ in range(repeats)]) for what, paths in cases]
    return [
        at_most(
            f"{what}, CPU of the receiver, against a raw-body sink that hashes too",
            f"{statistics.median(one for one, _ in pairs):.2f} s",
            f"{statistics.median(two for _, two in pairs):.2f} s",
            statistics.median(one / two for one, two in pairs),
            1.25,
        )
        for what, pairs in measured
    ]


def _to_sink(client: httpx.Client, path: Path) -> None:
    with path.open("rb") as file:
        client.post("/raw-sha256", content=file).raise_for_status()


def _tiny_jobs(server: Server, clients: int, jobs: int = 240) -> Row:
    """Create, push 10 rows, execute, poll until DONE: each client has a table of its own in one pool."""
    pool = new_pool(server, f"tiny {clients}")

    def client(number: int) -> None:
        with httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as api:
            for _ in range(jobs // clients):
                tiny_job(api, pool, f"tiny{number}")

    before, start = server.tree_cpu(), time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(client, range(clients)))
    done = jobs // clients * clients
    rate, cost = done / (time.monotonic() - start), (server.tree_cpu() - before) / done
    what = f"tiny jobs a second, clients: {clients}"
    told = f"{rate:.1f}, {1000 * cost:.0f} ms of CPU each"
    return at_least(what, told, rate, 40) if clients == 8 else at_most(what, told, "", rate, None)


if __name__ == "__main__":
    main()
