"""A real Headrace process for tests, and the few calls that most tests make.

No sleeps: the server says on stdout when it is ready, and everything else is polled with a deadline.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.metadata.advisory import AdvisoryLocks

T = TypeVar("T")

PUSH_BASES = (
    "/integration/api/v1/data-push",
    "/data-ingestion/api/v1/data-push",
    "/integration-hybrid/api/v1/data-push",
)
PUSH = PUSH_BASES[0]
FINAL = ("DONE", "ERROR")
_URL = re.compile(r"https?://[\w.:\[\]-]+")


class RunningServer:
    """``headrace serve`` on a free port of the loopback, in a data directory that outlives the process."""

    def __init__(
        self,
        data_dir: Path,
        *,
        tls: bool = False,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        name: str = "",
    ) -> None:
        """``name``: of one of several that share a data directory."""
        self.data_dir = data_dir
        self.tls = tls
        self.options = tuple(options)
        self.env = dict(env or {})
        self.python = python
        self.log_file = data_dir.parent / f"{name or data_dir.name}.log"
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 60) -> RunningServer:
        """Returns when the server has said its URL; both of its outputs go to ``log_file``."""
        assert self.process is None, "it runs already"
        seen = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self.process = self._launch(self._arguments(), log)
        try:
            self.url = wait_for(lambda: self._ready_url(seen), timeout, "the ready line")
        except BaseException:
            self.kill()
            raise
        return self

    def _arguments(self) -> list[str]:
        arguments = ["serve", "--data-dir", str(self.data_dir), "--host", "127.0.0.1", "--port", "0"]
        return [*arguments, *(["--tls"] if self.tls else []), *self.options]

    def _launch(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [self.python, "-m", "headrace", *arguments]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **self.env})

    def _ready_url(self, seen: int) -> str | None:
        assert self.process is not None
        text = self.log_file.read_bytes()[seen:].decode(errors="replace")
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{text}"
        ready = [line for line in text.splitlines() if "is ready at" in line]
        found = _URL.search(ready[0].partition("is ready at")[2]) if ready else None
        return found.group() if found else None

    @property
    def pid(self) -> int:
        assert self.process is not None, "it does not run"
        return self.process.pid

    @property
    def admin_key(self) -> str:
        return (self.data_dir / "admin-key").read_text().strip()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def client(self, authorization: str | None = None, **options: Any) -> httpx.Client:
        """An HTTP client with the admin's AppKey, or with the given Authorization; '' sends none."""
        header = f"AppKey {self.admin_key}" if authorization is None else authorization
        options.setdefault("headers", {"Authorization": header} if header else {})
        options.setdefault("timeout", 60)
        options.setdefault("base_url", self.url)
        return httpx.Client(verify=False, trust_env=False, **options)

    def stop(self, timeout: float = 60) -> int:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> int:
        """SIGKILL, as a crash would."""
        return self._end(signal.SIGKILL, 30)

    def restart(self) -> RunningServer:
        """On the same data; the port is a new one."""
        if self.process is not None:
            self.stop()
        return self.start()

    def _end(self, how: signal.Signals, timeout: float) -> int:
        assert self.process is not None, "it does not run"
        process, self.process = self.process, None
        process.send_signal(how)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            raise

    def __enter__(self) -> RunningServer:
        return self if self.process else self.start()

    def __exit__(self, *exc: object) -> None:
        if self.process is not None:
            self.stop()


class RunningWorker(RunningServer):
    """``headrace worker``, beside servers of the same data directory and database."""

    def _arguments(self) -> list[str]:
        return ["worker", "--data-dir", str(self.data_dir)]

    def _ready_url(self, seen: int) -> str | None:
        assert self.process is not None
        text = self.log_file.read_bytes()[seen:].decode(errors="replace")
        assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{text}"
        return "no URL" if "worker is ready" in text else None


