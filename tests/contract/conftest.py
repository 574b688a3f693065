"""The keys that the clients hold, a sender that repairs nothing, and who sees what it sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract import matrix
from contract.sending import Wire
from harness import RunningServer, new_key


@pytest.fixture(scope="session")
def wire(server: RunningServer) -> Iterator[Wire]:
    with server.client("") as client:
        yield Wire(client, server.url)


@pytest.fixture(scope="session")
def app_key(api: httpx.Client) -> str:
    """A team's application key that may push and nothing else."""
    return new_key(api, "application", ["push"])


@pytest.fixture(scope="session")
def user_key(api: httpx.Client) -> str:
    """A person's key that may push and nothing else."""
    return new_key(api, "personal", ["push"])


@pytest.fixture(scope="session")
def owner_key(api: httpx.Client) -> str:
    """A person's key that may also create pools."""
    return new_key(api, "personal", ["push", "read", "admin"])


# -- the matrix of compatibility -----------------------------------------------------------------------

_all_seen: matrix.Seen = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", action="store_true", help="write docs/compatibility.md from this run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("write_matrix", default=False):
        items[:] = [item for item in items if item.path.stem in matrix.CLIENTS]


@pytest.fixture(scope="module", autouse=True)
def seen(request: pytest.FixtureRequest) -> Iterator[set[str]]:
    """What a client's tests see is on the page, and nothing else is. The names of the tests that have run."""
    stem, run = Path(request.path).stem, set[str]()
    if stem not in matrix.CLIENTS:
        yield run
        return
    with matrix.recorded(matrix.CLIENTS[stem]) as requests:
        yield run
    _all_seen.update(requests)
    if not request.config.getoption("write_matrix", default=False):
        matrix.compare(stem, requests, run)


@pytest.fixture(autouse=True)
def _noted(request: pytest.FixtureRequest, seen: set[str]) -> None:
    seen.add(request.function.__name__)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("write_matrix", default=False):
        matrix.PAGE.write_text(matrix.render(_all_seen))
