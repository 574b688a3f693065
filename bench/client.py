"""The Python client in a process of its own: what a push costs it, beside plain Arrow and httpx.

``python -m bench.client ours|plain|file URL POOL FILE`` prints its CPU seconds, without those of its start,
and the peak of its memory in MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.processes import peak_mb
from headrace import Client

PUSH = "/integration/api/v1/data-push"


@dataclass(frozen=True)
class Cost:
    cpu: float
    peak_mb: float


def cost_of(way: str, url: str, key: str, pool: str, file: Path) -> Cost:
    """The cost of one push in a process of its own."""
    with tempfile.TemporaryDirectory() as cache:  # of pushes that were interrupted: there are none
        ran = subprocess.run(
            [sys.executable, "-m", "bench.client", way, url, pool, str(file)],
            env={**os.environ, "HEADRACE_KEY": key, "XDG_CACHE_HOME": cache},
            stdout=subprocess.PIPE,
            check=True,
        )
    return Cost(**json.loads(ran.stdout))


def main() -> None:
    way, url, pool, file = sys.argv[1:]
    work = {"ours": _ours, "plain": _plain, "file": _file}[way](url, os.environ["HEADRACE_KEY"], pool, file)
    before = time.process_time()
    work()
    print(json.dumps({"cpu": time.process_time() - before, "peak_mb": peak_mb(os.getpid())}))


def _ours(url: str, key: str, pool: str, file: str) -> Callable[[], object]:
    frame = pd.read_parquet(file)
    there = Client(url, key).pool(pool)
    return lambda: there.push(frame, table="client")


def _file(url: str, key: str, pool: str, file: str) -> Callable[[], object]:
    there = Client(url, key).pool(pool)
    return lambda: there.push(file, table="client")


def _plain(url: str, key: str, pool: str, file: str) -> Callable[[], object]:
    """One file by Arrow, one request by httpx; nothing is hashed, waited for or gone on with."""
    frame = pd.read_parquet(file)
    api = httpx.Client(base_url=url, headers={"Authorization": f"AppKey {key}"}, timeout=600)
    jobs = f"{PUSH}/{pool}/jobs"
    job: Any = api.post(jobs, json={"targetName": "client", "fileType": "PARQUET"}).json()["id"]

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "frame.parquet"
            table = pa.Table.from_pandas(frame, preserve_index=False)
            pq.write_table(table, path, use_deprecated_int96_timestamps=True)
            with path.open("rb") as body:
                api.post(f"{jobs}/{job}/chunks/upserted", files={"file": body}).raise_for_status()

    return work


if __name__ == "__main__":
    main()
