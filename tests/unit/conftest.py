"""Databases of the metadata (what is tested over one is tested over both), and an engine that reduces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.metadata import Metadata
from headrace.reducing import Reducer
from postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty one: where it is."""
    if request.param == "sqlite":
        return tmp_path / "metadata.sqlite"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.schema()


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Metadata of SQLite with nothing in them, to be copied: migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("fresh") / "metadata.sqlite"
    Metadata(path).close()
    return path


@pytest.fixture(scope="module")
def reducer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reducer]:
    made = Reducer(memory_mb=256, temp=tmp_path_factory.mktemp("reducing"))
    yield made
    made.close()
