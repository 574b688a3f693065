"""What every test may ask for: a server, a client of its administrator, a fresh pool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from counted import COUNTED, show
from harness import RunningServer, create_pool

# on a busy machine a slow example is no finding; what must land is decided by the same examples each time
settings.register_profile(
    "headrace",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("headrace")


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


# -- what was counted is said at the end, also by workers of a parallel run ----------------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counted"] = COUNTED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    COUNTED.extend(map(tuple, getattr(node, "workeroutput", {}).get("counted", ())))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    show(terminalreporter, COUNTED)
