"""What every test may ask for: a server, a client of its administrator, a fresh pool."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, settings

from counted import Counting
from harness import RunningServer, create_pool
from lakes import server_environment
from objectstore import ObjectStore
from postgres import Postgres

# on a busy machine a slow example is no finding; what must land is decided by the same examples each time
settings.register_profile(
    "headrace",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("headrace")


LONG = ("faults", "scale", "fuzz", "engine")
"""Folders of tests that take long one by one: they begin, so that no process is left alone with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return LONG.index(folder) if folder in LONG else len(LONG)

    items.sort(key=turn)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Counting(), "counting")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """A command that runs in this process sets it for itself, and it would stay for all tests behind it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    env = server_environment(request)
    with RunningServer(tmp_path_factory.mktemp("server") / "data", env=env) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    with ObjectStore() as running:
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
