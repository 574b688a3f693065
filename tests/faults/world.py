"""A small world of tables that is pushed to a server which dies, beside a model that does not.

``World.step`` pushes one job like a client that knows how to retry: whatever had no answer is looked up
before it is sent again. The model is a plain dictionary of tables.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from harness import PUSH, RunningServer, wait_for

KEYED, APPENDED = "keyed", "appended"


@dataclass
class Job:
    """One push: what kind, its chunks as (kind, rows), and what the server is known to have."""

    table: str
    type: str
    keys: list[str]
    chunks: list[tuple[str, list[tuple[str, str]]]]
    id: str | None = None
    sent: int = 0
    acknowledged: list[str] = field(default_factory=list)
    """SHA-256 of the chunks that were answered with 200."""


@dataclass
class World:
    server: RunningServer
    pool: str
    tables: dict[str, Any] = field(default_factory=dict)
    """``keyed``: key to value; ``appended``: rows with their count."""

    # -- the model -------------------------------------------------------------------------------------

    def apply(self, job: Job) -> None:
        if job.type == "REPLACE":
            self.tables[job.table] = {} if job.table == KEYED else Counter()
        table = self.tables.setdefault(job.table, {} if job.table == KEYED else Counter())
        for kind, rows in job.chunks:
            for key, value in rows:
                if not job.keys:
                    table[key, value] += 1
                elif kind == "upserted":
                    table[key] = value
                else:
                    table.pop(key, None)

    def check(self, api: httpx.Client) -> None:
        """The tables are what the model says, every job has ended or is NEW, nothing lies about."""
        for name, expected in self.tables.items():
            reply = api.post(f"/api/v1/pools/{self.pool}/sql", json={"sql": f"SELECT k, v FROM {name}"})
            assert reply.status_code == 200, reply.text
            rows = Counter((k, v) for k, v in reply.json()["rows"])
            wanted = Counter(expected.items()) if name == KEYED else Counter(expected)
            assert rows == wanted, (name, rows - wanted, wanted - rows)
        for job in api.get(f"/api/v1/pools/{self.pool}/jobs?limit=1000").json():
            assert job["status"] in ("NEW", "DONE", "ERROR"), job

    # -- the client ------------------------------------------------------------------------------------

    def step(self, job: Job, api: httpx.Client) -> None:
        """Go on with the job where it stands; raises httpx.TransportError when the server goes away."""
        if job.id is None:
            body = {"targetName": job.table, "type": job.type, "fileType": "CSV", "keys": job.keys or None}
            job.id = self._ok(api.post(self.jobs, json=body)).json()["id"]
        while job.sent < len(job.chunks):
            self._send(job, api)
        if self.status(job, api) == "NEW":
            self._ok(api.post(f"{self.jobs}/{job.id}"))
        wait_for(lambda: self.status(job, api) in ("DONE", "ERROR"), 60, f"the end of {job.id}")
        shown = self._ok(api.get(f"{self.jobs}/{job.id}")).json()
        assert shown["status"] == "DONE", shown["logs"]

    def _send(self, job: Job, api: httpx.Client) -> None:
        kind, rows = job.chunks[job.sent]
        data = "".join(f"{k},{v}\n" for k, v in [("k", "v"), *rows]).encode()
        url = f"{self.jobs}/{job.id}/chunks"
        stored = self._ok(api.get(url)).json()
        if len(stored) <= job.sent:  # else the answer was lost, not the chunk
            self._ok(api.post(f"{url}/{kind}", files={"file": ("rows.csv", data)}))
        job.acknowledged.append(sha256(data).hexdigest())
        job.sent += 1

    def status(self, job: Job, api: httpx.Client) -> str:
        return str(self._ok(api.get(f"{self.jobs}/{job.id}")).json()["status"])

    def check_acknowledged(self, job: Job, api: httpx.Client) -> None:
        """No acknowledged chunk is lost."""
        if job.id is not None:
            stored = [c["checksum"] for c in self._ok(api.get(f"{self.jobs}/{job.id}/chunks")).json()]
            assert stored[: len(job.acknowledged)] == job.acknowledged

    @property
    def jobs(self) -> str:
        return f"{PUSH}/{self.pool}/jobs"

    @staticmethod
    def _ok(reply: httpx.Response) -> httpx.Response:
        assert reply.status_code == 200, (reply.status_code, reply.text)
        return reply


def strays(data_dir: Path) -> list[Path]:
    """What no ended job may leave: parts, raw chunks, staged files."""
    chunks = [p for p in (data_dir / "chunks").rglob("*") if p.is_file() and not p.name.endswith(".ndjson")]
    return [*chunks, *(p for p in data_dir.glob("pools/*/staging/**/*") if p.is_file())]
