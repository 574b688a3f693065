"""The one place where the concrete parts are chosen and wired together."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from headrace import crashpoints
from headrace.access import Access, new_secret
from headrace.certificates import self_signed
from headrace.chunks.disk import DiskChunks
from headrace.loading import Loader, StagingFolder
from headrace.metadata import Metadata
from headrace.model import KeyKind, Permission
from headrace.pools import Pools
from headrace.pushes import Pushes
from headrace.reducing import Reducer
from headrace.rejected import RejectFiles
from headrace.replays import Replays
from headrace.settings import Settings, StringProfile
from headrace.staging import Stager
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.sandbox import Sandbox
from headrace.web.context import Services
from headrace.web.routes import application
from headrace.worker import Staging, Worker

log = structlog.get_logger()

CELONIS_STRING_LENGTH = 80


class CannotStart(Exception):
    """The server cannot start; the message says what to do."""


@dataclass
class Parts:
    """Everything that lives as long as the server."""

    metadata: Metadata
    tables: DuckLakeTables
    sandbox: Sandbox
    stager: Stager
    reducer: Reducer
    worker: Worker
    services: Services
    draining: threading.Event

    def stop(self, seconds: float) -> None:
        self.draining.set()
        if not self.worker.stop(seconds):
            # a load goes on; the next start finds it as after a crash, and that is safe
            log.warning("ended in the middle of a load", seconds=seconds)
            os._exit(0)
        self.stager.close()
        self.sandbox.close()
        self.reducer.close()
        self.tables.close()
        self.metadata.close()


def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` gets what a person should see. Raises CannotStart."""
    os.umask(0o077)  # rows of other people: nobody else reads the folder
    folder = settings.data_dir.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"Cannot use the folder {folder}: {error.strerror}.") from error
    with _only_server_of(folder):
        _arm(settings.crash_at)
        listener = _listen(settings.host, settings.port)
        parts = build(settings, folder)
        _first_key(folder, parts, announce)
        certificate = _certificate(settings, folder)
        url = (
            f"{'https' if certificate else 'http'}://{_shown_host(settings.host)}:{listener.getsockname()[1]}"
        )
        config = uvicorn.Config(
            _with_life(application(parts.services, max_json_bytes=settings.max_json_bytes), parts, settings),
            loop="uvloop",
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",  # a start that fails must end the process, not go on without workers
            timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
            **certificate,
        )
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when it has drained
        _Announcing(config, lambda: announce(f"Headrace is ready at {url}")).run(sockets=[listener])


def build(settings: Settings, folder: Path) -> Parts:
    """The installation on one machine: SQLite, local disk, a DuckLake per pool."""
    pools_folder = folder / "pools"
    shutil.rmtree(folder / "temp", ignore_errors=True)  # what an engine that was killed had spilled
    (folder / "temp").mkdir()
    metadata = Metadata(folder / "metadata.sqlite")
    chunks = DiskChunks(folder / "chunks", min_free_bytes=settings.min_free_disk_bytes)
    sandbox = Sandbox(
        processes=settings.sql_processes, memory_mb=settings.sql_memory_mb, temp=folder / "temp"
    )
    tables = DuckLakeTables(
        pools_folder,
        memory_mb=settings.load_memory_mb,
        sandbox=sandbox,
        keep_versions_days=settings.keep_versions_days,
        upkeep_loads=settings.upkeep_loads,
    )
    known = {pool.id for pool in metadata.pools.list()}
    for entry in pools_folder.iterdir():
        if entry.name not in known:
            tables.drop_pool(entry.name)  # deleted, and a crash came between its row and its files
    stager = Stager(
        processes=settings.staging_processes,
        memory_mb=settings.staging_memory_mb,
        seconds=settings.staging_seconds,
    )
    reducer = Reducer(memory_mb=settings.load_memory_mb, temp=folder / "temp" / "reduce")
    staging_folder = StagingFolder(pools_folder)
    celonis = settings.string_profile is StringProfile.CELONIS
    rejects = RejectFiles(pools_folder)
    staging = Staging(
        metadata, chunks, tables, stager, staging_folder, rejects, CELONIS_STRING_LENGTH if celonis else None
    )
    loader = Loader(metadata, chunks, tables, reducer, staging.again, staging_folder)
    worker = Worker(
        loader,
        staging,
        stagers=settings.staging_processes,
        loaders=settings.load_workers,
        lease_seconds=settings.lease_seconds,
    )
    draining = threading.Event()
    pushes = Pushes(
        metadata,
        chunks,
        stager,
        settings.max_chunk_bytes,
        worker.stage,
        worker.wake,
        worker.forget,
        rejects,
        worker.await_staged,
        loader.preview,
        settings.sql_seconds,
    )
    services = Services(
        pushes=pushes,
        replays=Replays(metadata, chunks, rejects, pushes, settings.max_chunk_bytes, worker.stage),
        pools=Pools(metadata, tables, settings.sql_rows, settings.sql_seconds),
        access=Access(metadata),
        ready=lambda: not draining.is_set() and worker.alive and metadata.ping(),
    )
    return Parts(metadata, tables, sandbox, stager, reducer, worker, services, draining)


def _with_life(app: Any, parts: Parts, settings: Settings) -> Any:
    """The application with its worker: started before the first request, drained after the last."""

    async def lived(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _life(receive, send, parts, settings)
        else:
            await app(scope, receive, send)

    return lived


async def _life(receive: Any, send: Any, parts: Parts, settings: Settings) -> None:
    await receive()
    try:
        parts.worker.start()
    except Exception as error:
        log.exception("cannot start")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    parts.stop(settings.drain_seconds)
    await send({"type": "lifespan.shutdown.complete"})


class _Announcing(uvicorn.Server):
    """Says that it is ready when it is, not before."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


class _only_server_of:  # noqa: N801  reads as a phrase
    """A folder has one server. The lock goes with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._handle = os.open(self._folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._handle, 32, 0).decode().strip()
            os.close(self._handle)
            raise CannotStart(
                f"Another Headrace server (process {pid}) uses {self._folder}. "
                "Stop it, or give this one another --data-dir."
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def __exit__(self, *exc: object) -> None:
        os.close(self._handle)


def _arm(point: str) -> None:
    try:
        crashpoints.arm(point)
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise CannotStart(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


def _first_key(folder: Path, parts: Parts, announce: Callable[[str], None]) -> None:
    """The admin key of a new installation: shown once, kept in a file that only its owner reads."""
    path = folder / "admin-key"
    if parts.services.access.list():
        return
    secret = new_secret(KeyKind.APPLICATION)  # the file first: a key that nobody knows helps nobody
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
    parts.services.access.create("admin", KeyKind.APPLICATION, [Permission.ADMIN], None, secret=secret)
    announce(f"The admin key is {secret} (kept in {path})")


def _certificate(settings: Settings, folder: Path) -> dict[str, Any]:
    if settings.tls_cert and settings.tls_key:
        for path in (settings.tls_cert, settings.tls_key):
            if not path.is_file():
                raise CannotStart(f"There is no file {path}.")
        return {"ssl_certfile": str(settings.tls_cert), "ssl_keyfile": str(settings.tls_key)}
    if settings.tls_cert or settings.tls_key:
        raise CannotStart("tls_cert and tls_key go together: one is missing.")
    if not settings.tls:
        return {}
    certificate, key = self_signed(folder, settings.host)
    return {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}


def _shown_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
