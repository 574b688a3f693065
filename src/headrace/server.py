"""The processes: a server, a worker, and upkeep without a server; from their start to their end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from headrace import crashpoints
from headrace.access import SHORTEST_TOKEN, Scrapers
from headrace.certificates import self_signed
from headrace.console.pages import add_pages
from headrace.durable import sync
from headrace.errors import Conflict
from headrace.faults import Faults
from headrace.folders import CannotStart, only_server_of, temp_of
from headrace.keys import new_secret
from headrace.model import KeyKind, Permission
from headrace.moving import refuse_moved
from headrace.rehearsal import Rehearsal
from headrace.settings import CatalogPlace, Settings, keep_from_children
from headrace.tables.sandbox import Sandbox
from headrace.web.connections import ConnectionLimits, protocol
from headrace.web.context import Services
from headrace.web.limits import RequestLimits
from headrace.web.routes import Application, application
from headrace.wiring import (
    Parts,
    alone,
    build,
    check_spark,
    data_of,
    engines_of,
    locks_of,
    metadata_of,
    refuse_other_engine,
    tables_of,
)

log = structlog.get_logger()
_OWN_FILES = 512
"""Open files beside connections and chunks: databases, lakes, pipes to children."""


def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` gets what a person should see. Raises CannotStart."""
    _refuse_alone(settings)
    keep_from_children()
    folder = _own_folder(settings)
    with _place_in(folder, settings):
        _arm(settings.crash_at)
        _allow_files(settings.max_connections + settings.max_uploads + _OWN_FILES)
        listener = _listen(settings.host, settings.port)
        _check_token(settings)
        app = _serving(settings, folder, announce)
        certificate = _certificate(settings, folder)
        url = (
            f"{'https' if certificate else 'http'}://{_shown_host(settings.host)}:{listener.getsockname()[1]}"
        )
        config = uvicorn.Config(
            _with_life(app, settings),
            loop="uvloop",
            http=protocol(_connection_limits(settings)),
            ws="none",
            timeout_keep_alive=settings.keep_alive_seconds,
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=settings.trusted_proxies,  # the library's default trusts the whole machine
            lifespan="on",  # a start that fails must end the process, not go on without workers
            timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
            ssl_context_factory=_modern if certificate else None,
            **certificate,
        )
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when it has drained
        ready = partial(announce, f"Headrace is ready at {url}")
        _Announcing(config, ready, app.hang_up).run(sockets=[listener])


def work(settings: Settings, announce: Callable[[str], None]) -> None:
    """Stage and load for the servers of an installation until SIGTERM or SIGINT. Raises CannotStart."""
    if not settings.shared:
        raise CannotStart("A worker needs database_url, where it meets its servers.")
    keep_from_children()
    folder, ended = _own_folder(settings), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    _arm(settings.crash_at)
    _allow_files(_OWN_FILES)
    few = {"worker": True, "sql_processes": 1, "sql_warm_processes": 0}  # nobody asks it anything
    parts = build(settings.model_copy(update=few), folder)
    parts.start()
    announce("Headrace's worker is ready")
    ended.wait()
    parts.stop(settings.drain_seconds)


def _refuse_alone(settings: Settings) -> None:
    if not settings.worker and not settings.shared:
        raise CannotStart("A server without a worker needs database_url, where it meets workers.")
    if settings.test_faults and settings.shared:
        raise CannotStart("test_faults resets a data folder: take away database_url.")
    if settings.catalogs is CatalogPlace.DATABASE and not settings.shared:
        raise CannotStart("Catalogs in a database need database_url.")
    if settings.test_faults and settings.storage_url:
        raise CannotStart("test_faults resets a data folder: take away storage_url.")
    if settings.storage_url and not settings.shared:
        raise CannotStart("Chunks in a store of objects need database_url: a backup would not have them.")


def _own_folder(settings: Settings) -> Path:
    os.umask(0o077)  # rows of other people: nobody else reads the folder
    folder = settings.data_dir.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"Cannot use the folder {folder}: {error.strerror}.") from error
    return folder


def _place_in(folder: Path, settings: Settings) -> AbstractContextManager[None]:
    """Processes that share a database share the folder, too. Raises CannotStart."""
    if settings.shared:
        return nullcontext()
    try:
        refuse_moved(folder)
    except Conflict as error:
        raise CannotStart(error.message) from error
    return only_server_of(folder)


