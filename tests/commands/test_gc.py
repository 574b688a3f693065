"""``headrace gc``: what is old enough goes, of a real server; what versions need stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from commands.running import done
from harness import RunningServer, create_job, create_pool, own_job, run_job, sql, wait_for

SOON = {f"HEADRACE_KEEP_{kind}_DAYS": "0.0000001" for kind in ("JOBS", "REJECTS", "NEW_JOBS", "VERSIONS")}
DELTA = {"fileType": "CSV", "type": "DELTA", "keys": ["k"]}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    """A server that keeps nothing that nobody needs."""
    with RunningServer(tmp_path / "data", env=SOON) as running:
        monkeypatch.setenv("HEADRACE_URL", running.url)
        monkeypatch.setenv("HEADRACE_KEY", running.admin_key)
        yield running


@pytest.fixture
def of_there(there: RunningServer) -> Iterator[httpx.Client]:
    with there.client() as client:
        yield client


def counts(*args: str) -> dict[str, int]:
    return {line["kind"]: line["count"] for line in done("gc", *args, "-o", "json").json}


def test_only_what_nobody_needs_goes(there: RunningServer, of_there: httpx.Client) -> None:
    api, pool = of_there, create_pool(of_there)
    jobs = [run_job(api, pool, "t", [f"k,v\n{n},x\n".encode()], **DELTA)["id"] for n in range(3)]
    assert counts("--dry-run")["jobs"] == counts()["jobs"] == 0, "all of them can be undone"

    done("maintain", "--pool", pool)  # the versions before the last one are not kept
    create_job(api, pool, "never")
    assert counts("--dry-run") == {"jobs": 3, "new-jobs": 1, "rejects": 0, "receipts": 0, "audit": 0}
    assert len(api.get(f"/api/v1/pools/{pool}/jobs").json()) == 4
    assert counts() == {"jobs": 3, "new-jobs": 1, "rejects": 0, "receipts": 3, "audit": 0}
    assert api.get(f"/api/v1/pools/{pool}/jobs").json() == []
    assert api.get(f"/api/v1/pools/{pool}/jobs/{jobs[0]}").status_code == 404
    assert sql(api, pool, "SELECT k FROM t ORDER BY k") == [["0"], ["1"], ["2"]]
    assert set(counts().values()) == {0}

    by_key = wait_for(lambda: api.get("/api/v1/audit", params={"action": "run-retention"}).json())
    assert by_key[0]["name"] == "admin"
    [entry] = wait_for(lambda: api.get("/api/v1/audit", params={"action": "retention"}).json())
    assert (entry["name"], entry["subject"]) == ("server", "3 jobs, 1 new-jobs, 3 receipts")

    there.restart()
    with there.client() as again:
        last = run_job(again, pool, "t", [b"k,v\n9,y\n"], **DELTA)["id"]
        assert own_job(again, pool, last)["status"] == "DONE"
        assert sql(again, pool, "SELECT count(*) FROM t") == [[4]]
        undone = again.post(f"/api/v1/pools/{pool}/jobs/{last}/undo")
        assert undone.status_code == 200, undone.text


def test_it_is_for_administrators(of_there: httpx.Client, there: RunningServer) -> None:
    key = of_there.post("/api/v1/keys", json={"name": "x", "permissions": ["push"]}).json()["key"]
    with there.client(f"AppKey {key}") as other:
        assert [other.request(method, "/api/v1/gc").status_code for method in ("GET", "POST")] == [403, 403]
