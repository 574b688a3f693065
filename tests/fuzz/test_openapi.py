"""Every route as the OpenAPI document tells it, with what nobody would send: no 5xx, no answer outside of it.

The cases are schemathesis': examples, edges of each field, random and wrong data, and chains of calls that
the links of the document allow. Chunks are random bytes, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from counted import counted
from harness import RunningServer, create_pool, new_key, run_job

EXAMPLES = int(os.environ.get("HEADRACE_FUZZ_EXAMPLES", "5"))
SEED = os.environ.get("HEADRACE_FUZZ_SEED", "1")
AT_LEAST = int(os.environ.get("HEADRACE_FUZZ_CASES", "2400"))

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
HOOKS = Path(__file__).with_name("calls.py")


def world_of(server: RunningServer) -> dict[str, str]:
    """A pool with a data connection, a table and a job that was loaded; what the hooks aim at."""
    with server.client() as api:
        pool = create_pool(api)
        connection = api.post(f"/integration/api/pools/{pool}/data-sources", json={"name": "c"}).json()["id"]
        job = run_job(api, pool, "t", [b"a,b\n1,x\n2,y\n"], fileType="CSV", keys=["a"])["id"]
        key = new_key(api, permissions=["admin"])
        own = next(k["id"] for k in api.get("/api/v1/keys").json() if key.startswith(k["prefix"]))
    return {
        "url": server.url,
        "authorization": f"AppKey {key}",
        "pool_id": pool,
        "connection_id": connection,
        "name": "t",
        "job_id": job,
        "key_id": own,
    }


def fuzz(server: RunningServer, world: dict[str, str], report: Path) -> dict[str, Any]:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
        *("--header", f"Authorization: {world['authorization']}", "--seed", SEED, "--no-shrink"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--continue-on-failure"),
        *("--report", "json", "--report-json-path", str(report), "--generation-database", "none"),
    ]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS), "HEADRACE_FUZZ_WORLD": json.dumps(world)}
    done = subprocess.run(command, cwd=report.parent, env=env, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    said: dict[str, Any] = json.loads(report.read_text())
    assert (done.returncode, said["failures"], said["errors"]) == (0, [], []), done.stdout
    return said


@pytest.mark.timeout(900)  # beside other long tests on two cores
def test_no_answer_is_outside_of_the_document(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data", env={"HEADRACE_EXECUTE_LIMITS": "open"}) as server:
        world = world_of(server)
        said = fuzz(server, world, tmp_path / "report.json")
        with server.client(world["authorization"]) as api:  # the world is still there: calls reached it
            assert api.get(f"/api/v1/pools/{world['pool_id']}/tables/t").status_code == 200
        assert "internal error" not in server.log
    cases = said["test_cases"]["generated"]
    counted("calls of the API, as its document tells them", cases, len(said["failures"]))
    assert said["operations"]["tested"] == said["operations"]["total"]
    assert cases >= AT_LEAST
