"""Data folders of every released version open, show their rows, and are pushed to (release.py made them)."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import httpx
import pytest
from born import BornServer, Nursery
from release import KEYED

from harness import execute, run_job, sql, wait_for_job
from headrace.tables.catalogfiles import move

RELEASED = sorted((Path(__file__).parent / "released").glob("*.tar.xz"))
CHANGES = Path(__file__).parent.parent.parent / "CHANGELOG.md"
FOR_EVER = {f"HEADRACE_KEEP_{what}_DAYS": "100000" for what in ("NEW_JOBS", "JOBS", "REJECTS", "VERSIONS")}

ORDERS = (
    [[str(n), f"name {n}", f"{n}.5"] for n in range(100, 900)],
    [[str(n), "changed", "0"] for n in range(900, 1100)],
)
ALL_ORDERS = "SELECT id, name, amount FROM orders ORDER BY id::INT"


def version_of(archive: Path) -> str:
    return archive.name.removesuffix(".tar.xz")


def test_no_version_is_missing() -> None:
    """The first of the changes is the version to come."""
    versions = re.findall(r"^## (\S+)$", CHANGES.read_text(), re.MULTILINE)[1:]
    assert sorted(versions) == [version_of(archive) for archive in RELEASED]


@pytest.mark.parametrize("archive", RELEASED, ids=version_of)
def test_a_folder_of(archive: Path, tmp_path: Path, warm: Nursery) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    for catalog in tmp_path.glob("data/pools/*/catalog.sqlite"):
        move(catalog, catalog.parent / "data")  # it lay elsewhere, and is restored here
    server = BornServer(warm, tmp_path / "data", env=FOR_EVER)
    with server, server.client() as api:
        pool = api.get("/integration/api/pools").json()[0]["id"]
        as_it_was(api, pool)
        goes_on(api, pool)
    with server, server.client() as api:
        assert sql(api, pool, ALL_ORDERS) == [*ORDERS[0], *ORDERS[1]]


def as_it_was(api: httpx.Client, pool: str) -> None:
    """Rows, their counts, the states of jobs, and what could not be stored."""
    jobs = api.get(f"/api/v1/pools/{pool}/jobs").json()
    assert [job["status"] for job in jobs] == ["NEW", "ERROR", "DONE", "DONE", "DONE"]
    assert sql(api, pool, ALL_ORDERS) == [*ORDERS[0], *ORDERS[1]]
    assert sql(api, pool, "SELECT n, text FROM events ORDER BY n") == [[1, "a"], [2, "b"]]
    changed = api.get(f"/api/v1/pools/{pool}/jobs/{jobs[3]['id']}").json()["counts"]
    assert (changed["inserted"], changed["updated"], changed["deleted"]) == (100, 100, 100)
    [reject] = api.get(f"/api/v1/pools/{pool}/jobs/{jobs[1]['id']}/rejects").json()
    assert reject["column"] == "n"


def goes_on(api: httpx.Client, pool: str) -> None:
    """The job that waited is loaded; a new one is, too, and is undone."""
    waiting = api.get(f"/api/v1/pools/{pool}/jobs").json()[0]["id"]
    assert execute(api, pool, waiting).status_code == 200
    assert wait_for_job(api, pool, waiting)["status"] == "DONE"
    assert sql(api, pool, "SELECT n, text FROM events ORDER BY n")[2:] == [[3, "c"]]
    more = run_job(api, pool, "orders", [b"id,name,amount\n100,new,1\n2000,new,1\n"], type="DELTA", **KEYED)
    assert more["status"] == "DONE"
    assert sql(api, pool, "SELECT count(*) FROM orders WHERE name = 'new'") == [[2]]
    undone = api.post(f"/api/v1/pools/{pool}/jobs/{more['id']}/undo")
    assert undone.status_code == 200, undone.text
    assert sql(api, pool, ALL_ORDERS) == [*ORDERS[0], *ORDERS[1]]
