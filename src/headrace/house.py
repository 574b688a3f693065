"""Moving house, wired: which parts a move needs, by the settings of the new place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from headrace.chunks.s3 import key_of_whole
from headrace.chunks.s3parts import keys_of_whole
from headrace.durable import sync
from headrace.errors import Conflict
from headrace.folders import CannotStart, only_server_of, temp_of
from headrace.metadata import CannotOpen
from headrace.movetables import MoveTables
from headrace.moving import Amount, Different, IntoStore, Move
from headrace.objects import CannotReach, Objects
from headrace.rejectfiles import key_of as key_of_rejects
from headrace.settings import Engine, Settings
from headrace.staged import key_of as key_of_staged
from headrace.tables.catalogmoves import CatalogMoves
from headrace.tables.datafolders import DataFolders
from headrace.tables.dataobjects import DataStore
from headrace.tables.lakedata import LakesData
from headrace.tables.postgrescatalogs import PostgresCatalogs
from headrace.tables.sandbox import Sandbox
from headrace.wiring import (
    TABLES_MOVED,
    TABLES_MOVING,
    check_spark,
    data_of,
    locks_of,
    metadata_of,
    objects_of,
    tables_of,
)


def foreseen(settings: Settings) -> Sequence[Amount]:
    """What ``move`` would copy. Raises CannotStart, Conflict, NotFound."""
    if settings.engine is Engine.SPARK:
        with _moving_tables(settings, print) as (moving, pools):
            return [Amount(f"rows of {name}", rows) for name, rows in moving.amounts(pools)]
    with _moving(settings, print) as move:
        return move.amounts()


def move(settings: Settings, told: Callable[[str], None]) -> None:
    """Raises CannotStart, Conflict, NotFound, Different."""
    if settings.engine is Engine.SPARK:
        _move_tables(settings, told)
        return
    with _moving(settings, told) as moving:
        moving.run()


# -- tables --------------------------------------------------------------------------------------------


def _move_tables(settings: Settings, told: Callable[[str], None]) -> None:
    folder = settings.data_dir.resolve()
    if (folder / TABLES_MOVED).exists():
        raise Conflict("The tables have moved already: start a server with this engine.")
    told(
        "Each table goes as it is now. Its older versions stay behind in the lake: what was pushed until now "
        "can be undone no more."
    )
    with _moving_tables(settings, told) as (moving, pools):
        (folder / TABLES_MOVING).touch()
        sync(folder)
        if differences := moving.run(pools):
            raise Different("What has moved is not what it was:\n" + "\n".join(differences))
        told("All was compared, and is the same.")
        (folder / TABLES_MOVING).rename(folder / TABLES_MOVED)
        sync(folder)


@contextmanager
def _moving_tables(
    settings: Settings, told: Callable[[str], None]
) -> Iterator[tuple[MoveTables, Sequence[str]]]:
    """From the lakes of the folder, wherever the metadata are, to the engine of the settings."""
    os.umask(0o077)
    check_spark(settings)
    folder = settings.data_dir.resolve()
    if not (folder / "pools").is_dir():
        raise CannotStart(f"There is no server's folder at {folder}.")
    with ExitStack() as stack:
        if not settings.shared:
            stack.enter_context(only_server_of(folder))
        temp = temp_of(folder)
        sandbox = Sandbox(processes=1, memory_mb=settings.sql_memory_mb, temp=temp, warm=0)
        stack.callback(sandbox.close)
        locks, in_lake = locks_of(settings), settings.model_copy(update={"engine": Engine.LAKE})
        data = data_of(in_lake, folder / "pools", temp)
        lake, new = (tables_of(of, folder, sandbox, temp, locks, data) for of in (in_lake, settings))
        for engine in (lake, new):
            stack.callback(engine.close)
        metadata = stack.enter_context(closing(metadata_of(settings)))
        pools = [pool.id for pool in metadata.pools.list()]
        yield MoveTables(lake, new, temp, told), pools


# -- a folder ------------------------------------------------------------------------------------------


@contextmanager
def _moving(settings: Settings, told: Callable[[str], None]) -> Iterator[Move]:
    _refuse(settings)
    os.umask(0o077)
    folder = settings.data_dir.resolve()
    if not (folder / "pools").is_dir():
        raise CannotStart(f"There is no server's folder at {folder}.")
    with only_server_of(folder):
        try:
            url, temp = settings.database_url.get_secret_value(), temp_of(folder)
            if not settings.storage_url:
                data: LakesData = DataFolders(folder / "pools")
                yield Move(folder, temp, url, partial(_catalogs, settings, data, temp), [], told)
                return
            objects = objects_of(settings)
            data = DataStore(settings.storage_url, settings.storage_access, lambda _: None)
            catalogs, kinds = partial(_catalogs, settings, data, temp), _kinds(folder, objects)
            place = lambda pool: data.of(pool).place  # noqa: E731
            yield Move(folder, temp, url, catalogs, kinds, told, place, objects.claim)
        except (CannotOpen, CannotReach) as error:
            raise CannotStart(str(error)) from error


def _refuse(settings: Settings) -> None:
    if not settings.shared:
        raise CannotStart("It moves to the database of database_url, which is not set.")
    if settings.storage_url and not settings.storage_key:
        raise CannotStart("Tables in a store of objects need storage_key and storage_secret.")
    if not settings.catalogs_in_database:
        raise CannotStart("Catalogs move with all else: take away catalogs.")


def _catalogs(settings: Settings, data: LakesData, temp: Path) -> CatalogMoves:
    catalogs = PostgresCatalogs(settings.database_url.get_secret_value())
    return CatalogMoves(catalogs, data, memory_mb=settings.load_memory_mb, temp=temp)


def _kinds(folder: Path, objects: Objects) -> list[IntoStore]:
    """What is in the folder, and what each is called in the store."""
    pools = folder / "pools"
    return [
        IntoStore("chunks", folder / "chunks", "*/*", _of_chunk, objects),
        IntoStore("staged chunks", pools, "*/staging/*/*.parquet", _of_staged, objects),
        IntoStore("rejects", pools, "*/rejects/job_id=*/*.ndjson", _of_rejects, objects),
        IntoStore("data of tables", pools, "*/data/**/*.parquet", partial(_of_data, pools), objects),
        IntoStore("uploads", folder / "uploads", "*/*", _of_upload, objects, _begun),
    ]


def _of_chunk(file: Path) -> str:
    return key_of_whole(file.parent.name, file.name)


def _of_staged(file: Path) -> str:
    return key_of_staged(file.parent.parent.parent.name, file.parent.name, file.stem)


def _of_rejects(file: Path) -> str:
    job_id = file.parent.name.removeprefix("job_id=")
    return key_of_rejects(file.parent.parent.parent.name, job_id, file.stem)


def _of_data(pools: Path, file: Path) -> str:
    return f"pools/{file.relative_to(pools).as_posix()}"


def _of_upload(file: Path) -> str:
    """One of which nothing has come has no piece."""
    begun, piece = keys_of_whole(file.parent.name, file.name)
    return piece if file.stat().st_size else begun


def _begun(file: Path) -> str:
    return keys_of_whole(file.parent.name, file.name)[0]