def wait_for(
    look: Callable[[], T | None],
    timeout: float = 60,
    what: str = "it",
    every: float = 0.02,
    slower: float = 1.0,
) -> T:
    """What ``look`` returns, as soon as that is something; asked again until the deadline.

    ``slower``: by so much each pause is longer than the one before, up to two seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(every)
        every = min(every * slower, max(every, 2.0))


# -- a push, by the plain documented requests ----------------------------------------------------------


def create_pool(api: httpx.Client, name: str = "a pool") -> str:
    reply = api.post("/integration/api/pools", json={"name": name})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def create_job(api: httpx.Client, pool: str, target: str, **spec: Any) -> dict[str, Any]:
    reply = api.post(f"{PUSH}/{pool}/jobs/", json={"targetName": target, "dataPoolId": pool, **spec})
    assert reply.status_code == 200, reply.text
    job: dict[str, Any] = reply.json()
    return job


def add_chunk(api: httpx.Client, pool: str, job: str, data: bytes, kind: str = "upserted") -> httpx.Response:
    return api.post(f"{PUSH}/{pool}/jobs/{job}/chunks/{kind}", files={"file": ("file", data)})


def execute(api: httpx.Client, pool: str, job: str, **params: str) -> httpx.Response:
    return api.post(f"{PUSH}/{pool}/jobs/{job}", params=params)


def wait_for_job(api: httpx.Client, pool: str, job: str, timeout: float = 60) -> dict[str, Any]:
    """The job as the wire shows it once it is DONE or ERROR."""

    def final() -> dict[str, Any] | None:
        reply = api.get(f"{PUSH}/{pool}/jobs/{job}")
        assert reply.status_code == 200, reply.text
        shown: dict[str, Any] = reply.json()
        return shown if shown["status"] in FINAL else None

    return wait_for(final, timeout, f"job {job} to end")


def run_job(
    api: httpx.Client,
    pool: str,
    target: str,
    chunks: Iterable[bytes | tuple[str, bytes]],
    params: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Create, send, execute and wait; a chunk is its bytes, or ('upserted' | 'deleted', bytes)."""
    job = create_job(api, pool, target, **spec)["id"]
    for chunk in chunks:
        kind, data = chunk if isinstance(chunk, tuple) else ("upserted", chunk)
        reply = add_chunk(api, pool, job, data, kind)
        assert reply.status_code == 200, reply.text
    reply = execute(api, pool, job, **(params or {}))
    assert reply.status_code == 200, reply.text
    return wait_for_job(api, pool, job)


def parquet(table: pa.Table | dict[str, list[Any]], **options: Any) -> bytes:
    """The table as one Parquet file; options go to ``pyarrow.parquet.write_table``."""
    file = io.BytesIO()
    pq.write_table(pa.table(table) if isinstance(table, dict) else table, file, **options)
    return file.getvalue()


@contextmanager
def held(server: RunningServer, pool: str) -> Iterator[None]:
    """Another process writes to the pool's catalog: no load of it comes to its commit."""
    if url := server.env.get("HEADRACE_DATABASE_URL"):
        with closing(AdvisoryLocks(url)) as locks:
            lock = locks.take("lake", pool, seconds=60)
            assert lock
            yield
            lock.release()
        return
    path = server.data_dir / "pools" / pool / "catalog.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# -- looking, by our own API ---------------------------------------------------------------------------


def sql(api: httpx.Client, pool: str, query: str) -> list[list[Any]]:
    reply = api.post(f"/api/v1/pools/{pool}/sql", json={"sql": query})
    assert reply.status_code == 200, reply.text
    rows: list[list[Any]] = reply.json()["rows"]
    return rows


def own_job(api: httpx.Client, pool: str, job: str) -> dict[str, Any]:
    reply = api.get(f"/api/v1/pools/{pool}/jobs/{job}")
    assert reply.status_code == 200, reply.text
    shown: dict[str, Any] = reply.json()
    return shown


def new_key(
    api: httpx.Client, kind: str = "application", permissions: Sequence[str] = ("push",), **more: Any
) -> str:
    """The secret of a new key."""
    body = {"name": "a key", "kind": kind, "permissions": list(permissions), "pools": None, **more}
    reply = api.post("/api/v1/keys", json=body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["key"])
