"""The databases of the metadata: what is tested over one is tested over both."""

from __future__ import annotations

from pathlib import Path

import pytest

from postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty one: where it is."""
    if request.param == "sqlite":
        return tmp_path / "metadata.sqlite"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.schema()
