"""Our own API around a push: jobs, dry runs, rejects in every form, their replay."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pyarrow as pa
import pytest

from harness import (
    PUSH,
    add_chunk,
    create_job,
    create_pool,
    execute,
    own_job,
    parquet,
    run_job,
    sql,
    wait_for_job,
)

COLUMNS: list[dict[str, Any]] = [
    {"columnName": "id", "columnType": "INTEGER"},
    {"columnName": "amount", "columnType": "FLOAT", "decimals": 2},
    {"columnName": "name", "columnType": "STRING", "fieldLength": 5},
]
SCHEMA = {"tableSchema": {"tableName": "t", "columns": COLUMNS}}
ROWS = b'id,amount,name\n1,1.50,Ada\n2,"12,50",Grace\n3,7.25,Hopper\n4;5;6\n5,"8,00",""\n'


def jobs(pool: str, *parts: str) -> str:
    return "/".join((f"/api/v1/pools/{pool}/jobs", *parts))


def pushed(api: httpx.Client, pool: str, *chunks: Any, **spec: Any) -> dict[str, Any]:
    """A job that allows all of its rejects."""
    spec = {"fileType": "CSV", "type": "DELTA", "keys": ["id"], "maxRejectedShare": 1, **SCHEMA, **spec}
    return run_job(api, pool, "t", chunks or [ROWS], **spec)


def rejects(api: httpx.Client, pool: str, job: str, **params: Any) -> list[dict[str, Any]]:
    reply = api.get(jobs(pool, job, "rejects"), params=params)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()
    return found


def replay(api: httpx.Client, pool: str, job: str, **corrections: Any) -> httpx.Response:
    return api.post(jobs(pool, job, "rejects", "replay"), json=corrections)


def replayed(api: httpx.Client, pool: str, job: str, **corrections: Any) -> dict[str, Any]:
    reply = replay(api, pool, job, **corrections)
    assert reply.status_code == 201, reply.text
    assert reply.json()["status"] == "QUEUED"
    return wait_for_job(api, pool, reply.json()["id"])


def refused(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    assert problem["code"] == code
    return problem


# -- create and execute --------------------------------------------------------------------------------


def test_a_job_is_created_and_executed(api: httpx.Client, pool: str) -> None:
    sent = {"targetName": "t", "fileType": "CSV", "keys": ["id"], "strictLengths": True, "maxRejectedRows": 3}
    reply = api.post(jobs(pool), json=sent)
    assert reply.status_code == 201
    job = reply.json()
    assert (job["status"], job["strictLengths"], job["maxRejectedRows"]) == ("NEW", True, 3)
    assert job == own_job(api, pool, job["id"])
    assert add_chunk(api, pool, job["id"], b"id,n\n1,2\n1,1\n").status_code == 200
    reply = api.post(jobs(pool, job["id"], "execute"), params={"duplicateRemovalColumn": "n"})
    assert reply.status_code == 202
    assert (reply.json()["id"], reply.json()["order"]) == (job["id"], "n")
    assert wait_for_job(api, pool, job["id"])["status"] == "DONE"
    assert sql(api, pool, "SELECT n FROM t") == [["2"]]
    problem = refused(api.post(jobs(pool, job["id"], "execute")), 409, "job-not-new")
    assert (problem["where"], problem["hint"]) == (None, None)


def test_a_wrong_job_is_a_problem(api: httpx.Client, pool: str) -> None:
    problem = refused(api.post(jobs(pool), json={"targetName": "t", "type": "MERGE"}), 400, "invalid-request")
    assert problem["attribute"] == "type"


# -- dry run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", [True, False], ids=["vendor's path", "our path"])
def test_a_dry_run_says_what_would_be(api: httpx.Client, pool: str, vendor: bool) -> None:
    job = create_job(api, pool, "t", type="DELTA", fileType="CSV", keys=["id"], maxRejectedRows=9, **SCHEMA)[
        "id"
    ]
    assert add_chunk(api, pool, job, ROWS).status_code == 200
    path = f"{PUSH}/{pool}/jobs/{job}" if vendor else jobs(pool, job, "execute")
    reply = api.post(path, params={"dryRun": "true"})
    assert reply.status_code == 200, reply.text
    outlook = reply.json()
    assert outlook["tables"] == [
        {
            "name": "t",
            "connection": None,
            "change": "created",
            "columns": [
                {"name": n, "type": t, "length": length, "change": "added", "was": None}
                for n, t, length in (
                    ("id", "INTEGER", None),
                    ("amount", "DECIMAL(18,2)", None),
                    ("name", "STRING", 5),
                )
            ],
        }
    ]
    assert outlook["cuts"] == [{"column": "name", "length": 5, "rows": 1, "longest": 6}]
    assert own_job(api, pool, job)["status"] == "NEW"
    assert api.get(f"/api/v1/pools/{pool}/tables").json() == []
    assert execute(api, pool, job).content == b""
    done = wait_for_job(api, pool, job)
    shown = own_job(api, pool, job)
    for name in ("status", "errorCode", "counts", "cuts", "rejectsBy", "logs"):
        assert shown[name] == outlook[name], done["logs"]


# -- rejects -------------------------------------------------------------------------------------------


def test_a_reject_is_told_in_full(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool)
    first, record, last = rejects(api, pool, job["id"])
    assert first == {
        "chunk": 1,
        "line": 3,
        "byteOffset": first["byteOffset"],
        "column": "amount",
        "value": "12,50",
        "expected": "DECIMAL(18,2)",
        "code": "value-does-not-fit",
        "message": "'12,50' found, expected DECIMAL(18,2).",
        "marked": "2,>>12,50<<,Grace",
        "hint": "decimalSeparator ','",
        "raw": '{"id":"2","amount":"12,50","name":"Grace"}',
    }
    assert (record["code"], record["marked"], record["raw"]) == ("too-few-fields", "4;5;6", "4;5;6")
    assert last["marked"] == "5,>>8,00<<,"
    assert job["logs"][1:5] == [
        f"Chunk 1, line 3, column amount: {first['message']} Likely: decimalSeparator ','.",
        "  2,>>12,50<<,Grace",
        f"Chunk 1, line 5: {record['message']} Likely: separatorSequence looks like ';'.",
        "  4;5;6",
    ]


def test_a_job_sums_its_rejects_and_cuts(api: httpx.Client, pool: str) -> None:
    job = own_job(api, pool, pushed(api, pool, ROWS, ROWS)["id"])
    assert job["rejectsBy"] == [
        {"code": "value-does-not-fit", "column": "amount", "rows": 4},
        {"code": "too-few-fields", "column": None, "rows": 2},
    ]
    assert job["cuts"] == [{"column": "name", "length": 5, "rows": 2, "longest": 6}]
    assert [chunk["cuts"][0]["rows"] for chunk in job["chunks"]] == [1, 1]


def test_strict_lengths_reject_what_is_too_long(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool, strictLengths=True)
    assert own_job(api, pool, job["id"])["cuts"] == []
    [found] = [r for r in rejects(api, pool, job["id"]) if r["code"] == "too-long-for-column"]
    assert (found["line"], found["column"], found["expected"]) == (4, "name", "at most 5 characters, not 6")
    assert found["hint"] == (
        "1 value is longer than 5, the longest has 6 characters: "
        "raise fieldLength, or leave strictLengths out"
    )


def test_rejects_come_in_pages_and_their_rows_whole_if_asked(api: httpx.Client, pool: str) -> None:
    long = "x" * 5000
    job = pushed(api, pool, f"id,amount,name\na,1,{long}\nb,2,y\n".encode())["id"]
    assert [r["value"] for r in rejects(api, pool, job, limit=1, offset=1)] == ["b"]
    assert [len(r["raw"]) for r in rejects(api, pool, job, limit=1)] == [2000]
    assert long in rejects(api, pool, job, raw="full")[0]["raw"]


def test_rejects_as_csv_can_be_opened_and_sent_again(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool)["id"]
    reply = api.get(jobs(pool, job, "rejects"), params={"format": "csv"})
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    header, *rows = csv.reader(io.StringIO(reply.text))
    assert header[:4] == ["id", "amount", "name", "_chunk"]
    assert [row[:3] for row in rows] == [["2", "12,50", "Grace"], ["", "", ""], ["5", "8,00", ""]]
    assert rows[1][-1] == "4;5;6"
    good = ",".join(header[:3]) + "\n" + "\n".join(f'{i},"{a}",{n}' for i, a, n, *_ in (rows[0], rows[2]))
    again = pushed(api, pool, good.encode(), csvParsingOptions={"decimalSeparator": ","})
    assert again["status"] == "DONE"
    assert sql(api, pool, "SELECT id, amount FROM t ORDER BY id") == [
        [1, "1.50"],
        [2, "12.50"],
        [3, "7.25"],
        [5, "8.00"],
    ]


def test_rejects_are_a_table_of_sql(api: httpx.Client, pool: str) -> None:
    assert sql(api, pool, "SELECT count(*) FROM rejects") == [[0]]
    first, second = pushed(api, pool)["id"], pushed(api, pool, ROWS, ROWS)["id"]
    by_job = sql(api, pool, "SELECT job_id, count(*), max(chunk) FROM rejects GROUP BY ALL")
    assert sorted(by_job) == sorted([[first, 3, 1], [second, 6, 2]])
    query = (
        "SELECT line, \"column\", value, raw->>'name' FROM rejects "
        f"WHERE job_id = '{first}' AND code = 'value-does-not-fit' ORDER BY line"
    )
    assert sql(api, pool, query) == [[3, "amount", "12,50", "Grace"], [6, "amount", "8,00", ""]]
    joined = "SELECT count(*) FROM rejects r JOIN t ON t.id::VARCHAR = r.raw->>'id'"
    refusal = api.post(f"/api/v1/pools/{pool}/sql", json={"sql": joined + " WHERE r.\"column\" = 'amount'"})
    assert refusal.json()["rows"] == [[0]]


def test_rejects_of_other_pools_are_out_of_reach(api: httpx.Client, pool: str) -> None:
    other = create_pool(api, "another")
    pushed(api, other)
    assert sql(api, pool, "SELECT count(*) FROM rejects") == [[0]]


def test_a_first_push_that_fails_leaves_rejects_to_read(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool, maxRejectedShare=None)
    assert job["status"] == "ERROR"
    assert sql(api, pool, "SELECT count(*) FROM rejects") == [[3]]


def test_a_table_called_rejects_is_that_table(api: httpx.Client, pool: str) -> None:
    pushed(api, pool)
    run_job(api, pool, "Rejects", [b"mine\nyes\n"], fileType="CSV")
    assert sql(api, pool, "SELECT mine FROM rejects") == [["yes"]]


def test_rejects_of_a_job_that_is_deleted_before_it_runs_go(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV", **SCHEMA)["id"]
    add_chunk(api, pool, job, ROWS)
    api.post(jobs(pool, job, "execute"), params={"dryRun": "true"})
    assert sql(api, pool, "SELECT count(*) FROM rejects") == [[3]]
    assert api.delete(f"{PUSH}/{pool}/jobs/{job}").status_code == 200
    assert sql(api, pool, "SELECT count(*) FROM rejects") == [[0]]


# -- replay --------------------------------------------------------------------------------------------


def test_rejects_are_replayed_with_corrected_options(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool)["id"]
    again = replayed(api, pool, job, csvParsingOptions={"decimalSeparator": ","}, leaveUnreadable=True)
    assert (again["status"], again["type"], again["keys"]) == ("DONE", "DELTA", ["id"])
    assert again["logs"][:2] == [
        f"Replays 2 rejected rows of the job {job}.",
        "Left behind: chunk 1, line 5: 1 fields instead of 3.",
    ]
    assert sql(api, pool, "SELECT id, amount, name FROM t ORDER BY id") == [
        [1, "1.50", "Ada"],
        [2, "12.50", "Grace"],
        [3, "7.25", "Hoppe"],
        [5, "8.00", ""],
    ]
    assert own_job(api, pool, job)["replayedBy"] == again["id"]


def test_rejects_are_replayed_once(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool)["id"]
    corrections = {"csvParsingOptions": {"decimalSeparator": ","}, "leaveUnreadable": True}
    with ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(lambda _: replay(api, pool, job, **corrections), range(4)))
    assert sorted(r.status_code for r in replies) == [201, 409, 409, 409]
    [made] = [r.json()["id"] for r in replies if r.status_code == 201]
    for reply in replies:
        if reply.status_code == 409:
            assert made in refused(reply, 409, "not-replayable")["detail"]
    assert wait_for_job(api, pool, made)["status"] == "DONE"
    refused(replay(api, pool, job, **corrections), 409, "not-replayable")


def test_a_replay_that_fails_may_be_tried_again(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool)["id"]
    failed = replayed(api, pool, job, leaveUnreadable=True)
    assert failed["status"] == "ERROR"  # the options are as they were
    again = replayed(api, pool, job, csvParsingOptions={"decimalSeparator": ","}, leaveUnreadable=True)
    assert again["status"] == "DONE"


def test_what_a_replay_rejects_can_be_replayed_in_turn(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool, b'id,amount,name\n1,"1,5",a\nx,2,b\n')["id"]
    options = {"decimalSeparator": ","}
    second = replayed(api, pool, job, csvParsingOptions=options, maxRejectedRows=1)
    assert second["status"] == "DONE"
    text = [{"columnName": "id", "columnType": "STRING"}]
    for wrong in ({"charSet": "no such"}, {"quoteSequence": ","}, {"dateFormat": "QQQ"}):
        refused(replay(api, pool, second["id"], csvParsingOptions=wrong), 400, "invalid-request")
    third = replayed(api, pool, second["id"], tableSchema={"columns": text})
    assert third["status"] == "ERROR"  # the table's own types come first
    assert sql(api, pool, "SELECT id, amount FROM t") == [[1, "1.50"]]


def test_records_are_read_anew_with_a_corrected_dialect(api: httpx.Client, pool: str) -> None:
    data = 'id,amount,name\n1,1,ok\n2,2,"5" nails\n3,3,caf\xe9\n4;4;d\n'.encode("latin-1")
    job = pushed(api, pool, data)["id"]
    assert [r["code"] for r in rejects(api, pool, job)] == [
        "text-after-quote",
        "undecodable",
        "too-few-fields",
    ]
    problem = refused(replay(api, pool, job), 409, "not-replayable")
    assert problem["where"] == {"chunk": 1, "line": 3}
    assert "leaveUnreadable" in problem["hint"]
    options = {"charSet": "windows-1252", "quoteSequence": ""}
    again = replayed(api, pool, job, csvParsingOptions=options, leaveUnreadable=True)
    assert again["status"] == "DONE", again["logs"]
    assert sql(api, pool, "SELECT id, name FROM t ORDER BY id") == [[1, "ok"], [2, '"5" n'], [3, "café"]]


def test_the_order_of_chunks_and_their_kinds_stay(api: httpx.Client, pool: str) -> None:
    pushed(api, pool, b"id,amount,name\n1,1,a\n2,1,b\n3,1,c\n")
    chunks = [
        b'id,amount,name\n1,"9,5",first\n2,"9,5",first\n',
        ("deleted", b'id,amount\n"1,0",x\n'),
        b'id,amount,name\n2,"7,5",last\n',
    ]
    numbers = {"tableSchema": {"columns": [*COLUMNS[:2], COLUMNS[2]]}}
    job = pushed(api, pool, *chunks, **numbers)
    assert len(rejects(api, pool, job["id"])) == 4
    again = replayed(api, pool, job["id"], csvParsingOptions={"decimalSeparator": ","})
    assert again["status"] == "DONE", again["logs"]
    assert [c["type"] for c in own_job(api, pool, again["id"])["chunks"]] == ["UPSERT", "DELETE", "UPSERT"]
    assert sql(api, pool, "SELECT id, amount FROM t ORDER BY id") == [[2, "7.50"], [3, "1.00"]]


def test_rows_of_parquet_are_replayed_as_text(api: httpx.Client, pool: str) -> None:
    rows = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "day": pa.array(["01.02.2024", "2024-02-03"]),
            "amount": pa.array([0.1, 1e300]),
            "list": pa.array([[1, 2], None], pa.list_(pa.int64())),
            "text": pa.array(["", None]),
        }
    )
    day = {"tableSchema": {"columns": [{"columnName": "day", "columnType": "DATE"}]}}
    job = pushed(api, pool, parquet(rows), fileType="PARQUET", **day)["id"]
    options = {"dateFormat": "dd.MM.yyyy", "decimalSeparator": ","}
    again = replayed(api, pool, job, csvParsingOptions=options)
    assert again["status"] == "DONE", again["logs"]
    assert sql(api, pool, "SELECT id, day, amount, list, text FROM t ORDER BY id") == [
        [1, "2024-02-01", 0.1, "[1,2]", ""],
        [2, "2024-02-03", 1e300, None, None],
    ]


def test_rejects_of_an_append_are_appended(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool, b'id,amount,name\n1,1,a\n1,"2,5",b\n', type="REPLACE", keys=None)["id"]
    assert replayed(api, pool, job, csvParsingOptions={"decimalSeparator": ","})["status"] == "DONE"
    assert sql(api, pool, "SELECT id, amount FROM t ORDER BY amount") == [[1, "1.00"], [1, "2.50"]]


def test_rows_that_were_not_kept_whole_cannot_be_sent_again(api: httpx.Client, pool: str) -> None:
    job = pushed(api, pool, b"id,amount,name\nx,1," + b"y" * (1 << 20) + b"\n")["id"]
    problem = refused(replay(api, pool, job), 409, "not-replayable")
    assert "too long to be kept" in problem["detail"]
    refused(replay(api, pool, job, leaveUnreadable=True), 409, "not-replayable")


def test_what_cannot_be_replayed_is_said(api: httpx.Client, pool: str) -> None:
    new = create_job(api, pool, "t", fileType="CSV")["id"]
    failed = pushed(api, pool, maxRejectedShare=None)["id"]
    clean = pushed(api, pool, b"id,amount,name\n1,1,a\n")["id"]
    for job, words in ((new, "is NEW"), (failed, "ended in ERROR"), (clean, "has no rejects")):
        assert words in refused(replay(api, pool, job), 409, "not-replayable")["detail"]
    refused(replay(api, pool, "no-such-job"), 404, "not-found")


# -- hints of refusals ---------------------------------------------------------------------------------


def test_a_chunk_without_keys_says_what_its_header_looks_like(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV", keys=["id"], type="DELTA")["id"]
    reply = add_chunk(api, pool, job, b"id;v\n1;2\n")
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["additionalInfo"] == "separatorSequence looks like ';'"
