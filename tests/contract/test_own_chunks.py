"""Chunks of any kind by our own route, and what a job's logs say of wrong labels."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyarrow import ipc

from harness import PUSH, create_job, execute, new_key, own_job, parquet, sql, wait_for_job

TABLE = pa.table({"id": [1, 2], "name": ["x", None]})


def arrow(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


LINES = b'{"id": 1, "name": "x"}\n{"id": 2, "name": null}\n'
CSV = b"id,name\n1,x\n2,\n"
KINDS = {
    "CSV": (CSV, "text/csv"),
    "PARQUET": (parquet(TABLE), "application/vnd.apache.parquet"),
    "NDJSON": (LINES, "application/x-ndjson"),
    "ARROW": (arrow(TABLE), "application/vnd.apache.arrow.stream"),
}


def post(
    api: httpx.Client, pool: str, job: str, data: bytes, content_type: str | None = None, **params: str
) -> httpx.Response:
    headers = {"Content-Type": content_type} if content_type else {}
    return api.post(f"/api/v1/pools/{pool}/jobs/{job}/chunks", content=data, headers=headers, params=params)


def end(api: httpx.Client, pool: str, job: str) -> dict[str, Any]:
    execute(api, pool, job)
    return wait_for_job(api, pool, job)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("said", ["by the job", "by the type", "by both"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_chunk_of_each_kind(api: httpx.Client, pool: str, kind: str, said: str, packed: bool) -> None:
    data, type = KINDS[kind]
    data = gzip.compress(data) if packed else data
    spec = {} if said == "by the type" else {"fileType": kind}
    job = create_job(api, pool, "t", **spec)["id"]
    reply = post(api, pool, job, data, None if said == "by the job" else type)
    assert reply.status_code == 201, reply.text
    chunk = reply.json()
    assert (chunk["number"], chunk["type"], chunk["fileType"]) == (1, "UPSERT", kind)
    assert (chunk["bytes"], chunk["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert end(api, pool, job)["status"] == "DONE"
    [shown] = own_job(api, pool, job)["chunks"]
    assert shown.keys() == chunk.keys()
    assert shown["id"] == chunk["id"]
    assert sql(api, pool, "SELECT id::INT, name FROM t ORDER BY 1") == [[1, "x"], [2, None]]


def test_all_kinds_in_one_job(api: httpx.Client, pool: str) -> None:
    columns = [{"columnName": "id", "columnType": "INTEGER", "pkField": True}]
    job = create_job(api, pool, "t", type="DELTA", tableSchema={"tableName": "t", "columns": columns})["id"]
    for number, (data, type) in enumerate(KINDS.values()):
        assert (
            post(api, pool, job, data.replace(b"x", b"y") if number == 2 else data, type).status_code == 201
        )
    assert post(api, pool, job, b'{"id": 2}\n', "application/x-ndjson", type="delete").status_code == 201
    assert end(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT id, name FROM t") == [[1, "x"]]
    assert [c["type"] for c in own_job(api, pool, job)["chunks"]] == ["UPSERT"] * 4 + ["DELETE"]


def test_a_form_is_taken_too(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t")["id"]
    path = f"/api/v1/pools/{pool}/jobs/{job}/chunks"
    assert api.post(path, files={"file": ("orders.ndjson", LINES)}).json()["fileType"] == "NDJSON"


def test_a_large_chunk_is_no_small_request(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    assert post(api, pool, job, b"a\n" + b"1234567\n" * 400_000).status_code == 201


def test_problems_are_those_of_our_own_api(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    refused = [
        (post(api, pool, job, b"%PDF-1.7"), 400, "chunk-unreadable"),
        (post(api, pool, "no job", CSV), 404, "not-found"),
        (api.post(f"/api/v1/pools/{pool}/jobs/{job}/chunks?type=other", content=CSV), 400, "invalid-request"),
        (
            api.post(f"/api/v1/pools/{pool}/jobs/{job}/chunks?type=delete", content=CSV),
            400,
            "invalid-request",
        ),
    ]
    for reply, status, code in refused:
        assert reply.status_code == status, reply.text
        assert reply.json().get("code") == code


def test_it_needs_the_permission_to_push(api: httpx.Client, server: Any, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    with server.client(f"AppKey {new_key(api, permissions=['read'])}") as reader:
        assert post(reader, pool, job, CSV).status_code == 403


# -- NDJSON ---------------------------------------------------------------------------------------------


def test_rejects_of_ndjson_have_their_place(api: httpx.Client, pool: str) -> None:
    lines = b'{"n": 1}\n{"n": 2,}\n{"n": "x"}\n'
    columns = [{"columnName": "n", "columnType": "INTEGER"}]
    job = create_job(
        api,
        pool,
        "t",
        fileType="NDJSON",
        maxRejectedRows=2,
        tableSchema={"tableName": "t", "columns": columns},
    )["id"]
    assert post(api, pool, job, lines).status_code == 201
    shown = end(api, pool, job)
    assert shown["status"] == "DONE", shown["logs"]
    assert shown["fileType"] == "NDJSON"
    found = api.get(f"/api/v1/pools/{pool}/jobs/{job}/rejects").json()
    assert [(r["line"], r["code"], r["column"]) for r in found] == [
        (2, "malformed-json", None),
        (3, "value-does-not-fit", "n"),
    ]
    assert [r["byteOffset"] for r in found] == [9, 19]


def test_chunks_that_disagree_are_unified_without_losing_a_digit(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="NDJSON")["id"]
    for value in ("1", str(2**63), '"x"', "1.50"):
        assert post(api, pool, job, f'{{"v": {value}}}\n'.encode()).status_code == 201
    assert end(api, pool, job)["status"] == "DONE"
    assert {v for (v,) in sql(api, pool, "SELECT v FROM t")} == {"1", str(2**63), "x", "1.50"}


def test_keys_must_be_there(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="NDJSON", type="DELTA", keys=["id", "other"])["id"]
    reply = post(api, pool, job, LINES)
    assert (reply.status_code, reply.json()["attribute"]) == (400, "keys")


# -- wrong labels --------------------------------------------------------------------------------------


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("[Content_Types].xml", "<Types/>")
        out.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


def upload(
    api: httpx.Client, pool: str, job: str, data: bytes, name: str, type: str | None = None
) -> httpx.Response:
    return api.post(f"{PUSH}/{pool}/jobs/{job}/chunks/upserted", files={"file": (name, data, type)})


READ_ANYWAY = [
    ("CSV", "orders.csv", parquet(TABLE), None, "Chunk 1 is read as PARQUET, though the job says CSV"),
    ("CSV", "file", arrow(TABLE), None, "Chunk 1 is read as ARROW, though the job says CSV"),
    ("PARQUET", "orders.csv", CSV, None, "Chunk 1 is read as CSV, though the job says PARQUET"),
    ("PARQUET", "file", CSV, "text/csv", "Chunk 1 is read as CSV, though the job says PARQUET"),
    (
        "PARQUET",
        "file.jsonl.gz",
        gzip.compress(LINES),
        None,
        "Chunk 1 is read as NDJSON, though the job says",
    ),
    (None, "orders.csv", parquet(TABLE), None, "Chunk 1 is read as PARQUET, though it is called CSV"),
]


@pytest.mark.parametrize(
    ("job_says", "name", "data", "type", "note"), READ_ANYWAY, ids=map(str, range(len(READ_ANYWAY)))
)
def test_what_is_unambiguous_is_read_and_told(
    api: httpx.Client, pool: str, job_says: str | None, name: str, data: bytes, type: str | None, note: str
) -> None:
    job = create_job(api, pool, "t", fileType=job_says)["id"]
    assert upload(api, pool, job, data, name, type).status_code == 200
    shown = end(api, pool, job)
    assert shown["status"] == "DONE", shown["logs"]
    assert [line for line in shown["logs"] if line.startswith(note)], shown["logs"]
    assert sql(api, pool, "SELECT id::INT, name FROM t ORDER BY 1") == [[1, "x"], [2, None]]


PAGE = b"<html><body>502 Bad Gateway</body></html>"
REFUSED = [
    ("CSV", "orders.csv", workbook(), "an Excel workbook (.xlsx)"),
    ("PARQUET", "orders.parquet", workbook(), "an Excel workbook (.xlsx)"),
    ("CSV", "orders.csv", PAGE, "a web page (HTML)"),
    ("PARQUET", "orders.csv", PAGE, "a web page (HTML)"),
    ("CSV", "orders.csv", b"[\n" + LINES.replace(b"}\n{", b"},{") + b"]", "a JSON array"),
    ("PARQUET", "file", b"a;b;c\n1;2;3\n", "a CSV with the separator ';' and 3 columns"),
    ("PARQUET", "file", LINES, '"fileType": "NDJSON"'),
    (None, "file", b"Service unavailable", "looks like text"),
    ("CSV", "orders.csv.gz", gzip.compress(workbook()), "an Excel workbook (.xlsx)"),
]


@pytest.mark.parametrize(("job_says", "name", "data", "words"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_the_rest_is_refused_by_name(
    api: httpx.Client, pool: str, job_says: str | None, name: str, data: bytes, words: str
) -> None:
    job = create_job(api, pool, "t", fileType=job_says)["id"]
    reply = upload(api, pool, job, data, name)
    assert reply.status_code == 400
    [error] = reply.json()["errors"]
    assert words in error["error"]
    assert error["errorCode"] == "chunk-unreadable"
    assert api.get(f"{PUSH}/{pool}/jobs/{job}/chunks").json() == []
