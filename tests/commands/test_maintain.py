"""``headrace maintain``: of a pool through its server; a folder in use is left alone."""

from __future__ import annotations

import httpx
import pytest

from commands.running import done, next_of
from harness import RunningServer, create_pool, run_job, sql

pytestmark = pytest.mark.usefixtures("there")


def test_maintain_a_pool(there: RunningServer, api: httpx.Client, fresh: str) -> None:
    for n in range(4):
        run_job(api, fresh, "t", [f"a\n{n}\n".encode()], fileType="CSV", type="DELTA")
    folder = there.data_dir / "pools" / fresh / "data"
    assert not list(folder.rglob("compact/*.parquet"))
    assert done("maintain", "--pool", fresh).out == "t\n"
    assert len(list(folder.rglob("compact/*.parquet"))) == 1
    assert sql(api, fresh, "SELECT count(*) FROM t") == [[4]]
    assert done("tables", "versions", "t", "--pool", fresh, "-o", "json").json[0]["change"] == "upkeep"


def test_upkeep_is_for_administrators(there: RunningServer, api: httpx.Client, fresh: str) -> None:
    key = api.post("/api/v1/keys", json={"name": "x", "permissions": ["push"]}).json()["key"]
    with there.client(f"AppKey {key}") as other:
        assert other.post(f"/api/v1/pools/{fresh}/upkeep").status_code == 403
    assert api.post(f"/api/v1/pools/{create_pool(api)}/upkeep").json() == []


def test_a_folder_in_use_is_not_maintained(there: RunningServer) -> None:
    ended = done("maintain", "--data-dir", str(there.data_dir), code=1)
    assert "Another Headrace server" in ended.err
    assert next_of(ended) == "maintain --pool <pool>"
    assert done("maintain", "--data-dir", str(there.data_dir), "--pool", "x", code=2).out == ""
