"""The one place where the concrete parts are chosen and wired together."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
import uvicorn

from headrace import confinement, crashpoints
from headrace.access import SHORTEST_TOKEN, Access, Scrapers
from headrace.cancels import Cancels
from headrace.certificates import self_signed
from headrace.changes import Changes
from headrace.chunks import ChunkStore
from headrace.chunks.disk import DiskChunks
from headrace.chunks.parts import DiskParts
from headrace.chunks.s3 import S3Chunks
from headrace.console.pages import add_pages
from headrace.durable import sync
from headrace.errors import StorageUnreachable
from headrace.faults import Faults
from headrace.gauges import Gauges, Lakes, Process
from headrace.histories import Histories
from headrace.housekeeping import Housekeeper
from headrace.keys import KeyRing, new_secret
from headrace.loading import Loader
from headrace.locks import Locks, LocksOfProcess
from headrace.logs import Logbook
from headrace.metadata import CannotOpen, Metadata
from headrace.metadata.advisory import AdvisoryLocks
from headrace.metadata.signs import Hear, Listener, Sign
from headrace.metrics import Metrics
from headrace.model import AuditEntry, KeyKind, Permission, SubmissionLimits
from headrace.objects import CannotReach, Objects
from headrace.observing import Observe, heard_by
from headrace.overview import Overview
from headrace.pools import Pools
from headrace.profiles import Profiles
from headrace.pushes import Pushes
from headrace.quotas import PoolSizes, Quotas
from headrace.reducing import Reducer
from headrace.rehearsal import DoomedLoader, Rehearsal
from headrace.rejected import RejectFiles
from headrace.replays import Replays
from headrace.retention import Keeping, Retention
from headrace.retries import Retries
from headrace.schemas import Schemas
from headrace.sessions import Sessions
from headrace.settings import CatalogPlace, Engine, ExecuteLimits, Settings, StringProfile, keep_from_children
from headrace.staged import StagedFiles, StagedObjects, StagingFolder
from headrace.staging import Stager
from headrace.tables.catalogs import Catalogs
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.postgrescatalogs import PostgresCatalogs
from headrace.tables.sandbox import Sandbox
from headrace.tables.spark import SparkTables
from headrace.tables.sparkdriver import CannotUseSpark, read_config, refuse_without_spark
from headrace.tables.sqlitecatalogs import SqliteCatalogs
from headrace.tokens import Tokens
from headrace.trail import Trail
from headrace.undoing import Undos
from headrace.uploads import Uploads
from headrace.web.connections import ConnectionLimits, protocol
from headrace.web.context import Services
from headrace.web.limits import RequestLimits
from headrace.web.noting import Write
from headrace.web.routes import Application, application
from headrace.worker import SETTLED_S, Staging, Worker

if TYPE_CHECKING:
    from headrace.traces import Traces

log = structlog.get_logger()

CELONIS_STRING_LENGTH = 80
CELONIS_SUBMISSIONS = SubmissionLimits(per_second=10, per_hour=250)


_OWN_FILES = 512
"""Open files beside connections and chunks: databases, lakes, pipes to children."""


Tables = DuckLakeTables | SparkTables


class CannotStart(Exception):
    """The server cannot start; the message says what to do."""


@dataclass(frozen=True)
class Engines:
    """What takes long to start, and keeps nothing: warm processes, and the engine of the lakes.

    ``temp`` is a folder of this process, ``locks`` are those of all processes of the installation.
    """

    stager: Stager
    sandbox: Sandbox
    tables: Tables
    temp: Path
    locks: Locks

    def forget_all(self) -> None:
        self.sandbox.forget_all()
        self.tables.forget_all()

    def close(self) -> None:
        self.stager.close()
        self.sandbox.close()
        self.tables.close()


@dataclass(frozen=True)
class Listening:
    """Who hears of what happens."""

    observe: Observe
    metrics: Metrics
    traces: Traces | None

    def close(self) -> None:
        if self.traces:
            self.traces.close()


@dataclass
class Parts:
    """Everything that lives as long as the server."""

    metadata: Metadata
    chunks: ChunkStore
    tables: Tables
    engines: Engines
    reducer: Reducer
    worker: Worker
    trail: Trail
    housekeeper: Housekeeper
    signs: Listener
    services: Services
    draining: threading.Event
    listening: Listening

    def start(self) -> None:
        self.trail.start()
        self.worker.start()
        self.signs.start()
        self.services.uploads.start()
        self.housekeeper.start()

    def hang_up(self) -> None:
        """Ends the requests that go on without end."""
        self.services.changes.close()

    def stop(self, seconds: float, *, for_good: bool = True) -> None:
        """``for_good``: the engines, too; else what they are at is waited for."""
        self.draining.set()
        tidy = self.housekeeper.stop(seconds)
        self.signs.stop()
        self.trail.close()  # no request is left
        self.services.uploads.close()
        if not (self.worker.stop(seconds) and tidy):
            # it goes on; the next start finds it as after a crash, and that is safe
            log.warning("ended in the middle of a load or of upkeep", seconds=seconds)
            os._exit(0)
        if for_good:
            self.engines.close()
        else:
            self.worker.await_stagers()
            self.engines.forget_all()
        self.reducer.close()
        self.chunks.close()
        self.metadata.close()
        self.listening.close()


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
    """Processes that share a database share the folder, too."""
    return nullcontext() if settings.shared else _only_server_of(folder)


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
    engines, made = _engines(settings, folder), list[Application]()

    def _with(services: Services) -> Application:
        if not made:
            made.append(application(services, _request_limits(settings), add_pages))
        made[0].use(services)
        return made[0]

    def serving(rehearsal: Rehearsal | None = None) -> Serving:
        parts = build(settings, folder, engines, rehearsal)
        for place in (folder.parent, folder):  # what is below is synced by whoever writes it
            sync(place)
        with _alone(engines.locks, "first key"):
            _first_key(folder, parts, announce)
        return Serving(parts, _with(parts.services))

    if not settings.test_faults:
        return serving()
    log.warning("test_faults is on: whoever has an administrator's key may reset this server, and break it")
    rehearsal = Rehearsal(folder, Faults())
    rehearsal.begin(lambda: serving(rehearsal))
    return rehearsal


def _engines(settings: Settings, folder: Path) -> Engines:
    _refuse_without_spark(settings)
    temp = _temp(folder)
    sandbox = Sandbox(
        processes=settings.sql_processes,
        memory_mb=settings.sql_memory_mb,
        temp=temp,
        warm=settings.sql_warm_processes,
    )
    stager = Stager(
        processes=settings.staging_processes,
        memory_mb=settings.staging_memory_mb,
        seconds=settings.staging_seconds,
    )
    locks = _locks(settings)
    return Engines(stager, sandbox, _tables(settings, folder, sandbox, temp, locks), temp, locks)


def _locks(settings: Settings) -> Locks:
    if not settings.shared:
        return LocksOfProcess()
    try:
        return AdvisoryLocks(settings.database_url.get_secret_value())
    except CannotOpen as error:
        raise CannotStart(str(error)) from error


@contextmanager
def _alone(locks: Locks, what: str) -> Iterator[None]:
    held = locks.take(what, seconds=60)
    try:
        yield
    finally:
        if held:
            held.release()


def build(
    settings: Settings,
    folder: Path,
    engines: Engines | None = None,
    rehearsal: Rehearsal | None = None,
) -> Parts:
    """A process of an installation: SQLite or PostgreSQL, files in one folder, a DuckLake per pool."""
    engines = engines or _engines(settings, folder)
    kept = Kept(
        folder,
        _metadata(settings),
        *_arriving(settings, folder, engines.temp),
        RejectFiles(folder / "pools"),
    )
    _drop_deleted_pools(folder / "pools", kept.metadata, engines.tables, settings.shared)
    overview = Overview(kept.metadata, folder, settings.min_free_disk_bytes)
    listening = _listening(settings, _gauges(kept, engines, overview, lambda: worker))
    observe = listening.observe
    reducer = Reducer(memory_mb=settings.load_memory_mb, temp=engines.temp / "reduce")
    staging = _staging(settings, kept, engines, observe)
    loader = _loader(settings, kept, engines, reducer, staging, observe, rehearsal)
    undos, changes = Undos(kept.metadata, engines.tables, engines.locks, observe), Changes()
    trail, draining = Trail(kept.metadata, days=settings.audit_days), threading.Event()
    retention = Retention(kept.metadata, engines.tables, kept.rejects, _keeping(settings), trail.note)
    housekeeper = Housekeeper(engines.tables, retention, kept.pool_ids, settings.upkeep_share, observe)
    worker = Worker(
        loader,
        staging,
        stagers=settings.staging_processes if settings.worker else 0,
        loaders=settings.load_workers if settings.worker else 0,
        lease_seconds=settings.lease_seconds,
        undos=undos,
        tell=changes.tell,
        locks=engines.locks,
        shared=settings.shared,
        observe=observe,
        on_loaded=housekeeper.loaded,
    )
    pushes = _pushes(settings, kept, engines.stager, worker, loader, observe)
    tokens = _tokens(settings, kept.metadata)
    pools = Pools(kept.metadata, engines.tables, settings.sql_rows, settings.sql_seconds, observe)
    services = Services(
        pushes=pushes,
        replays=Replays(
            kept.metadata, kept.chunks, kept.rejects, pushes, settings.max_chunk_bytes, worker.stage
        ),
        retries=Retries(kept.metadata, kept.chunks, engines.stager, pushes, worker.stage),
        cancels=Cancels(pushes, loader.keep_failed, loader.clean_up, worker.await_ended),
        undos=undos,
        uploads=_uploads(settings, kept, pushes),
        pools=pools,
        profiles=Profiles(pools),
        histories=Histories(kept.metadata, pools),
        schemas=Schemas(kept.metadata, engines.tables, worker.stage),
        overview=overview,
        access=Access(kept.metadata, tokens, trail.used),
        keys=KeyRing(kept.metadata),
        tokens=tokens,
        sessions=Sessions(kept.metadata, tokens, timedelta(hours=settings.session_hours), trail.used),
        changes=changes,
        audit=kept.metadata.audit,
        retention=retention,
        settings=settings.model_dump(),
        note=_noting(trail, changes),
        metrics=listening.metrics.page,
        scrapers=Scrapers(settings.metrics_loopback, settings.metrics_token_file),
        observe=observe,
        ready=lambda: not draining.is_set() and worker.alive and kept.metadata.ping(),
        rehearsal=rehearsal,
        confinement=_confinement(),
    )
    return Parts(
        metadata=kept.metadata,
        chunks=kept.chunks,
        tables=engines.tables,
        engines=engines,
        reducer=reducer,
        worker=worker,
        trail=trail,
        housekeeper=housekeeper,
        signs=Listener(kept.metadata.engine, _hearing(worker, changes)),
        services=services,
        draining=draining,
        listening=listening,
    )


def _hearing(worker: Worker, changes: Changes) -> Hear:
    """What other processes did is as good as done here."""

    def hear(sign: Sign, pool_id: str) -> None:
        if sign is Sign.CHUNK:
            worker.stage_waiting()
        worker.wake()
        changes.tell(pool_id)

    return hear


def _noting(trail: Trail, changes: Changes) -> Write:
    """What a request has changed goes into the audit, and who looks on hears of it."""

    def note(entry: AuditEntry, hurry: bool) -> Callable[[], None]:
        changes.tell(entry.pool_id)
        return trail.note(entry, hurry=hurry)

    return note


def _metadata(settings: Settings) -> Metadata:
    try:
        return Metadata(settings.database)
    except CannotOpen as error:
        raise CannotStart(str(error)) from error


def _listening(settings: Settings, gauges: Gauges) -> Listening:
    metrics, traces = Metrics(gauges), _traces(settings.otlp_endpoint)
    listeners = [Logbook(settings.log_level).observe, metrics.observe, gauges.observe]
    return Listening(heard_by(*listeners, *([traces.observe] if traces else [])), metrics, traces)


def _traces(endpoint: str) -> Traces | None:
    if not endpoint:
        return None
    try:
        from headrace.traces import Traces, exported_to  # noqa: PLC0415  an extra
    except ImportError:
        log.warning("otlp_endpoint is set, but the extra otel is not installed: there are no traces")
        return None
    return Traces(exported_to(endpoint))


def _gauges(kept: Kept, engines: Engines, overview: Overview, worker: Callable[[], Worker]) -> Gauges:
    """``worker`` comes later: what it does is observed."""
    process = Process(
        held_leases=lambda: worker().held,
        workers_alive=lambda: worker().alive,
        sql_children=lambda: len(engines.sandbox.pids()),
        sql_running=lambda: engines.sandbox.running,
    )
    return Gauges(kept.metadata, Lakes(engines.tables), overview, process)


@dataclass(frozen=True)
class Kept:
    """What the data folder holds beside the lakes."""

    folder: Path
    metadata: Metadata
    chunks: ChunkStore
    staged: StagedFiles
    rejects: RejectFiles

    def pool_ids(self) -> Sequence[str]:
        return [pool.id for pool in self.metadata.pools.list()]


def _arriving(settings: Settings, folder: Path, temp: Path) -> tuple[ChunkStore, StagedFiles]:
    """Where chunks wait, raw and staged."""
    free = settings.min_free_disk_bytes
    if not settings.storage_url:
        return DiskChunks(folder / "chunks", min_free_bytes=free), StagingFolder(folder / "pools")
    try:
        objects = Objects(settings.storage_url, settings.storage_access)
        next(objects.found("chunks"), None)  # or it would be the first client who hears of it
    except CannotReach as error:
        raise CannotStart(str(error)) from error
    except StorageUnreachable as error:
        raise CannotStart(f"The store of storage_url cannot be used: {error.__cause__}") from error
    uploads = min(32, max(4, settings.max_uploads // 8))
    chunks = S3Chunks(objects, temp / "chunks", min_free_bytes=free, uploads=uploads)
    return chunks, StagedObjects(objects, temp / "staged")


def _drop_deleted_pools(pools_folder: Path, metadata: Metadata, tables: Tables, shared: bool) -> None:
    """Drop pools whose rows are gone: a crash came between a row and its files. Raises CannotStart."""
    there = {entry.name for entry in pools_folder.iterdir()}
    known = {pool.id for pool in metadata.pools.list()}  # asked last: a row comes before its files
    if shared and there and not there & known:  # SQLite's file lies beside its pools, a URL may be any
        raise CannotStart(
            f"The database of database_url knows none of the pools in {pools_folder}, and they would be "
            "deleted: name the database that belongs to this folder, or another folder. If they are what "
            "was left of pools that were deleted, delete their folders."
        )
    for name in there - known:
        tables.drop_pool(name)


def _staging(settings: Settings, kept: Kept, engines: Engines, observe: Observe) -> Staging:
    celonis = settings.string_profile is StringProfile.CELONIS
    return Staging(
        kept.metadata,
        kept.chunks,
        engines.tables,
        engines.stager,
        kept.staged,
        kept.rejects,
        CELONIS_STRING_LENGTH if celonis else None,
        observe,
    )


def _loader(
    settings: Settings,
    kept: Kept,
    engines: Engines,
    reducer: Reducer,
    staging: Staging,
    observe: Observe,
    rehearsal: Rehearsal | None,
) -> Loader:
    parts = (
        kept.metadata,
        kept.chunks,
        engines.tables,
        reducer,
        staging.again,
        staging.folder,
        timedelta(hours=settings.keep_failed_hours),
        observe,
    )
    return DoomedLoader(*parts, faults=rehearsal.faults) if rehearsal else Loader(*parts)


def _pushes(
    settings: Settings, kept: Kept, stager: Stager, worker: Worker, loader: Loader, observe: Observe
) -> Pushes:
    return Pushes(
        kept.metadata,
        kept.chunks,
        stager,
        _quotas(settings, kept.metadata, kept.folder / "pools"),
        worker.stage,
        worker.wake,
        worker.forget,
        kept.rejects,
        worker.await_staged,
        loader.preview,
        settings.sql_seconds,
        observe,
    )


def _uploads(settings: Settings, kept: Kept, pushes: Pushes) -> Uploads:
    return Uploads(
        kept.metadata,
        DiskParts(kept.folder / "uploads", min_free_bytes=settings.min_free_disk_bytes),
        pushes,
        most=settings.max_unfinished_uploads,
        keep=timedelta(hours=settings.upload_hours),
        settled_s=SETTLED_S if settings.shared else 0,
    )


def _tokens(settings: Settings, metadata: Metadata) -> Tokens:
    return Tokens(
        metadata,
        lifetime=timedelta(hours=settings.token_hours),
        key_life=timedelta(days=settings.token_key_days),
    )


def _keeping(settings: Settings) -> Keeping:
    days = (settings.keep_jobs_days, settings.keep_rejects_days, settings.keep_new_jobs_days)
    return Keeping(*(timedelta(days=d) if d else None for d in days))


def _temp(folder: Path) -> Path:
    """A folder of this process for what engines spill; those of processes that have ended go."""
    temp = folder / "temp"
    temp.mkdir(exist_ok=True)
    with _flocked(temp):
        for left in temp.iterdir():
            with suppress(BlockingIOError), _flocked(left, fcntl.LOCK_NB):
                shutil.rmtree(left, ignore_errors=True)
        mine = temp / uuid4().hex
        mine.mkdir()
        _flock(mine)  # until the process ends
    return mine


@contextmanager
def _flocked(path: Path, how: int = 0) -> Iterator[None]:
    handle = _flock(path, how)
    try:
        yield
    finally:
        os.close(handle)


def _flock(path: Path, how: int = 0) -> int:
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _tables(settings: Settings, folder: Path, sandbox: Sandbox, temp: Path, locks: Locks) -> Tables:
    if settings.engine is Engine.SPARK:
        return _spark_tables(settings, folder, sandbox, locks)
    return DuckLakeTables(
        folder / "pools",
        memory_mb=settings.load_memory_mb,
        temp=temp,
        locks=locks,
        catalogs=_catalogs(settings, folder / "pools"),
        sandbox=sandbox,
        keep_versions_days=settings.keep_versions_days,
        upkeep_loads=settings.upkeep_loads,
    )


def _catalogs(settings: Settings, pools_folder: Path) -> Catalogs:
    """Raises CannotStart: catalogs elsewhere would be believed to be of no table."""
    if not settings.shared:
        return SqliteCatalogs(pools_folder)
    in_files, in_database = SqliteCatalogs(pools_folder), _catalogs_in_database(settings)
    if not settings.catalogs_in_database:
        with closing(in_database):
            if in_database.any():
                raise CannotStart("There are catalogs of pools in the database: set catalogs to 'database'.")
        return in_files
    if in_files.any():
        raise CannotStart(f"There are catalogs of pools in files of {pools_folder}: set catalogs to 'files'.")
    if not find_spec("duckdb_extension_postgres_scanner"):
        raise CannotStart("Catalogs in the database need an extension: pip install 'headrace[postgres]'.")
    return in_database


def _catalogs_in_database(settings: Settings) -> PostgresCatalogs:
    try:
        return PostgresCatalogs(settings.database_url.get_secret_value())
    except CannotOpen as error:
        raise CannotStart(str(error)) from error


def _spark_tables(settings: Settings, folder: Path, sandbox: Sandbox, locks: Locks) -> SparkTables:
    return SparkTables(
        folder / "pools",
        url=settings.spark_url,
        config=read_config(settings.spark_config),
        memory_mb=settings.load_memory_mb,
        locks=locks,
        sandbox=sandbox,
        keep_versions_days=settings.keep_versions_days,
        upkeep_loads=settings.upkeep_loads,
    )


def _refuse_without_spark(settings: Settings) -> None:
    if settings.engine is Engine.SPARK:
        if settings.storage_url:
            raise CannotStart("Spark reads staged chunks from the data folder: take away storage_url.")
        try:
            refuse_without_spark(read_config(settings.spark_config))
        except CannotUseSpark as error:
            raise CannotStart(str(error)) from error


def _confinement() -> tuple[str, ...]:
    """What the system has to hold users' SQL in; what it has not must be known to who runs it."""
    found = confinement.available()
    if len(found) < len(confinement.WALLS):
        log.warning(
            "queries are not fully confined by the operating system: only the gate and the engine's settings "
            "keep them from other files",
            has=found,
            wants=confinement.WALLS,
        )
    return found


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


