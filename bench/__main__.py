"""The benchmark: ``make bench``. Medians of paired runs, everything side by side on the same files.

Wall seconds of a shared machine mean little alone, so every bar is a ratio of two things that ran in turn
in the same run, or of CPU seconds. Prints the table and writes it to ``docs/performance-run.md``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import httpx

from bench import data
from bench.client import Cost, cost_of
from bench.figures import DOCS, Row, cpu, paired, ratio, run_of, table, wall
from bench.processes import Server, sinks
from bench.pushing import Push, new_pool, tiny_job

RUN_FILE = DOCS / "performance-run.md"


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        files = data.make(
            Path(folder) / "files",
            rows=options.rows,
            delta_rows=options.rows // 10,
            large_bytes=options.large_mb << 20,
        )
        server = Server(Path(folder) / "data")
        try:
            rows = _measure(server, files, Path(folder), options.repeats)
        finally:
            server.stop()
    what = (
        f"{options.rows:,} rows in four CSV chunks, a delta of {options.rows // 10:,}; medians of "
        f"{options.repeats} paired runs"
    )
    page = f"{run_of(what)}\n\n{table(rows)}"
    print(page)
    if options.write:
        RUN_FILE.write_text(page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large-mb", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help=f"write {RUN_FILE.name}")
    return parser.parse_args()


def _measure(server: Server, files: data.Files, folder: Path, repeats: int) -> list[Row]:
    push = Push(server, new_pool(server, "bench"))
    rows = _memory(push, files)
    rows += _uploads(push, files, folder, repeats)
    rows += _loads(push, files, folder, repeats)
    rows += _tiny_jobs(push, repeats)
    rows += _client(push, files, repeats)
    return rows


# -- uploads -------------------------------------------------------------------------------------------


def _uploads(push: Push, files: data.Files, folder: Path, repeats: int) -> list[Row]:
    """CPU of the receiving process per GB: the same file by the same client, one server after the other."""
    gigabytes = files.large.stat().st_size / 1e9
    with sinks(folder) as (url, sink_cpu), httpx.Client(base_url=url, timeout=600) as client:

        def to_sink(path: str, multipart: bool) -> float:
            before = sink_cpu()
            with files.large.open("rb") as file:
                body: dict[str, Any] = {"files": {"file": file}} if multipart else {"content": file}
                client.post(path, **body).raise_for_status()
            return (sink_cpu() - before) / gigabytes

        def to_headrace() -> float:
            job = push.create("upload", tableSchema=None)
            before = push.server.cpu()
            push.send(job, files.large)
            spent = (push.server.cpu() - before) / gigabytes
            push.wait_staged(job)
            push.delete(job)
            return spent

        measured = paired(
            repeats,
            ours=to_headrace,
            raw=lambda: to_sink("/raw", multipart=False),
            hashed=lambda: to_sink("/raw-sha256", multipart=False),
            durable=lambda: to_sink("/raw-durable", multipart=False),
            uploadfile=lambda: to_sink("/uploadfile", multipart=True),
        )
    return [
        ratio("upload, CPU per GB, against a raw-body sink", measured, "ours", "raw", None),
        ratio("upload, against a raw-body sink that hashes too", measured, "ours", "hashed", None),
        ratio("upload, against a raw-body sink that hashes and syncs", measured, "ours", "durable", None),
        ratio("upload, against FastAPI UploadFile (no hash, no sync)", measured, "ours", "uploadfile", None),
    ]


# -- loads ---------------------------------------------------------------------------------------------


def _loads(push: Push, files: data.Files, folder: Path, repeats: int) -> list[Row]:
    plain = duckdb.connect(str(folder / "plain.duckdb"))
    waits: list[float] = []

    def staging() -> float:
        job = push.create("events", type="REPLACE")
        before = push.server.children_cpu()
        push.send_all(job, files.chunks)
        push.wait_staged(job)
        spent = push.server.children_cpu() - before
        waits.append(push.execute(job))
        return spent

    def at_once() -> float:
        job = push.create("events", type="REPLACE", keys=list(data.KEYS))
        push.send_all(job, files.chunks)
        return push.execute(job)

    def delta() -> float:
        job = push.create("events", type="DELTA", keys=list(data.KEYS))
        push.send(job, files.delta)
        push.wait_staged(job)
        return push.execute(job)

    measured = paired(
        repeats,
        staging=staging,
        copy=lambda: cpu(lambda: _plain_copy(plain, files, folder)),
        replace=lambda: waits[-1],
        ctas=lambda: wall(lambda: _plain_ctas(plain, files)),
        at_once=at_once,
        delta=delta,
        plain_delta=lambda: wall(lambda: _plain_delta(plain, files)),
    )
    return [
        ratio("staging, CPU, against DuckDB COPY (read_csv) TO parquet", measured, "staging", "copy", 1.25),
        ratio("REPLACE, execute to DONE, wall, against CTAS", measured, "replace", "ctas", 0.15),
        ratio("REPLACE with keys, executed before it is staged", measured, "at_once", "ctas", None),
        ratio("DELTA, execute to DONE, against DELETE + INSERT", measured, "delta", "plain_delta", 1.0),
    ]


def _plain_copy(db: duckdb.DuckDBPyConnection, files: data.Files, folder: Path) -> None:
    for chunk in files.chunks:
        target = folder / "plain.parquet"
        db.execute(
            f"COPY (FROM {data.read_csv(chunk)}) TO '{target}' "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )


def _plain_ctas(db: duckdb.DuckDBPyConnection, files: data.Files) -> None:
    union = " UNION ALL ".join(f"FROM {data.read_csv(chunk)}" for chunk in files.chunks)
    db.execute(f"CREATE OR REPLACE TABLE events AS {union}")
    db.execute("CHECKPOINT")


def _plain_delta(db: duckdb.DuckDBPyConnection, files: data.Files) -> None:
    db.execute("BEGIN")
    db.execute(f"CREATE OR REPLACE TEMP TABLE delta AS FROM {data.read_csv(files.delta)}")
    keys = " AND ".join(f"events.{key} = delta.{key}" for key in data.KEYS)
    db.execute(f"DELETE FROM events USING delta WHERE {keys}")
    db.execute("INSERT INTO events FROM delta")
    db.execute("COMMIT")
    db.execute("CHECKPOINT")


# -- memory and tiny jobs ------------------------------------------------------------------------------


def _memory(push: Push, files: data.Files) -> list[Row]:
    job = push.create("large", tableSchema=None)
    push.server.forget_peak()
    push.send(job, files.large)
    own, tree = push.server.peak_mb()
    push.wait_staged(job)
    _, staged = push.server.peak_mb()
    push.delete(job)
    size = f"{files.large.stat().st_size / 1e9:.2f} GB"
    return [
        Row(
            f"peak memory while a chunk of {size} arrives, server",
            f"{own:.0f} MB",
            "",
            own,
            "400 MB",
            own < 400,
        ),
        Row("… server and its idle children", f"{tree:.0f} MB", "", tree, "", None),
        Row("… until it is staged as well, all processes", f"{staged:.0f} MB", "", staged, "", None),
    ]


def _tiny_jobs(push: Push, repeats: int, clients: int = 8, jobs: int = 15) -> list[Row]:
    def client(number: int) -> None:
        with httpx.Client(base_url=push.server.url, headers=push.server.headers, timeout=60) as api:
            for _ in range(jobs):
                tiny_job(api, push.pool, f"tiny{number}")

    def rate() -> float:
        start = time.monotonic()
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(client, range(clients)))
        return clients * jobs / (time.monotonic() - start)

    rates = [rate() for _ in range(repeats)]
    value = statistics.median(rates)
    what = f"tiny jobs a second, {clients} clients (create, push, execute, poll)"
    return [Row(what, f"{value:.1f}", "", value, "at least 15", value >= 15)]


# -- the Python client ---------------------------------------------------------------------------------


def _client(push: Push, files: data.Files, repeats: int) -> list[Row]:
    def cost(way: str, file: Path) -> Cost:
        return cost_of(way, push.server.url, push.server.key, push.pool, file)

    measured = paired(
        repeats,
        ours=lambda: cost("ours", files.frame).cpu,
        plain=lambda: cost("plain", files.frame).cpu,
    )
    peak = cost("file", files.large).peak_mb
    size = files.large.stat().st_size / 1e9
    return [
        ratio(
            "the client pushes a pandas frame, CPU, against pyarrow and httpx", measured, "ours", "plain", 1.3
        ),
        Row(
            f"the client's memory while it pushes a file of {size:.1f} GB, MB",
            f"{peak:.0f}",
            "",
            peak,
            "below 300",
            peak < 300,
        ),
    ]


if __name__ == "__main__":
    main()
