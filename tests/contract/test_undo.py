"""Taking back the last job of a table, as a client asks for it."""

from __future__ import annotations

import threading
from typing import Any

import httpx

from harness import own_job, run_job, sql, wait_for, wait_for_job

ROWS = "SELECT k, v FROM t ORDER BY k"
JOB: dict[str, Any] = {"fileType": "CSV", "keys": ["k"]}
DELTA: dict[str, Any] = {**JOB, "type": "DELTA"}


def undo(api: httpx.Client, pool: str, job: str, **more: Any) -> httpx.Response:
    return api.post(f"/api/v1/pools/{pool}/jobs/{job}/undo", **more)


def done(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def refused(reply: httpx.Response, words: str) -> None:
    assert (reply.status_code, reply.json()["code"]) == (409, "not-undoable"), reply.text
    assert words in reply.json()["detail"]


def versions(api: httpx.Client, pool: str, table: str = "t") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done(api.get(f"/api/v1/pools/{pool}/tables/{table}"))["versions"]
    return found


def test_a_delta_is_taken_back_with_the_change_dates_of_the_old_rows(api: httpx.Client, pool: str) -> None:
    first = run_job(api, pool, "t", [b"k,v\n1,a\n2,b\n3,c\n"], **JOB)["id"]
    dates = "SELECT k, v, _CELONIS_CHANGE_DATE FROM t ORDER BY k"
    before = sql(api, pool, dates)
    last = run_job(api, pool, "t", [b"k,v\n2,B\n4,d\n", ("deleted", b"k\n3\n")], **DELTA)["id"]
    table = {"name": "t", "connection": None, "change": "restored", "removed": 2, "restored": 2, "rows": 3}

    foreseen = done(undo(api, pool, last, params={"dryRun": True}))
    assert (foreseen["job"], foreseen["tables"]) == (last, [table])
    assert len(sql(api, pool, ROWS)) == 3
    assert own_job(api, pool, last)["undoneAt"] is None

    undone = done(undo(api, pool, last))
    assert undone["tables"] == [table]
    assert sql(api, pool, dates) == before
    job = own_job(api, pool, last)
    assert (job["status"], job["undoneAt"]) == ("DONE", undone["at"])
    assert job["logs"][-1] == "Undone: 2 rows of t are gone, 2 are back; it has 3 rows, as before this job."
    assert wait_for_job(api, pool, last)["status"] == "DONE"
    made = [(v["job"], v["change"], v["undo"]) for v in versions(api, pool)]
    assert made == [(last, "UNDO", True), (last, "DELTA", False), (first, "REPLACE", False)]
    assert sql(
        api, pool, f"SELECT v FROM t AT (VERSION => {versions(api, pool)[1]['version']}) WHERE k = '4'"
    )

    asked = {"job": last, "action": "undo-job", "status": 200}
    [entry, *_] = wait_for(lambda: api.get("/api/v1/audit", params=asked).json(), 20, "the audit")
    assert entry["pool"] == pool
    refused(undo(api, pool, last), f"undone already, at {undone['at']}")
    refused(undo(api, pool, last, params={"dryRun": True}), "undone already")
    assert done(undo(api, pool, first))["tables"][0] == {
        **table,
        "change": "dropped",
        "removed": 3,
        "restored": 0,
        "rows": 0,
    }
    assert api.get(f"/api/v1/pools/{pool}/tables").json() == []


def test_only_the_last_job_of_a_table(api: httpx.Client, pool: str) -> None:
    first = run_job(api, pool, "t", [b"k,v\n1,a\n"], **JOB)["id"]
    run_job(api, pool, "other", [b"k,v\n1,a\n"], **JOB)
    second = run_job(api, pool, "T", [b"k,v,w\n1,b,x\n"], **DELTA)["id"]
    third = run_job(api, pool, "t", [b"z\n1\n"], fileType="CSV")["id"]
    refused(
        undo(api, pool, first),
        f"Newer jobs have written to the table t: undo them first, the last one is {third}.",
    )
    assert undo(api, pool, third).status_code == 200
    assert sql(api, pool, "SELECT k, v, w FROM t") == [["1", "b", "x"]]
    refused(undo(api, pool, first), f"the last one is {second}")
    assert undo(api, pool, second).status_code == 200
    columns = [c["name"] for c in done(api.get(f"/api/v1/pools/{pool}/tables/t"))["columns"]]
    assert columns == ["k", "v", "_CELONIS_CHANGE_DATE"]
    fourth = run_job(api, pool, "t", [b"k,v\n2,c\n"], **DELTA)["id"]
    assert sql(api, pool, ROWS) == [["1", "a"], ["2", "c"]]
    assert undo(api, pool, fourth).status_code == 200
    assert sql(api, pool, ROWS) == [["1", "a"]]


def test_mirrors_are_taken_back_with_it(api: httpx.Client, pool: str) -> None:
    run_job(api, pool, "m", [b"k,v\n9,old\n"], **JOB)
    job = run_job(api, pool, "t", [b"k,v\n1,a\n"], **DELTA, mirrorTargetNames=["m"])["id"]
    newer = run_job(api, pool, "m", [b"k,v\n2,b\n"], **DELTA)["id"]
    refused(undo(api, pool, job), "the table m")
    assert undo(api, pool, newer).status_code == 200
    changes = {t["name"]: t["change"] for t in done(undo(api, pool, job))["tables"]}
    assert changes == {"t": "dropped", "m": "restored"}
    assert sql(api, pool, "SELECT k, v FROM m") == [["9", "old"]]


def test_a_job_that_is_not_done(api: httpx.Client, pool: str) -> None:
    failed = run_job(api, pool, "t", [], **JOB)["id"]
    refused(undo(api, pool, failed), "is ERROR")
    new = api.post(f"/api/v1/pools/{pool}/jobs", json={"targetName": "t"}).json()["id"]
    refused(undo(api, pool, new), "is NEW")
    assert undo(api, pool, "no-such-job").status_code == 404


def test_under_its_idempotency_key_it_is_answered_again(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "t", [b"k,v\n1,a\n"], **JOB)["id"]
    key = {"headers": {"Idempotency-Key": "once"}}
    first = done(undo(api, pool, job, **key))
    assert done(undo(api, pool, job, **key)) == first
    refused(undo(api, pool, job, headers={"Idempotency-Key": "twice"}), "already")


def test_of_many_at_once_one_undoes_it(api: httpx.Client, pool: str) -> None:
    run_job(api, pool, "t", [b"k,v\n1,a\n"], **JOB)
    job = run_job(api, pool, "t", [b"k,v\n2,b\n"], **DELTA)["id"]
    replies: list[int] = []
    threads = [
        threading.Thread(target=lambda: replies.append(undo(api, pool, job).status_code)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == [200, 409, 409, 409]
    assert sql(api, pool, ROWS) == [["1", "a"]]


def test_rejects_are_free_again_when_their_replay_was_undone(api: httpx.Client, pool: str) -> None:
    schema = {"tableName": "t", "columns": [{"columnName": "v", "columnType": "INTEGER"}]}
    job = run_job(api, pool, "t", [b"k,v\n1,1\n2,x2\n"], **JOB, tableSchema=schema, maxRejectedRows=1)["id"]
    replay = {"tableSchema": {"columns": [{"columnName": "v", "columnType": "STRING"}]}, "maxRejectedRows": 1}
    url = f"/api/v1/pools/{pool}/jobs/{job}/rejects/replay"
    for _ in range(2):
        again = api.post(url, json=replay).json()["id"]
        assert wait_for_job(api, pool, again)["status"] == "DONE"
        assert api.post(url, json=replay).status_code == 409
        assert undo(api, pool, again).status_code == 200
    assert undo(api, pool, job).status_code == 200
    reply = api.post(url, json=replay)
    assert (reply.status_code, reply.json()["code"]) == (409, "not-replayable")
    assert "undone" in reply.json()["detail"]
