"""A server that is killed, and what may be found in its folder afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import httpx
import psutil
from duckdb_extensions import import_extension

from harness import FINAL, PUSH, RunningServer, add_chunk, create_job, execute, own_job, wait_for

Rows = list[tuple[str, str]]
MARK = "FAULT_TEST_MARK"
"""An environment variable by which a server and all of its children are known, whoever their parent is."""


class House:
    """One data folder and its server, which dies and comes back."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.settings = {MARK: uuid4().hex, **settings}
        self.server = RunningServer(data_dir, env=self.settings)

    def start(self, crash_at: str = "") -> None:
        self.server.env = {**self.settings, "HEADRACE_CRASH_AT": crash_at}
        self.server.start()

    def kill(self) -> None:
        """SIGKILL; nothing of it is left when this returns."""
        if self.server.process is not None:
            self.server.kill()
            self.children_end()

    def dies(self) -> None:
        """Wait until the server has killed itself."""
        assert self.server.process is not None
        code = wait_for(self.server.process.poll, 30, "the server to die at its crash point", 0.005)
        assert code == -signal.SIGKILL
        self.kill()

    def children_end(self) -> None:
        wait_for(lambda: not self.processes(), 20, f"the server's children {self.processes()} to end", 0.005)

    def processes(self) -> list[psutil.Process]:
        """The server and its children that live."""
        return [p for p in psutil.process_iter() if _mark_of(p) == self.settings[MARK]]

    @contextmanager
    def api(self) -> Iterator[httpx.Client]:
        with self.server.client() as client:
            yield client


def _mark_of(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get(MARK)
    return None

    def rows(self, pool: str, table: str) -> Rows:
        """A table as any other process may read it while the server runs: see docs/operations.md."""
        folder = self.server.data_dir / "pools" / pool
        with lake_reader() as engine:
            engine.execute(f"ATTACH 'ducklake:sqlite:{folder}/catalog.sqlite' AS pool (READ_ONLY)")
            rows = engine.execute(f'SELECT id, v FROM pool."{table}"').fetchall()
        return sorted((id, v) for id, v in rows)


def lake_reader() -> duckdb.DuckDBPyConnection:
    for extension in ("ducklake", "sqlite_scanner"):
        import_extension(extension)
    engine = duckdb.connect()
    engine.execute("LOAD ducklake; LOAD sqlite_scanner")
    return engine


# -- a client that takes up where it was ---------------------------------------------------------------


@dataclass
class Push:
    """One job of a client: what it wants to send, what was answered."""

    pool: str
    target: str
    spec: dict[str, Any]
    chunks: list[tuple[str, bytes]]
    id: str | None = None
    acknowledged: set[str] = field(default_factory=set)
    executed: bool = False

    def send(self, api: httpx.Client) -> None:
        """All that is still to be done. Raises httpx.TransportError where the server dies."""
        self.create(api)
        stored = self.stored(api)
        for kind, data in self.chunks:
            if sha256(data) not in stored:
                self.add(api, kind, data)
        self.execute(api)

    def create(self, api: httpx.Client) -> None:
        """A lost answer leaves an empty job behind; this client makes another one."""
        if self.id is None:
            self.id = create_job(api, self.pool, self.target, fileType="CSV", **self.spec)["id"]

    def add(self, api: httpx.Client, kind: str, data: bytes) -> None:
        assert self.id
        reply = add_chunk(api, self.pool, self.id, data, kind)
        assert reply.status_code == 200, reply.text
        self.acknowledged.add(sha256(data))

    def execute(self, api: httpx.Client) -> None:
        assert self.id
        if not self.executed and self.status(api) == "NEW":
            reply = execute(api, self.pool, self.id)
            assert reply.status_code == 200, reply.text
        self.executed = True

    def stored(self, api: httpx.Client) -> set[str]:
        """The chunks that the server has. Each that it has acknowledged is one of them."""
        reply = api.get(f"{PUSH}/{self.pool}/jobs/{self.id}/chunks")
        assert reply.status_code == 200, reply.text
        found = [chunk["checksum"] for chunk in reply.json()]
        assert len(set(found)) == len(found), "a chunk is there twice"
        assert self.acknowledged <= set(found), "an acknowledged chunk is lost"
        assert set(found) <= {sha256(data) for _, data in self.chunks}
        return set(found)

    def status(self, api: httpx.Client) -> str:
        reply = api.get(f"{PUSH}/{self.pool}/jobs/{self.id}")
        assert reply.status_code == 200, reply.text
        return str(reply.json()["status"])

    def ends(self, api: httpx.Client) -> dict[str, Any]:
        """The job as our own API shows it, when it has ended: well, for nothing was wrong with it."""
        assert self.id
        id = self.id
        wait_for(lambda: self.status(api) in FINAL, 60, f"job {id} to end")
        shown = own_job(api, self.pool, id)
        assert shown["status"] == "DONE", shown["logs"]
        return shown


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def csv(rows: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{id},{v}\n" for id, v in [("id", "v"), *rows]).encode()


def jobs_that_wait(api: httpx.Client, pool: str) -> list[str]:
    reply = api.get(f"/api/v1/pools/{pool}/jobs", params={"limit": 1000})
    return [job["id"] for job in reply.json() if job["status"] in ("QUEUED", "RUNNING")]


# -- what lies in the folder ---------------------------------------------------------------------------


def stray_files(data_dir: Path) -> set[str]:
    """What nothing refers to, when every job has ended; rejects may stay."""
    chunks = {p for p in files_below(data_dir / "chunks") if not p.name.endswith(".rejects.ndjson")}
    staged = {p for pool in (data_dir / "pools").iterdir() for p in files_below(pool / "staging")}
    lake = {
        p for pool in (data_dir / "pools").iterdir() for p in files_below(pool / "data") - known_files(pool)
    }
    return {str(p.relative_to(data_dir)) for p in chunks | staged | lake | files_below(data_dir / "temp")}


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def known_files(pool: Path) -> set[Path]:
    """The files of all versions, as the catalog of a pool has them; a deleted file may wait for its end."""
    data = pool / "data"
    with contextlib.closing(sqlite3.connect(f"file:{pool}/catalog.sqlite?mode=ro", uri=True)) as catalog:
        inside = catalog.execute(
            "SELECT f.path, s.path || t.path FROM (SELECT path, path_is_relative, table_id "
            "FROM ducklake_data_file UNION ALL SELECT path, path_is_relative, table_id "
            "FROM ducklake_delete_file) f JOIN ducklake_table t USING (table_id) "
            "JOIN ducklake_schema s USING (schema_id) WHERE f.path_is_relative"
        ).fetchall()
        apart = catalog.execute(
            "SELECT path FROM ducklake_data_file WHERE NOT path_is_relative "
            "UNION ALL SELECT path FROM ducklake_delete_file WHERE NOT path_is_relative "
            "UNION ALL SELECT path FROM ducklake_files_scheduled_for_deletion"
        ).fetchall()
    return {data / folder / name for name, folder in inside} | {data / name for (name,) in apart}
