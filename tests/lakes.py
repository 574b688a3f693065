"""Where the lakes of a test have their catalogs: in files, or in a database as well.

Each suite of the engine runs over files; with ``HEADRACE_CATALOGS_OF_TESTS=files,database`` over both.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.settings import CatalogPlace
from headrace.tables.catalogs import Catalogs
from headrace.tables.postgrescatalogs import PostgresCatalogs
from headrace.tables.sqlitecatalogs import SqliteCatalogs
from postgres import Postgres

PLACES = [CatalogPlace(name) for name in os.environ.get("HEADRACE_CATALOGS_OF_TESTS", "files").split(",")]


def database(place: CatalogPlace, request: pytest.FixtureRequest) -> str:
    """The URL of an empty one, or ""."""
    if place is CatalogPlace.FILES:
        return ""
    running: Postgres = request.getfixturevalue("postgres")
    return running.database()


def catalogs(url: str, root: Path) -> Catalogs:
    return PostgresCatalogs(url) if url else SqliteCatalogs(root)
