"""A table under a thousand small pushes: ``make growth``. Does the last one cost what the first did?

Each push has 1,000 rows, half of them updates of keys anywhere in the table, half of them new. Afterwards
the same rows are loaded afresh into another pool, and reading and disk are compared with that. Upkeep runs as
it does by default, in between and by itself. Writes ``docs/growth-run.md``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench import data
from bench.figures import DOCS, Row, at_most, run_of, table
from bench.processes import Server
from bench.pushing import Push, new_pool

RUN_FILE = DOCS / "growth-run.md"
_NEW = 40_000_000
"""The numbers of new keys begin here."""

_ENDS = 20
"""So many pushes at the beginning and at the end are compared."""

_SCAN = (
    "SELECT count(*), count(DISTINCT resource), sum(quantity), sum(cost), max(ts), "
    "max(_CELONIS_CHANGE_DATE), count(DISTINCT activity), sum(flag::INT), max(d), max(case_id) FROM events"
)


@dataclass(frozen=True)
class Point:
    """One push: its CPU seconds in all processes of the server, and what lies on the disk after it."""

    push: int
    cpu: float
    wall: float
    files: int
    bytes: int


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="headrace-growth-") as folder:
        server = Server(Path(folder) / "data")
        try:
            page = _page(server, Path(folder), options)
        finally:
            server.stop()
    print(page)
    if options.write:
        RUN_FILE.write_text(page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.growth")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--pushes", type=int, default=1000)
    parser.add_argument("--push-rows", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help=f"write {RUN_FILE.name}")
    return parser.parse_args()


def _page(server: Server, folder: Path, options: argparse.Namespace) -> str:
    grown, fresh = (Push(server, new_pool(server, name)) for name in ("grown", "fresh"))
    with _chunks(folder, options.rows) as chunks:
        grown.load("events", chunks, type="REPLACE")
    points = list(_pushes(grown, folder, options))
    with _exported(grown, folder) as chunks:
        fresh.load("events", chunks, type="REPLACE")
    assert grown.query(_COUNT) == fresh.query(_COUNT)
    rows = [_cost_of_pushes(points), _cost_of_scans(grown, fresh), _disk(grown, fresh)]
    what = (
        f"{options.pushes:,} pushes of {options.push_rows:,} rows, half of them updates, "
        f"into a table of {options.rows:,}"
    )
    return f"{run_of(what)}\n\n{table(rows)}\n{_course(points)}"


_COUNT = "SELECT count(*), sum(quantity), sum(cost) FROM events"


@contextmanager
def _chunks(folder: Path, rows: int) -> Iterator[list[Path]]:
    db, part = duckdb.connect(), rows // 4
    paths = [folder / f"base{n}.csv" for n in range(4)]
    for n, path in enumerate(paths):
        numbers = f"SELECT range AS i FROM range({n * part}, {(n + 1) * part})"
        data.copy_events(db, numbers, path, seed=0)
    yield paths
    for path in paths:
        path.unlink()


def _pushes(push: Push, folder: Path, options: argparse.Namespace) -> Iterator[Point]:
    db, path, half = duckdb.connect(), folder / "push.csv", options.push_rows // 2
    for n in range(options.pushes):
        there = options.rows + n * half
        old = f"SELECT hash(range, {n}) % {there} AS k FROM range({half})"
        numbers = (
            f"SELECT DISTINCT CASE WHEN k < {options.rows} THEN k ELSE k - {options.rows} + {_NEW} END AS i "
            f"FROM ({old}) UNION ALL SELECT range FROM range({_NEW + n * half}, {_NEW + (n + 1) * half})"
        )
        data.copy_events(db, numbers, path, seed=n + 1)
        yield _pushed(push, path, n + 1)


def _pushed(push: Push, path: Path, number: int) -> Point:
    before = push.server.tree_cpu()
    job = push.create("events", type="DELTA", keys=list(data.KEYS))
    push.send(job, path)
    seconds = push.execute(job, every=0.05)
    cpu = push.server.tree_cpu() - before
    files = [file.stat().st_size for file in _files(push)] if number % 100 == 0 or number == 1 else []
    return Point(number, cpu, seconds, len(files), sum(files))


def _files(push: Push) -> Sequence[Path]:
    folder = push.server.data_dir / "pools" / push.pool
    return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def _exported(push: Push, folder: Path) -> Iterator[list[Path]]:
    """The rows of the table as they are now, in four CSV chunks."""
    whole, db = folder / "whole.parquet", duckdb.connect()
    url = f"/api/v1/pools/{push.pool}/tables/events/export?format=parquet"
    with push.server.api.stream("GET", url) as reply, whole.open("wb") as out:
        reply.raise_for_status()
        for part in reply.iter_bytes():
            out.write(part)
    paths = [folder / f"fresh{n}.csv" for n in range(4)]
    columns = ", ".join(data.COLUMNS)
    for n, path in enumerate(paths):
        db.execute(
            f"COPY (SELECT {columns} FROM '{whole}' WHERE hash(case_id) % 4 = {n}) TO '{path}' (FORMAT csv)"
        )
    yield paths
    for path in (*paths, whole):
        path.unlink()


# -- figures -------------------------------------------------------------------------------------------


def _cost_of_pushes(points: Sequence[Point]) -> Row:
    first, last = (statistics.median(p.cpu for p in some) for some in (points[:_ENDS], points[-_ENDS:]))
    what = f"a push, CPU: the last {_ENDS} against the first {_ENDS}"
    return at_most(what, f"{1000 * last:.0f} ms", f"{1000 * first:.0f} ms", last / first, 1.5)


def _cost_of_scans(grown: Push, fresh: Push, rounds: int = 7) -> Row:
    def cpu(push: Push) -> float:
        before = push.server.tree_cpu()
        push.query(_SCAN)
        return push.server.tree_cpu() - before

    for push in (grown, fresh):
        push.query(_SCAN)  # starts its process
    both = [(cpu(grown), cpu(fresh)) for _ in range(rounds)]
    ours, theirs = (statistics.median(some) for some in zip(*both, strict=True))
    value = statistics.median(one / other for one, other in both)
    what = "a scan of all columns, CPU, against a fresh load"
    return at_most(what, f"{ours:.2f} s", f"{theirs:.2f} s", value, 1.5)


def _disk(grown: Push, fresh: Push) -> Row:
    ours, theirs = (sum(file.stat().st_size for file in _files(push)) for push in (grown, fresh))
    what = "disk, every version of the run included, against a fresh load"
    return at_most(what, f"{ours / 1e6:.0f} MB", f"{theirs / 1e6:.0f} MB", ours / theirs, 1.5)


def _course(points: Sequence[Point]) -> str:
    """How it went: medians of 20 pushes up to each point."""
    lines = ["| push | CPU | execute to DONE | files | disk |", "|---|---|---|---|---|"]
    for point in points:
        if point.files:
            near = points[max(0, point.push - _ENDS) : point.push]
            cpu, wall = (
                1000 * statistics.median(some) for some in zip(*((p.cpu, p.wall) for p in near), strict=True)
            )
            disk = f"{point.files:,} | {point.bytes / 1e6:.0f} MB"
            lines.append(f"| {point.push:,} | {cpu:.0f} ms | {wall:.0f} ms | {disk} |")
    spent = sum(point.cpu for point in points)
    return "\n".join(lines) + f"\n\nAll pushes together, upkeep included: {spent:.0f} s of CPU.\n"


if __name__ == "__main__":
    main()
