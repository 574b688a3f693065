"""The keys that the clients hold, and a sender that repairs nothing."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

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
