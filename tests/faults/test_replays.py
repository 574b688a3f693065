"""The process is killed while rejects are sent again: they are loaded once or free, never lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from world import strays

from harness import RunningServer, create_pool, own_job, run_job, sql, wait_for

ROWS = b'k,n\na,"1,5"\nb,2\nc,"3,5"\n'
SCHEMA = {"tableName": "t", "columns": [{"columnName": "n", "columnType": "FLOAT", "decimals": 1}]}
CORRECTION = {"csvParsingOptions": {"decimalSeparator": ","}}
LOADED = [["a", "1.5"], ["b", "2.0"], ["c", "3.5"]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "data") as running:
        yield running


def append_with_rejects(api: httpx.Client, pool: str) -> str:
    """An append: whatever came twice would be there twice."""
    more: dict[str, Any] = {"fileType": "CSV", "type": "DELTA", "tableSchema": SCHEMA, "maxRejectedRows": 9}
    job = run_job(api, pool, "t", [ROWS], **more)
    assert job["status"] == "DONE"
    return str(job["id"])


def replay(api: httpx.Client, pool: str, job: str) -> httpx.Response:
    return api.post(f"/api/v1/pools/{pool}/jobs/{job}/rejects/replay", json=CORRECTION)


def replay_and_die(server: RunningServer, point: str, pool: str, job: str) -> None:
    server.stop()
    server.env = {"HEADRACE_CRASH_AT": point}
    server.start()
    process = server.process
    assert process is not None
    with server.client() as api, suppress(httpx.TransportError):
        replay(api, pool, job)
    assert process.wait(30) == -9, f"{point} was not reached"
    server.process, server.env = None, {}
    server.start()


def test_killed_before_the_claim_nothing_has_happened(server: RunningServer) -> None:
    with server.client() as api:
        pool = create_pool(api)
        job = append_with_rejects(api, pool)
    replay_and_die(server, "kept", pool, job)
    with server.client() as api:
        assert own_job(api, pool, job)["replayedBy"] is None
        wait_for(lambda: not strays(server.data_dir), 10, "the sweep")
        again = replay(api, pool, job)
        assert again.status_code == 201, again.text
        wait_for(lambda: own_job(api, pool, again.json()["id"])["status"] == "DONE")
        assert sql(api, pool, "SELECT k, n FROM t ORDER BY k") == LOADED


def test_killed_after_the_claim_the_job_is_there_with_all_of_its_chunks(server: RunningServer) -> None:
    with server.client() as api:
        pool = create_pool(api)
        job = append_with_rejects(api, pool)
    replay_and_die(server, "queued", pool, job)
    with server.client() as api:
        holder = own_job(api, pool, job)["replayedBy"]
        wait_for(lambda: own_job(api, pool, holder)["status"] == "DONE")
        assert sql(api, pool, "SELECT k, n FROM t ORDER BY k") == LOADED
        refused = replay(api, pool, job)
        assert (refused.status_code, refused.json()["code"]) == (409, "not-replayable")
        assert holder in refused.json()["detail"]


def test_rejects_of_version_0_1_are_taken_over(server: RunningServer) -> None:
    """It kept them beside the raw chunks, named by their chunk."""
    with server.client() as api:
        pool = create_pool(api)
        job = append_with_rejects(api, pool)
        [chunk] = own_job(api, pool, job)["chunks"]
    server.stop()
    [new] = server.data_dir.glob(f"pools/{pool}/rejects/job_id={job}/1.ndjson")
    old = server.data_dir / "chunks" / job / f"{chunk['id']}.rejects.ndjson"
    old.parent.mkdir()
    new.rename(old)
    server.start()
    with server.client() as api:
        found = api.get(f"/api/v1/pools/{pool}/jobs/{job}/rejects").json()
        assert [r["line"] for r in found] == [2, 4]
        assert not old.parent.exists()
