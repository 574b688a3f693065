"""The few requests of a push, to a pool of a real server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from bench import data
from bench.processes import Server

PUSH = "/integration/api/v1/data-push"


def new_pool(server: Server, name: str) -> str:
    return str(server.api.post("/integration/api/pools", json={"name": name}).raise_for_status().json()["id"])


class Push:
    def __init__(self, server: Server, pool: str) -> None:
        self.server = server
        self.pool = pool

    def create(self, name: str, **spec: Any) -> str:
        body = {"targetName": name, "fileType": "CSV", "tableSchema": data.TABLE_SCHEMA, **spec}
        return str(self._json(self.server.api.post(f"{PUSH}/{self.pool}/jobs/", json=body))["id"])

    def send(self, job: str, path: Path, kind: str = "upserted") -> None:
        with path.open("rb") as file:
            url = f"{PUSH}/{self.pool}/jobs/{job}/chunks/{kind}"
            self.server.api.post(url, files={"file": (path.name, file)}).raise_for_status()

    def send_all(self, job: str, paths: Sequence[Path]) -> None:
        with ThreadPoolExecutor(len(paths)) as threads:
            list(threads.map(lambda path: self.send(job, path), paths))

    def wait_staged(self, job: str) -> None:
        while any(chunk["state"] == "received" for chunk in self.detail(job)["chunks"]):
            time.sleep(0.005)

    def execute(self, job: str, *, every: float = 0.002) -> float:
        """Seconds from execute to DONE, as a client sees them that asks every so many seconds."""
        start = time.monotonic()
        self.start(job)
        while self.status(job) != "DONE":
            time.sleep(every)
        return time.monotonic() - start

    def start(self, job: str) -> None:
        self.server.api.post(f"{PUSH}/{self.pool}/jobs/{job}").raise_for_status()

    def status(self, job: str) -> str:
        """Raises RuntimeError if the job has failed."""
        status = str(self._json(self.server.api.get(f"{PUSH}/{self.pool}/jobs/{job}"))["status"])
        if status == "ERROR":
            raise RuntimeError(self.detail(job)["logs"])
        return status

    def load(self, name: str, paths: Sequence[Path], **spec: Any) -> None:
        """A whole push: created, sent, executed, DONE."""
        job = self.create(name, keys=list(data.KEYS), **spec)
        self.send_all(job, paths)
        self.execute(job)

    def query(self, sql: str) -> list[list[Any]]:
        body = {"sql": sql, "timeoutSeconds": 600}
        reply = self._json(self.server.api.post(f"/api/v1/pools/{self.pool}/sql", json=body))
        rows: list[list[Any]] = reply["rows"]
        return rows

    def detail(self, job: str) -> dict[str, Any]:
        return self._json(self.server.api.get(f"/api/v1/pools/{self.pool}/jobs/{job}"))

    def delete(self, job: str) -> None:
        self.server.api.delete(f"{PUSH}/{self.pool}/jobs/{job}").raise_for_status()

    @staticmethod
    def _json(reply: httpx.Response) -> dict[str, Any]:
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        return answer


def tiny_job(api: httpx.Client, pool: str, name: str) -> None:
    """A whole push of 10 rows, as a client sees it that asks every 50 ms."""
    base = f"{PUSH}/{pool}/jobs"
    body = {"targetName": name, "type": "REPLACE", "fileType": "CSV"}
    job = api.post(base, json=body).raise_for_status().json()["id"]
    chunk = b"id,name\n" + b"".join(b"%d,row %d\n" % (n, n) for n in range(10))
    api.post(f"{base}/{job}/chunks/upserted", files={"file": ("rows.csv", chunk)}).raise_for_status()
    api.post(f"{base}/{job}").raise_for_status()
    while (status := api.get(f"{base}/{job}").raise_for_status().json()["status"]) != "DONE":
        if status == "ERROR":
            raise RuntimeError(f"job {job} failed")
        time.sleep(0.05)
