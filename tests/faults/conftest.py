"""The option ``--write-run``, and the warm process from which servers are born."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ran
from born import Nursery, nursery


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-run", action="store_true", help="write docs/reliability-run.md")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("write_run", default=False):
        ran.write()


@pytest.fixture(scope="session")
def warm() -> Iterator[Nursery]:
    with nursery() as found:
        yield found
