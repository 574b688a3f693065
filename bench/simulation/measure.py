"""Measures what steps cost on this machine: ``python -m bench.simulation.measure`` writes ``measured.json``.

CPU seconds as the system counts them, of the server's own process for requests and loads, of its children for
staging; a load's are from execute to DONE, with the polls taken off.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from bench.processes import Server
from bench.pushing import Push
from bench.simulation.costs import MEASURED

TINY = 100
"""Repetitions of what takes milliseconds."""
BASES = (200_000, 1_000_000, 4_000_000)
"""Rows of the tables that deltas go to."""
DELTAS = (10_000, 200_000)
ROUNDS = 3

SCHEMA = {
    "columns": [
        {"columnName": "id", "columnType": "INTEGER"},
        {"columnName": "name", "columnType": "STRING"},
        {"columnName": "amount", "columnType": "FLOAT", "decimals": 2},
        {"columnName": "day", "columnType": "DATE"},
    ]
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-measure-") as folder:
        server = Server(Path(folder) / "data")
        try:
            pool = server.api.post("/integration/api/pools", json={"name": "measure"}).json()["id"]
            seconds = Measuring(Push(server, pool), Path(folder)).all()
        finally:
            server.stop()
    told = {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seconds": {name: round(value, 6) for name, value in seconds.items()},
    }
    MEASURED.write_text(json.dumps(told, indent=2) + "\n")
    print(MEASURED.read_text())


class Measuring:
    def __init__(self, push: Push, folder: Path) -> None:
        self.push = push
        self.server = push.server
        self.folder = folder

    def all(self) -> dict[str, float]:
        request = self._request()
        create, receive, stage, load = self._tiny(request)
        receive_gb, stage_million = self._large(receive, stage)
        delta_million, scan_million = self._deltas(load, request)
        return {
            "request": request,
            "create": create,
            "receive": receive,
            "receive_gb": receive_gb,
            "stage": stage,
            "stage_million": stage_million,
            "load": load,
            "delta_million": delta_million,
            "scan_million": scan_million,
        }

    def _request(self) -> float:
        job = self._create("request", keys=[])
        before = self.server.cpu()
        for _ in range(5 * TINY):
            self.push.status(job)
        return (self.server.cpu() - before) / (5 * TINY)

    def _tiny(self, request: float) -> tuple[float, float, float, float]:
        chunk = self._csv(10, 1)
        spent: dict[str, float] = dict.fromkeys(("create", "receive", "stage", "load"), 0.0)
        for _ in range(TINY):
            before = self.server.cpu()
            job = self._create("tiny", keys=[], type="REPLACE")
            created = self.server.cpu()
            children = self.server.children_cpu()
            self.push.send(job, chunk)
            looks = self._staged(job)
            received = self.server.cpu() - looks * request
            spent["stage"] += self.server.children_cpu() - children
            spent["create"] += created - before
            spent["receive"] += received - created
            spent["load"] += self._load(job, request)
        create, receive, stage, load = (total / TINY for total in spent.values())
        return create, receive, stage, load

    def _large(self, receive: float, stage: float) -> tuple[float, float]:
        """A chunk of two million rows: what it costs beyond a tiny one's."""
        rows = 2_000_000
        chunk = self._csv(rows, rows)
        received, staged = [], []
        for _ in range(ROUNDS):
            job = self._create("large", keys=[])
            before, children = self.server.cpu(), self.server.children_cpu()
            self.push.send(job, chunk)
            received.append(self.server.cpu() - before - receive)
            self._staged(job)
            staged.append(self.server.children_cpu() - children - stage)
            self.push.delete(job)
        gigabytes = chunk.stat().st_size / 1e9
        return statistics.median(received) / gigabytes, statistics.median(staged) / (rows / 1e6)

    def _deltas(self, load: float, request: float) -> tuple[float, float]:
        """Least squares over tables and deltas of several sizes: seconds = load + delta * d + scan * b."""
        sizes, seconds = [], []
        for base in BASES:
            table = f"base{base}"
            job = self._create(table, keys=["id"], type="REPLACE")
            self.push.send(job, self._csv(base, base))
            self._staged(job)
            self._load(job, request)
            for rows in DELTAS * ROUNDS:
                job = self._create(table, keys=["id"], type="DELTA")
                self.push.send(job, self._csv(rows, base))
                self._staged(job)
                seconds.append(self._load(job, request) - load)
                sizes.append((rows / 1e6, base / 1e6))
        (delta, scan), *_ = np.linalg.lstsq(np.array(sizes), np.array(seconds), rcond=None)
        return float(delta), float(scan)

    # -- steps --------------------------------------------------------------------------------------------

    def _create(self, table: str, **spec: Any) -> str:
        return self.push.create(table, tableSchema=SCHEMA, **spec)

    def _staged(self, job: str) -> int:
        """Waits; how often it looked."""
        return _until(lambda: all(c["state"] != "received" for c in self.push.detail(job)["chunks"]))

    def _load(self, job: str, request: float) -> float:
        before = self.server.cpu()
        self.push.start(job)
        looks = _until(lambda: self.push.status(job) == "DONE")
        return self.server.cpu() - before - looks * request

    def _csv(self, rows: int, most: int) -> Path:
        """Rows with keys below ``most``, each once."""
        path = self.folder / f"{rows}-{most}.csv"
        if not path.exists():
            random = np.random.default_rng(rows)
            keys = random.permutation(most)[:rows] if most >= rows else np.arange(rows)
            columns = {
                "id": keys,
                "name": [f"customer {n % 5000}" for n in range(rows)],
                "amount": np.round(random.uniform(0, 10_000, rows), 2),
                "day": np.datetime64("2020-01-01") + random.integers(0, 2000, rows),
            }
            pa_csv.write_csv(pa.table(columns), path)
        return path


def _until(reached: Callable[[], bool]) -> int:
    looks = 1
    while not reached():
        looks += 1
        time.sleep(0.02)
    return looks


if __name__ == "__main__":
    main()
