"""A person at a shell: a home of their own, and a server that their commands mean."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from harness import RunningServer, create_pool, run_job

ORDERS = b"id;amount;day\n01;1,50;01.02.2024\n02;x;02.02.2024\n03;3;\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of who runs the tests counts."""
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def there(server: RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    """The server, told by the environment."""
    monkeypatch.setenv("HEADRACE_URL", server.url)
    monkeypatch.setenv("HEADRACE_KEY", server.admin_key)
    return server


@pytest.fixture
def orders(home: Path) -> str:
    """A CSV as people have them; the amount of its second row is none."""
    path = home / "orders.csv"
    path.write_bytes(ORDERS)
    return str(path)


@pytest.fixture(scope="module")
def pool(api: httpx.Client, request: pytest.FixtureRequest) -> str:
    """One for all tests of a file: the first query of each pool starts a process."""
    return create_pool(api, request.module.__name__)


@pytest.fixture
def fresh(api: httpx.Client) -> str:
    """A pool with nothing in it."""
    return create_pool(api, "fresh")


@pytest.fixture(scope="module")
def filled(api: httpx.Client) -> tuple[str, str]:
    """A pool with a table ``t`` of two rows; the pool and the job, one row of which was rejected."""
    pool = create_pool(api, "filled")
    columns = [{"columnName": "n", "columnType": "INTEGER"}]
    more = {"fileType": "CSV", "tableSchema": {"columns": columns}, "maxRejectedRows": 1}
    job = run_job(api, pool, "t", [b"id,n\na,1\nb,2\nc,x\n"], **more)
    return pool, job["id"]
