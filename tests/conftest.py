"""What every test may ask for: a server, a client of its administrator, a fresh pool."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from harness import RunningServer, create_pool


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("tls") / "data", tls=True) as running:
        yield running


@pytest.fixture(scope="session")
def api(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def pool(api: httpx.Client, request: pytest.FixtureRequest) -> str:
    return create_pool(api, request.node.name)