def _quotas(settings: Settings, metadata: Metadata, pools_folder: Path) -> Quotas:
    celonis = settings.execute_limits is ExecuteLimits.CELONIS
    return Quotas(
        metadata,
        chunk_bytes=settings.max_chunk_bytes,
        unpacked_bytes=settings.max_unpacked_bytes,
        job_bytes=settings.max_job_bytes,
        pool_bytes=settings.max_pool_bytes,
        queued_jobs=settings.max_queued_jobs,
        submissions=CELONIS_SUBMISSIONS if celonis else None,
        size_of=PoolSizes(pools_folder),
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
    _refuse_without_spark(settings)
    with _place_in(folder, settings):
        temp = _temp(folder)
        sandbox = Sandbox(processes=1, memory_mb=settings.sql_memory_mb, temp=temp, warm=0)
        tables = _tables(settings, folder, sandbox, temp, _locks(settings))
        metadata = _metadata(settings)
        for pool in metadata.pools.list():
            for table in tables.tables(pool.id):
                tables.maintain(pool.id, table.ref)
                told(f"{pool.name}: {table.ref.name}")
            tables.expire(pool.id)
        metadata.close()
        tables.close()
        sandbox.close()


def server_of(folder: Path) -> int | None:
    """The process that serves a data folder now."""
    try:
        with (folder / "server.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int((folder / "server.lock").read_text() or 0)
    except OSError:
        return None
    return None


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
