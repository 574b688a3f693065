"""The schema of a job before it is loaded: the guess, where each type comes from, and its correction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from harness import add_chunk, create_job, create_pool, execute, own_job, run_job, sql, wait_for, wait_for_job

CSV = b"id,amount,day,flag,note\n1,1.50,2024-02-29,true,007\n2,2,2024-03-01,false,8\n"


def url(pool: str, job: str) -> str:
    return f"/api/v1/pools/{pool}/jobs/{job}/schema"


def staged(api: httpx.Client, pool: str, job: str) -> dict[str, Any]:
    """The job once all of its chunks are staged."""

    def look() -> dict[str, Any] | None:
        shown = own_job(api, pool, job)
        return shown if all(c["state"] != "received" for c in shown["chunks"]) else None

    return wait_for(look)


def new_job(api: httpx.Client, pool: str, *chunks: bytes, **spec: Any) -> str:
    job = str(create_job(api, pool, "t", **{"fileType": "CSV", "inferTypes": True, **spec})["id"])
    for chunk in chunks:
        assert add_chunk(api, pool, job, chunk).status_code == 200
    return job


def planned(api: httpx.Client, pool: str, job: str) -> dict[str, tuple[str, str]]:
    return {c["name"]: (c["type"], c["source"]) for c in staged(api, pool, job)["schema"]}


def correct(api: httpx.Client, pool: str, job: str, **types: str | None) -> httpx.Response:
    columns = [{"columnName": name, "columnType": type} for name, type in types.items()]
    return api.put(url(pool, job), json={"columns": columns})


def test_the_guess_is_shown_before_execution(api: httpx.Client, pool: str) -> None:
    job = new_job(api, pool, CSV)
    assert planned(api, pool, job) == {
        "id": ("INTEGER", "inferred"),
        "amount": ("DECIMAL(18,2)", "inferred"),
        "day": ("DATE", "inferred"),
        "flag": ("BOOLEAN", "inferred"),
        "note": ("STRING", "inferred"),
    }
    execute(api, pool, job)
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT id, amount, day, flag, note FROM t ORDER BY id") == [
        [1, "1.50", "2024-02-29", True, "007"],
        [2, "2.00", "2024-03-01", False, "8"],
    ]
    assert own_job(api, pool, job)["schema"] is None


def test_all_chunks_count(api: httpx.Client, pool: str) -> None:
    chunks = [b"a,b,c,d\n1,1,2024-02-29,\n", b"a,b,c\n1.5,x,2024-02-29 12:00:00\n", b"d,e\n7,1\n"]
    job = new_job(api, pool, *chunks)
    types = {name: type for name, (type, _) in planned(api, pool, job).items()}
    assert types == {"a": "DECIMAL(20,1)", "b": "STRING", "c": "DATETIME", "d": "INTEGER", "e": "INTEGER"}
    execute(api, pool, job)
    done = wait_for_job(api, pool, job)
    assert done["status"] == "DONE", done["logs"]
    assert "The column b is INTEGER in one chunk and STRING in another: stored as STRING." in done["logs"]
    assert sql(api, pool, "SELECT a, b, c, d, e FROM t ORDER BY a NULLS LAST") == [
        ["1.0", "1", "2024-02-29T00:00:00", None, None],
        ["1.5", "x", "2024-02-29T12:00:00", None, None],
        [None, None, None, 7, 1],
    ]


def test_integers_that_no_float_holds_become_text_beside_floats(api: httpx.Client, pool: str) -> None:
    job = new_job(api, pool, b"a,b\n9007199254740993,7\n", b"a,b\n1.5e3,1.5e3\n")
    execute(api, pool, job)
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT a, b FROM t ORDER BY a") == [
        ["1.5e3", 1500.0],
        ["9007199254740993", 7.0],
    ]


def test_where_a_type_comes_from(api: httpx.Client, pool: str) -> None:
    schema = {"columns": [{"columnName": "id", "columnType": "INTEGER"}]}
    run_job(api, pool, "t", [b"id\n1\n"], fileType="CSV", tableSchema=schema)
    amount = {"columns": [{"columnName": "AMOUNT", "columnType": "FLOAT"}]}
    job = new_job(api, pool, b"id,amount,n\n2,1.5,3\n", type="DELTA", tableSchema=amount)
    assert planned(api, pool, job) == {
        "id": ("INTEGER", "table"),
        "AMOUNT": ("FLOAT", "declared"),
        "n": ("INTEGER", "inferred"),
    }
    plain = new_job(api, pool, b"id\n007\n", inferTypes=None)
    assert planned(api, pool, plain) == {"id": ("STRING", "file")}


def test_a_guess_can_be_corrected(api: httpx.Client, pool: str) -> None:
    job = new_job(api, pool, CSV, b"id,amount,day,flag,note\n3,x,,,\n")
    assert planned(api, pool, job)["amount"] == ("STRING", "inferred")
    reply = correct(api, pool, job, id="STRING", amount="FLOAT")
    assert reply.status_code == 200, reply.text
    assert planned(api, pool, job) == {
        "id": ("STRING", "declared"),
        "amount": ("FLOAT", "declared"),
        "day": ("DATE", "inferred"),
        "flag": ("BOOLEAN", "inferred"),
        "note": ("STRING", "inferred"),
    }
    assert [c["rejected"] for c in staged(api, pool, job)["chunks"]] == [0, 1]
    assert correct(api, pool, job, id="STRING").status_code == 200
    execute(api, pool, job)
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT id, amount FROM t ORDER BY id") == [["1", "1.50"], ["2", "2"], ["3", "x"]]


def test_a_chunk_that_comes_after_the_correction_follows_it(api: httpx.Client, pool: str) -> None:
    job = new_job(api, pool, b"id\n1\n")
    assert correct(api, pool, job, id="FLOAT").status_code == 200
    add_chunk(api, pool, job, b"id\n2\n")
    assert planned(api, pool, job) == {"id": ("FLOAT", "declared")}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"columns": [{"columnName": "id", "columnType": "NUMBER"}]}, 400, "columnType of id is one of"),
        ({"columns": [{"columnName": "id"}, {"columnName": "ID"}]}, 400, "stands there once"),
        ({"columns": [{"columnName": "id", "pkField": True}]}, 400, "The keys of a job cannot be changed"),
        ({"columns": []}, 200, ""),
        ({"columns": None}, 200, ""),
    ],
)
def test_what_a_correction_may_say(
    api: httpx.Client, pool: str, body: dict[str, Any], status: int, said: str
) -> None:
    job = new_job(api, pool, b"id\n1\n")
    reply = api.put(url(pool, job), json=body)
    assert reply.status_code == status
    assert said in reply.text


def test_only_a_new_job_can_be_corrected(api: httpx.Client, pool: str) -> None:
    job = new_job(api, pool, CSV)
    execute(api, pool, job)
    wait_for_job(api, pool, job)
    reply = correct(api, pool, job, id="STRING")
    assert (reply.status_code, reply.json()["code"]) == (409, "job-not-new")
    assert correct(api, pool, "no-such-job", id="STRING").status_code == 404
    assert correct(api, create_pool(api), job, id="STRING").status_code == 404


def test_correcting_while_the_job_is_executed(api: httpx.Client, pool: str) -> None:
    """Whoever is first: the table has the types of the correction, or the correction was refused."""
    for _ in range(5):
        job = new_job(api, pool, b"id\n1\n", b"id\n2\n")
        with ThreadPoolExecutor(2) as threads:
            corrected = threads.submit(correct, api, pool, job, id="STRING")
            threads.submit(execute, api, pool, job)
        done = wait_for_job(api, pool, job)
        assert done["status"] == "DONE", done["logs"]
        assert corrected.result().status_code in (200, 409)
        expected = "VARCHAR" if corrected.result().status_code == 200 else "BIGINT"
        assert sql(api, pool, "SELECT typeof(id), count(*) FROM t GROUP BY 1") == [[expected, 2]]


def test_many_corrections_at_once_end_in_one_of_them(api: httpx.Client, pool: str) -> None:
    job = new_job(api, pool, *(b"id\n%d\n" % n for n in range(4)))
    types = ["STRING", "FLOAT", "INTEGER", "STRING", "FLOAT"]
    with ThreadPoolExecutor(len(types)) as threads:
        replies = list(threads.map(lambda type: correct(api, pool, job, id=type), types))
    assert {r.status_code for r in replies} <= {200, 409}
    shown = staged(api, pool, job)
    assert len({c["columns"][0]["type"] for c in shown["chunks"]}) == 1
    assert shown["schema"][0]["type"] == shown["tableSchema"]["columns"][0]["columnType"]
