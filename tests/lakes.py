"""Where the lakes of a test are: files in a folder, with catalogs in a database, or data in a store as well.

Each suite of the engine runs over files; with ``HEADRACE_LAKES_OF_TESTS=files,database,store`` over all. The
server that the suites of the API share is over the last of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from harness import RunningServer
from headrace.objects import Access, Objects
from headrace.settings import Settings
from headrace.tables.catalogs import Catalogs
from headrace.tables.datafolders import DataFolders
from headrace.tables.dataobjects import DataStore
from headrace.tables.lakedata import LakeData, LakesData
from headrace.tables.postgrescatalogs import PostgresCatalogs
from headrace.tables.sqlitecatalogs import SqliteCatalogs
from objectstore import ObjectStore
from postgres import Postgres


class Place(StrEnum):
    FILES = "files"
    DATABASE = "database"
    STORE = "store"


PLACES = [Place(name) for name in os.environ.get("HEADRACE_LAKES_OF_TESTS", "files").split(",")]


def place_settings(place: Place, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Of an empty place."""
    if place is Place.FILES:
        return {}
    running: Postgres = request.getfixturevalue("postgres")
    found = {"database_url": running.database()}
    if place is Place.STORE:
        store: ObjectStore = request.getfixturevalue("object_store")
        found |= {
            name.removeprefix("HEADRACE_").lower(): value
            for name, value in store.environment(store.place()).items()
        }
    return found


def server_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of a server at an empty place."""
    return {f"HEADRACE_{n.upper()}": value for n, value in place_settings(PLACES[-1], request).items()}


def kept_below(server: RunningServer, folder: str) -> list[str]:
    """The names of what lies in a folder of a server's, on its disk or in its store."""
    env = server.env
    if "HEADRACE_STORAGE_URL" not in env:
        return [path.name for path in (server.data_dir / folder).glob("*") if path.is_file()]
    access = Access(*(env[f"HEADRACE_STORAGE_{name}"] for name in ("ENDPOINT", "KEY", "SECRET")))
    found = Objects(env["HEADRACE_STORAGE_URL"], access).found(folder)
    return sorted({object.key.removeprefix(f"{folder}/").partition("/")[0] for object in found})


def place(chosen: Mapping[str, str], root: Path) -> tuple[Catalogs, LakesData]:
    """Catalogs and data."""
    settings = Settings(**chosen)  # type: ignore[arg-type]
    url = settings.database_url.get_secret_value()
    catalogs = PostgresCatalogs(url) if url else SqliteCatalogs(root)
    if not settings.storage_url:
        return catalogs, DataFolders(root)
    return catalogs, DataStore(settings.storage_url, settings.storage_access, lambda _: None)


def files_of(data: LakeData) -> dict[str, int]:
    """All Parquet files of a lake and their bytes, whether its catalog names them or not."""
    if data.folder:
        return {str(path): path.stat().st_size for path in data.folder.rglob("*.parquet")}
    found = data.objects.found(data.root)  # type: ignore[attr-defined]
    return {f"{data.place}{o.key.removeprefix(f'{data.root}/')}": o.size for o in found}  # type: ignore[attr-defined]
