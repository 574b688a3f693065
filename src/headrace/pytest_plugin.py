"""Fixtures for the tests of other projects: ``headrace_server`` and ``headrace_pool``.

Loaded by pytest wherever Headrace is installed, so it imports next to nothing until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from headrace.client import Pool
    from headrace.testing import Server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("headrace_seed", "seed file of headrace_server, relative to the root folder", default="")
    parser.addini("headrace_tls", "headrace_server speaks HTTPS", type="bool", default=False)


@pytest.fixture(scope="session")
def headrace_options(pytestconfig: pytest.Config) -> dict[str, Any]:
    """What headrace_server is made with; override it to give more, for instance settings."""
    seed = pytestconfig.getini("headrace_seed")
    return {
        "seed": pytestconfig.rootpath / seed if seed else None,
        "tls": pytestconfig.getini("headrace_tls"),
    }


@pytest.fixture(scope="session")
def headrace_server(headrace_options: dict[str, Any]) -> Iterator[Server]:
    """A server for all tests of the session: see headrace.testing.Server."""
    from headrace.testing import Server  # noqa: PLC0415  slow to import, and most tests need none of it

    with Server(**headrace_options) as server:
        yield server


@pytest.fixture
def headrace_pool(headrace_server: Server, request: pytest.FixtureRequest) -> Iterator[Pool]:
    """A pool of the test's own. Faults that are left afterwards go."""
    yield headrace_server.pool(request.node.name)
    headrace_server.faults.clear()
