"""The one place where the concrete parts are chosen and wired together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from headrace import confinement
from headrace.access import Access, Scrapers
from headrace.cancels import Cancels
from headrace.changes import Changes
from headrace.chunks import ChunkStore, PartStore
from headrace.chunks.disk import DiskChunks
from headrace.chunks.parts import DiskParts
from headrace.chunks.s3 import S3Chunks
from headrace.chunks.s3parts import S3Parts
from headrace.errors import StorageUnreachable
from headrace.folders import CannotStart, temp_of
from headrace.gauges import Gauges, Lakes, Process
from headrace.histories import Histories
from headrace.housekeeping import Housekeeper
from headrace.keys import KeyRing
from headrace.loading import Loader
from headrace.locks import Locks, LocksOfProcess
from headrace.logs import Logbook
from headrace.metadata import CannotOpen, Metadata
from headrace.metadata.advisory import AdvisoryLocks, LocksOfOneConnection
from headrace.metadata.moving import is_half_moved
from headrace.metadata.signs import Hear, Listener, Sign
from headrace.metrics import Metrics
from headrace.model import AuditEntry, SubmissionLimits
from headrace.objects import CannotReach, Objects
from headrace.observing import Observe, heard_by
from headrace.overview import Overview
from headrace.pools import Pools
from headrace.profiles import Profiles
from headrace.pushes import Pushes
from headrace.quotas import PoolSizes, Quotas
from headrace.reducing import Reducer
from headrace.rehearsal import DoomedLoader, Rehearsal
from headrace.rejectfiles import RejectFiles, RejectFolders, RejectObjects
from headrace.replays import Replays
from headrace.retention import Keeping, Retention
from headrace.retries import Retries
from headrace.schemas import Schemas
from headrace.sessions import Sessions
from headrace.settings import Engine, ExecuteLimits, Settings, StringProfile
from headrace.staged import StagedFiles, StagedObjects, StagingFolder, published
from headrace.staging import Stager
from headrace.tables.catalogs import Catalogs
from headrace.tables.datafolders import DataFolders
from headrace.tables.dataobjects import DataStore
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.lakedata import LakesData
from headrace.tables.postgrescatalogs import PostgresCatalogs
from headrace.tables.sandbox import Sandbox
from headrace.tables.spark import SparkTables
from headrace.tables.sparkdriver import CannotUseSpark, read_config, refuse_without_spark
from headrace.tables.sqlitecatalogs import SqliteCatalogs
from headrace.tokens import Tokens
from headrace.trail import Trail
from headrace.undoing import Undos
from headrace.uploads import Uploads
from headrace.web.context import Services
from headrace.web.noting import Write
from headrace.worker import SETTLED_S, Staging, Worker

if TYPE_CHECKING:
    from headrace.traces import Traces


log = structlog.get_logger()
CELONIS_STRING_LENGTH = 80
CELONIS_SUBMISSIONS = SubmissionLimits(per_second=10, per_hour=250)
Tables = DuckLakeTables | SparkTables


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
    data: LakesData

    def forget_all(self) -> None:
        self.sandbox.forget_all()
        self.tables.forget_all()

    def close(self) -> None:
        self.stager.close()
        self.sandbox.close()
        self.tables.close()
        self.locks.close()


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


def engines_of(settings: Settings, folder: Path) -> Engines:
    check_spark(settings)
    refuse_other_engine(settings, folder)
    temp = temp_of(folder)
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
    locks, data = locks_of(settings), data_of(settings, folder / "pools", temp)
    return Engines(
        stager, sandbox, tables_of(settings, folder, sandbox, temp, locks, data), temp, locks, data
    )


def locks_of(settings: Settings) -> Locks:
    if not settings.shared:
        return LocksOfProcess()
    try:
        return AdvisoryLocks(settings.database_url.get_secret_value())
    except CannotOpen as error:
        raise CannotStart(str(error)) from error


@contextmanager
def alone(locks: Locks, what: str) -> Iterator[None]:
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
    engines = engines or engines_of(settings, folder)
    arriving = arriving_of(settings, folder, engines.temp)
    kept = Kept(**vars(arriving), folder=folder, metadata=metadata_of(settings))
    _claim_store(settings, kept.metadata)
    _drop_deleted_pools(folder / "pools", kept.metadata, engines, settings.shared)
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
    pushes = _pushes(settings, kept, engines, worker, loader, observe)
    tokens = _tokens(settings, kept.metadata)
    pools = Pools(
        kept.metadata, engines.tables, kept.rejects, settings.sql_rows, settings.sql_seconds, observe
    )
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


def metadata_of(settings: Settings) -> Metadata:
    try:
        metadata = Metadata(settings.database)
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    if is_half_moved(metadata.engine):
        metadata.close()
        raise CannotStart(
            "A folder is being moved into this database, and not all of it is there: go on with "
            "'headrace migrate', or stay with the folder: start without database_url."
        )
    return metadata


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
class Arriving:
    """Where chunks wait, raw and staged, where uploads become some, and what could not be stored."""

    chunks: ChunkStore
    parts: PartStore
    staged: StagedFiles
    rejects: RejectFiles


@dataclass(frozen=True)
class Kept(Arriving):
    """What an installation keeps beside the lakes."""

    folder: Path
    metadata: Metadata

    def pool_ids(self) -> Sequence[str]:
        return [pool.id for pool in self.metadata.pools.list()]


def arriving_of(settings: Settings, folder: Path, temp: Path) -> Arriving:
    """In the folder, or in a store of objects. Raises CannotStart."""
    free, pools = settings.min_free_disk_bytes, folder / "pools"
    if not settings.storage_url:
        return Arriving(
            DiskChunks(folder / "chunks", min_free_bytes=free),
            DiskParts(folder / "uploads", min_free_bytes=free),
            StagingFolder(pools),
            RejectFolders(pools),
        )
    objects = objects_of(settings)
    uploads = min(32, max(4, settings.max_uploads // 8))
    return Arriving(
        S3Chunks(objects, temp / "chunks", min_free_bytes=free, uploads=uploads),
        S3Parts(objects, temp / "uploads", _locks_of_uploads(settings), min_free_bytes=free, uploads=uploads),
        StagedObjects(objects, temp / "staged"),
        RejectObjects(objects, temp / "rejects", pools),
    )


def objects_of(settings: Settings) -> Objects:
    """The store of storage_url, which answers. Raises CannotStart."""
    try:
        objects = Objects(settings.storage_url, settings.storage_access)
        next(objects.found("chunks"), None)  # or it would be the first client who hears of it
    except CannotReach as error:
        raise CannotStart(str(error)) from error
    except StorageUnreachable as error:
        raise CannotStart(f"The store of storage_url cannot be used: {error.__cause__}") from error
    return objects


def _claim_store(settings: Settings, metadata: Metadata) -> None:
    """Two installations in one place would sweep what the other knows. Raises CannotStart."""
    if settings.storage_url:
        try:
            objects_of(settings).claim(metadata.signing.installation_id())
        except CannotReach as error:
            raise CannotStart(str(error)) from error


def _locks_of_uploads(settings: Settings) -> LocksOfOneConnection:
    try:
        return LocksOfOneConnection(settings.database_url.get_secret_value())
    except CannotOpen as error:
        raise CannotStart(str(error)) from error


def _drop_deleted_pools(pools_folder: Path, metadata: Metadata, engines: Engines, shared: bool) -> None:
    """Drop pools whose rows are gone: a crash came between a row and its files. Raises CannotStart."""
    there = {entry.name for entry in pools_folder.iterdir()}
    stored = set(engines.data.pools())
    known = {pool.id for pool in metadata.pools.list()}  # asked last: a row comes before its files
    for place, found in ((str(pools_folder), there), ("the store of storage_url", stored)):
        if shared and found and not found & known:  # SQLite's file lies beside its pools, a URL may be any
            raise CannotStart(
                f"The database of database_url knows none of the pools in {place}, and they would be "
                "deleted: name the database that belongs to them, or another place. If they are what was "
                "left of pools that were deleted, delete them there."
            )
    for name in (there | stored) - known:
        engines.tables.drop_pool(name)


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
    settings: Settings, kept: Kept, engines: Engines, worker: Worker, loader: Loader, observe: Observe
) -> Pushes:
    return Pushes(
        kept.metadata,
        kept.chunks,
        engines.stager,
        _quotas(settings, kept.metadata, PoolSizes(kept.folder / "pools", elsewhere=engines.data.bytes)),
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
        kept.parts,
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


def tables_of(
    settings: Settings, folder: Path, sandbox: Sandbox, temp: Path, locks: Locks, data: LakesData
) -> Tables:
    if settings.engine is Engine.SPARK:
        return _spark_tables(settings, folder, sandbox, locks)
    return DuckLakeTables(
        folder / "pools",
        memory_mb=settings.load_memory_mb,
        temp=temp,
        locks=locks,
        catalogs=catalogs_of(settings, folder / "pools", data),
        data=data,
        sandbox=sandbox,
        keep_versions_days=settings.keep_versions_days,
        upkeep_loads=settings.upkeep_loads,
    )


def data_of(settings: Settings, pools_folder: Path, temp: Path) -> LakesData:
    """Of tables: in the store if catalogs are where every process reaches them. Raises CannotStart."""
    if not (settings.storage_url and settings.catalogs_in_database):
        return DataFolders(pools_folder)
    if not settings.storage_key:
        raise CannotStart("Tables in a store of objects need storage_key and storage_secret.")
    if any(pools_folder.glob("*/data/*")):
        raise CannotStart(
            f"There are data of tables in {pools_folder}, and storage_url would have them looked for in the "
            "store: take storage_url away."
        )
    try:
        return DataStore(settings.storage_url, settings.storage_access, partial(published, temp / "staged"))
    except CannotReach as error:
        raise CannotStart(str(error)) from error


def catalogs_of(settings: Settings, pools_folder: Path, data: LakesData) -> Catalogs:
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
    if elsewhere := [place for place in in_database.places() if not data.holds(place)]:
        in_database.close()
        raise CannotStart(
            f"The catalogs in the database say that data of tables are at {elsewhere[0]}: set storage_url so "
            "that they are looked for there, or take it away if that is a folder."
        )
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


TABLES_MOVING, TABLES_MOVED = "tables-moving.json", "tables-moved.json"
"""Say of a folder that the tables of its lakes are on their way to Iceberg, or all there."""


def refuse_other_engine(settings: Settings, folder: Path) -> None:
    """Raises CannotStart where the tables are not all with this engine."""
    if settings.engine is Engine.SPARK and (folder / TABLES_MOVING).exists():
        raise CannotStart(
            "Not all tables of the folder are in Iceberg yet: go on with 'headrace migrate', or stay with "
            "the lake, without engine."
        )
    if settings.engine is Engine.LAKE and (folder / TABLES_MOVED).exists():
        raise CannotStart(
            "The tables of the folder have moved to Iceberg: set engine to 'spark'. To go back to the lake, "
            f"as it was then, delete {folder / TABLES_MOVED}."
        )


def check_spark(settings: Settings) -> None:
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


def _quotas(settings: Settings, metadata: Metadata, size_of: PoolSizes) -> Quotas:
    celonis = settings.execute_limits is ExecuteLimits.CELONIS
    return Quotas(
        metadata,
        chunk_bytes=settings.max_chunk_bytes,
        unpacked_bytes=settings.max_unpacked_bytes,
        job_bytes=settings.max_job_bytes,
        pool_bytes=settings.max_pool_bytes,
        queued_jobs=settings.max_queued_jobs,
        submissions=CELONIS_SUBMISSIONS if celonis else None,
        size_of=size_of,
    )
