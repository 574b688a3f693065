"""One server for the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from access.stage import Stage
from harness import RunningServer


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("matrix")
    with RunningServer(folder / "data") as server, server.client() as api:
        made = Stage(server, api, folder)
        made.open()
        yield made
        made.close()
