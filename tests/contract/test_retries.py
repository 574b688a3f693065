"""Calling a job off, and running a failed one again with its chunks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import (
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    held,
    new_key,
    own_job,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)
from lakes import kept_below

COMMA = b'k,n\na,"1,5"\nb,"2,5"\n'
SCHEMA = {"tableName": "t", "columns": [{"columnName": "n", "columnType": "FLOAT", "decimals": 1}]}
JOB: dict[str, Any] = {"fileType": "CSV", "type": "DELTA", "tableSchema": SCHEMA}
CORRECTION = {"csvParsingOptions": {"decimalSeparator": ","}}


def ask(api: httpx.Client, pool: str, job: str, what: str, **more: Any) -> httpx.Response:
    return api.post(f"/api/v1/pools/{pool}/jobs/{job}/{what}", **more)


def refused(reply: httpx.Response, code: str, words: str) -> None:
    assert (reply.status_code, reply.json()["code"]) == (409, code), reply.text
    assert words in reply.json()["detail"]


def failed_job(api: httpx.Client, pool: str, data: bytes = COMMA, **spec: Any) -> str:
    job = run_job(api, pool, "t", [data], **{**JOB, **spec})
    assert job["status"] == "ERROR"
    return str(job["id"])


def raw_chunks(server: RunningServer, job: str) -> list[str]:
    return kept_below(server, f"chunks/{job}")


# -- retry ---------------------------------------------------------------------------------------------


def test_a_failed_job_runs_again_with_the_corrected_option(
    api: httpx.Client, pool: str, server: RunningServer
) -> None:
    job = failed_job(api, pool)
    assert own_job(api, pool, job)["retryUntil"]
    assert len(raw_chunks(server, job)) == 1
    reply = ask(api, pool, job, "retry", json=CORRECTION)
    assert reply.status_code == 201, reply.text
    new = reply.json()
    assert (new["status"], new["csvParsingOptions"]["decimalSeparator"]) == ("QUEUED", ",")
    shown = wait_for_job(api, pool, new["id"])
    assert (shown["status"], shown["logs"][0]) == ("DONE", f"Runs the job {job} again.")
    assert sql(api, pool, "SELECT k, n FROM t ORDER BY k") == [["a", "1.5"], ["b", "2.5"]]
    old = own_job(api, pool, job)
    assert (old["status"], old["retriedBy"], old["retryUntil"]) == ("ERROR", new["id"], None)
    wait_for(
        lambda: not raw_chunks(server, job) and not raw_chunks(server, new["id"]), 10, "the end of all chunks"
    )
    refused(ask(api, pool, job, "retry"), "not-retryable", new["id"])
    assert [c["sha256"] for c in own_job(api, pool, new["id"])["chunks"]] == [
        c["sha256"] for c in old["chunks"]
    ]


def test_a_retry_that_fails_can_be_retried(api: httpx.Client, pool: str) -> None:
    first = failed_job(api, pool)
    second = ask(api, pool, first, "retry").json()["id"]
    assert wait_for_job(api, pool, second)["status"] == "ERROR"
    third = ask(api, pool, second, "retry", json={"maxRejectedRows": 2}).json()["id"]
    assert wait_for_job(api, pool, third)["status"] == "DONE"
    assert own_job(api, pool, third)["counts"]["rejected"] == 2


def test_upserts_and_deletes_keep_their_order(api: httpx.Client, pool: str) -> None:
    spec = {**JOB, "keys": ["k"]}
    chunks = [b"k,n\na,1\nb,x\n", ("deleted", b"k\na\n"), b"k,n\na,3\n"]
    job = run_job(api, pool, "t", chunks, **spec)["id"]
    again = ask(api, pool, job, "retry", json={"maxRejectedRows": 1}).json()["id"]
    assert wait_for_job(api, pool, again)["status"] == "DONE"
    assert sql(api, pool, "SELECT k, n FROM t") == [["a", "3.0"]]
    chunks_of = own_job(api, pool, again)["chunks"]
    assert [(c["number"], c["type"]) for c in chunks_of] == [(1, "UPSERT"), (2, "DELETE"), (3, "UPSERT")]


def test_of_many_at_once_one_has_the_chunks(api: httpx.Client, pool: str) -> None:
    job = failed_job(api, pool)
    replies: list[int] = []
    act = lambda: replies.append(ask(api, pool, job, "retry", json=CORRECTION).status_code)  # noqa: E731
    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == [201, 409, 409, 409]
    wait_for_job(api, pool, own_job(api, pool, job)["retriedBy"])
    assert sql(api, pool, "SELECT count(*) FROM t") == [[2]]


@pytest.mark.parametrize(
    ("changes", "attribute"),
    [
        ({"keys": ["nowhere"]}, "keys"),
        ({"csvParsingOptions": {"dateFormat": "nonsense"}}, "dateFormat"),
        ({"connectionId": "none"}, "connectionId"),
        ({"type": "BOTH"}, "type"),
    ],
)
def test_changes_that_do_not_fit(
    api: httpx.Client, pool: str, server: RunningServer, changes: dict[str, Any], attribute: str
) -> None:
    job = failed_job(api, pool)
    reply = ask(api, pool, job, "retry", json=changes)
    assert (reply.status_code, reply.json()["attribute"]) == (400, attribute)
    assert own_job(api, pool, job)["retriedBy"] is None
    assert len(raw_chunks(server, job)) == 1
    known = {j["id"] for j in api.get(f"/api/v1/pools/{pool}/jobs").json()}
    assert known == {job}


def test_jobs_that_cannot_be_run_again(api: httpx.Client, pool: str, server: RunningServer) -> None:
    done = run_job(api, pool, "t", [b"k\n1\n"], fileType="CSV")["id"]
    refused(ask(api, pool, done, "retry"), "not-retryable", "is DONE")
    new = create_job(api, pool, "t", **JOB)["id"]
    refused(ask(api, pool, new, "retry"), "not-retryable", "is NEW")
    deleted = failed_job(api, pool)
    assert api.delete(f"/integration/api/v1/data-push/{pool}/jobs/{deleted}").status_code == 200
    assert raw_chunks(server, deleted) == []
    assert ask(api, pool, deleted, "retry").status_code == 404


def test_a_clone_is_a_new_job_with_changes(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "t", [b"k,n\na,1\n"], **JOB, keys=["k"], maxRejectedRows=3)["id"]
    reply = ask(api, pool, job, "clone", json={"targetName": "u", "type": None})
    assert reply.status_code == 201, reply.text
    clone, old = reply.json(), own_job(api, pool, job)
    same = ("type", "fileType", "keys", "tableSchema", "maxRejectedRows")
    assert [clone[name] for name in same] == [old[name] for name in same]
    assert (clone["status"], clone["targetName"], clone["chunks"]) == ("NEW", "u", [])
    assert add_chunk(api, pool, clone["id"], b"k,n\nb,2\n").status_code == 200
    execute(api, pool, clone["id"])
    assert wait_for_job(api, pool, clone["id"])["status"] == "DONE"


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[RunningServer]:
    env = {"HEADRACE_KEEP_FAILED_HOURS": "0.0002", "HEADRACE_LEASE_SECONDS": "1"}
    with RunningServer(tmp_path / "data", env=env) as running:
        yield running


def test_chunks_are_kept_only_so_long(forgetful: RunningServer) -> None:
    with forgetful.client() as api:
        pool = create_pool(api)
        job = failed_job(api, pool)
        wait_for(lambda: not raw_chunks(forgetful, job), 20, "the sweep")
        refused(ask(api, pool, job, "retry", json=CORRECTION), "not-retryable", "no longer kept")


def test_a_key_of_one_table_moves_nothing_to_another(
    api: httpx.Client, pool: str, server: RunningServer
) -> None:
    job = failed_job(api, pool)
    secret = new_key(api, permissions=["push"], tables=["t"])
    with server.client(f"AppKey {secret}") as bound:
        for what in ("retry", "clone"):
            for changes in ({"targetName": "u"}, {"mirrorTargetNames": ["u"]}):
                reply = ask(bound, pool, job, what, json={**CORRECTION, **changes})
                assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
        assert ask(bound, pool, job, "retry", json=CORRECTION).status_code == 201


# -- cancel --------------------------------------------------------------------------------------------


def test_a_job_that_runs_is_called_off_before_its_commit(
    api: httpx.Client, pool: str, server: RunningServer
) -> None:
    run_job(api, pool, "t", [b"k,n\na,1\n"], **JOB)
    running, waiting = (create_job(api, pool, "t", **JOB)["id"] for _ in range(2))
    for job in (running, waiting):
        add_chunk(api, pool, job, b"k,n\nb,2\n")
    replies: list[httpx.Response] = []
    cancel = threading.Thread(target=lambda: replies.append(ask(api, pool, running, "cancel")))
    with held(server, pool):
        execute(api, pool, running)
        execute(api, pool, waiting)
        wait_for(lambda: own_job(api, pool, running)["status"] == "RUNNING", 20, "the load")
        queued = ask(api, pool, waiting, "cancel")
        assert (queued.status_code, queued.json()["status"]) == (200, "ERROR"), queued.text
        cancel.start()
        wait_for(lambda: own_job(api, pool, running)["cancelAskedAt"], 20, "the wish")
    cancel.join()
    [reply] = replies
    assert reply.status_code in (200, 202), reply.text
    for job in (running, waiting):
        shown = wait_for_job(api, pool, job)
        assert (shown["status"], own_job(api, pool, job)["errorCode"]) == ("ERROR", "cancelled")
        assert "cancelled before" in shown["logs"][-1]
        assert ask(api, pool, job, "cancel").json()["status"] == "ERROR"
    assert sql(api, pool, "SELECT count(*) FROM t") == [[1]]
    again = ask(api, pool, running, "retry").json()["id"]
    assert wait_for_job(api, pool, again)["status"] == "DONE"
    assert sql(api, pool, "SELECT count(*) FROM t") == [[2]]


def test_a_race_that_is_lost_is_said(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "t", [b"k,n\na,1\n"], **JOB)["id"]
    refused(ask(api, pool, job, "cancel"), "not-cancellable", "is DONE")
    new = create_job(api, pool, "t", **JOB)["id"]
    refused(ask(api, pool, new, "cancel"), "not-cancellable", "is NEW")
    refused(ask(api, pool, failed_job(api, pool), "cancel"), "not-cancellable", "is ERROR")


def test_an_undo_waits_for_no_load_of_its_table(api: httpx.Client, pool: str, server: RunningServer) -> None:
    job = run_job(api, pool, "t", [b"k,n\na,1\n"], **JOB)["id"]
    later = create_job(api, pool, "T", **JOB)["id"]
    add_chunk(api, pool, later, b"k,n\nb,2\n")
    with held(server, pool):
        execute(api, pool, later)
        wait_for(lambda: own_job(api, pool, later)["status"] == "RUNNING", 20, "the load")
        refused(ask(api, pool, job, "undo"), "not-undoable", f"The job {later} is writing")
    assert wait_for_job(api, pool, later)["status"] == "DONE"
    assert sql(api, pool, "SELECT count(*) FROM t") == [[2]]