@dataclass(frozen=True)
class Serving:
    """The application, and what lives as long as it does."""

    parts: Parts
    app: Application

    def start(self) -> None:
        self.parts.start()

    def hang_up(self) -> None:
        self.parts.hang_up()

    def stop(self, seconds: float, *, for_good: bool = True) -> None:
        self.parts.stop(seconds, for_good=for_good)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def _serving(settings: Settings, folder: Path, announce: Callable[[str], None]) -> Serving | Rehearsal:
    engines, made = engines_of(settings, folder), list[Application]()

    def _with(services: Services) -> Application:
        if not made:
            made.append(application(services, _request_limits(settings), add_pages))
        made[0].use(services)
        return made[0]

    def serving(rehearsal: Rehearsal | None = None) -> Serving:
        parts = build(settings, folder, engines, rehearsal)
        for place in (folder.parent, folder):  # what is below is synced by whoever writes it
            sync(place)
        with alone(engines.locks, "first key"):
            _first_key(folder, parts, announce)
        return Serving(parts, _with(parts.services))

    if not settings.test_faults:
        return serving()
    log.warning("test_faults is on: whoever has an administrator's key may reset this server, and break it")
    rehearsal = Rehearsal(folder, Faults())
    rehearsal.begin(lambda: serving(rehearsal))
    return rehearsal


def _request_limits(settings: Settings) -> RequestLimits:
    return RequestLimits(settings.max_json_bytes, settings.max_json_depth, settings.max_uploads)


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        connections=settings.max_connections,
        header_bytes=settings.max_header_bytes,
        headers=settings.max_headers,
        bytes_per_second=settings.min_bytes_per_second,
        seconds=settings.slow_seconds,
    )


def _with_life(app: Serving | Rehearsal, settings: Settings) -> Any:
    """The application with its worker: started before the first request, drained after the last."""

    async def lived(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _life(receive, send, app, settings)
        else:
            await app(scope, receive, send)

    return lived


async def _life(receive: Any, send: Any, app: Serving | Rehearsal, settings: Settings) -> None:
    await receive()
    try:
        app.start()
    except Exception as error:
        log.exception("cannot start")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    app.stop(settings.drain_seconds)
    await send({"type": "lifespan.shutdown.complete"})


class _Announcing(uvicorn.Server):
    """Says that it is ready when it is, not before; and that it ends, before it waits for requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._ending = ready, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def upkeep(settings: Settings, told: Callable[[str], None]) -> None:
    """Look after every table of a folder that no server uses. Raises CannotStart."""
    keep_from_children()
    os.umask(0o077)
    folder = settings.data_dir.resolve()
    if not (folder / "pools").is_dir():
        raise CannotStart(f"There is no server's folder at {folder}.")
    check_spark(settings)
    refuse_other_engine(settings, folder)
    with _place_in(folder, settings):
        temp = temp_of(folder)
        sandbox = Sandbox(processes=1, memory_mb=settings.sql_memory_mb, temp=temp, warm=0)
        locks, data = locks_of(settings), data_of(settings, folder / "pools", temp)
        tables = tables_of(settings, folder, sandbox, temp, locks, data)
        metadata = metadata_of(settings)
        for pool in metadata.pools.list():
            for table in tables.tables(pool.id):
                tables.maintain(pool.id, table.ref)
                told(f"{pool.name}: {table.ref.name}")
            tables.expire(pool.id)
        metadata.close()
        tables.close()
        locks.close()
        sandbox.close()


def _arm(point: str) -> None:
    try:
        crashpoints.arm(point)
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _allow_files(needed: int) -> None:
    """So many open files, if the system lets us: a shell's common 1024 are fewer than our own limits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if resource.RLIM_INFINITY != soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        log.warning("few open files are allowed", allowed=most, needed=needed)


def _check_token(settings: Settings) -> None:
    path = settings.metrics_token_file
    if path and Scrapers(token_file=path).token() is None:
        raise CannotStart(
            f"metrics_token_file: {path} cannot be read, or has fewer than {SHORTEST_TOKEN} bytes. "
            "Make one: openssl rand -hex 32"
        )


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
    if parts.services.keys.list():
        return
    secret = new_secret(KeyKind.APPLICATION)  # the file first: a key that nobody knows helps nobody
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(handle)
    sync(folder)
    parts.services.keys.create("admin", KeyKind.APPLICATION, [Permission.ADMIN], None, secret=secret)
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


def _modern(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _shown_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
