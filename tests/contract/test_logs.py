"""The log of a real server: whose request, whose job; nothing that is a secret."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import httpx
import pytest

from harness import RunningServer, create_pool, run_job, wait_for


@pytest.mark.parametrize("sent", ["a-name_of.our-own", "0" * 64])
def test_a_client_may_name_its_request(api: httpx.Client, sent: str) -> None:
    reply = api.get("/integration/api/v1/data-push/none/jobs/none", headers={"X-Request-Id": sent})
    assert reply.headers["x-request-id"] == reply.json()["reference"] == sent


@pytest.mark.parametrize("sent", ["", "-", "a b", "é", "0" * 65, "hr_app_" + "x" * 43, '"', "a;b"])
def test_but_not_as_it_likes(api: httpx.Client, sent: str) -> None:
    reply = api.get("/healthz", headers={"X-Request-Id": sent.encode()})
    assert uuid.UUID(reply.headers["x-request-id"])


def test_the_log_tells_of_requests_and_jobs_by_their_ids(tmp_path: Path) -> None:
    env = {"HEADRACE_LOG_LEVEL": "debug"}
    with RunningServer(tmp_path / "data", env=env) as server, server.client() as own:
        pool = create_pool(own)
        job = run_job(own, pool, "orders", [b"id\n1\n"], fileType="CSV")["id"]
        own.get(f"/api/v1/pools/{pool}/tables/none?of=nobody", headers={"X-Request-Id": "my-request"})
        wait_for(lambda: "a job has ended" in server.log and "my-request" in server.log)
        assert server.admin_key not in "\n".join(server.log.splitlines()[1:])
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    [asked] = [line for line in lines if line.get("request") == "my-request"]
    assert (asked["route"], asked["status"]) == ("/api/v1/pools/{pool_id}/tables/{name}", 404)
    assert asked["pool"] == pool
    [ended] = [line for line in lines if line["event"] == "a job has ended"]
    assert (ended["job"], ended["pool"], ended["status"], ended["inserted"]) == (job, pool, "DONE", 1)
    by_event = {line["event"]: line for line in lines}
    received, staged = by_event["a chunk was received"], by_event["a chunk was staged"]
    assert received["chunk"] == staged["chunk"]
    answered = [line for line in lines if line["event"] == "a request was answered"]
    assert received["request"] in {line["request"] for line in answered if line.get("job") == job}
    assert "request" not in staged, "it was staged by itself"
    assert not any("nobody" in str(line) for line in lines)


def test_the_log_for_people(tmp_path: Path) -> None:
    env = {"HEADRACE_LOG_FORMAT": "text"}
    with RunningServer(tmp_path / "data", env=env) as server, server.client() as own:
        pool = create_pool(own)
        job = run_job(own, pool, "a\x1b[2J\ntable", [b"id\n1\n"], fileType="CSV")["id"]
        line = wait_for(lambda: next((x for x in server.log.split("\n") if "a job has ended" in x), None))
    assert f" info    a job has ended pool={pool} job={job} status=DONE type=REPLACE tables=" in line
    assert "\x1b" not in line
