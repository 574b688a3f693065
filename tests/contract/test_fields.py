"""Every field of a push job and a chunk: sent as null, as zero, unknown; given back; filled by the server."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import httpx
import pytest

from contract.pycelonis import EARLIER_JOB_FIELDS, JOB_FIELDS, transport
from contract.sending import json_200
from harness import PUSH, add_chunk, create_job, execute, own_job, parquet, run_job, sql, wait_for_job

SET = {
    "type": "DELTA",
    "fileType": "CSV",
    "keys": ["ID"],
    "upsertStrategy": "UPSERT_WITH_NULLIFICATION",
    "fallbackVarcharLength": 120,
    "allowDuplicate": False,
    "mirrorTargetNames": ["T_COPY"],
}


def create(api: httpx.Client, pool: str, body: dict[str, Any]) -> dict[str, Any]:
    job: dict[str, Any] = json_200(api.post(f"{PUSH}/{pool}/jobs/", json=body))
    return job


@pytest.mark.parametrize("fields", [JOB_FIELDS, EARLIER_JOB_FIELDS], ids=["new", "earlier"])
def test_all_fields_may_be_null_but_the_name(api: httpx.Client, pool: str, fields: list[str]) -> None:
    job = create(api, pool, transport(fields, targetName="T"))
    assert job["status"] == "NEW"
    assert job["dataPoolId"] == pool
    assert job["type"] == "REPLACE"
    assert job["fileType"] == "PARQUET"
    assert json_200(api.get(f"{PUSH}/{pool}/jobs/{job['id']}")) == job


def test_nulls_inside_are_nulls_too(api: httpx.Client, pool: str) -> None:
    schema = {
        "tableName": None,
        "columns": [
            {"columnName": "ID", "columnType": None, "fieldLength": None, "decimals": None, "pkField": None}
        ],
    }
    options = dict.fromkeys(
        [
            "escapeSequence",
            "quoteSequence",
            "separatorSequence",
            "lineEnding",
            "charSet",
            "decimalSeparator",
            "thousandSeparator",
            "dateFormat",
            "additionalColumnOptions",
        ]
    )
    job = run_job(
        api,
        pool,
        "T",
        [b"ID\n1\n"],
        type="REPLACE",
        fileType="CSV",
        tableSchema=schema,
        csvParsingOptions=options,
    )
    assert job["status"] == "DONE", job["logs"]
    assert sql(api, pool, 'SELECT "ID" FROM "T"') == [["1"]]


def test_zero_means_not_set(api: httpx.Client, pool: str) -> None:
    """Java writes the length and the decimals that nobody set as 0."""
    long = "x" * 300
    columns = [
        {"columnName": "TEXT", "columnType": "STRING", "fieldLength": 0, "decimals": 0, "pkField": False},
        {"columnName": "SHARE", "columnType": "FLOAT", "fieldLength": 0, "decimals": 0, "pkField": False},
    ]
    job = run_job(
        api,
        pool,
        "T",
        [f"TEXT,SHARE\n{long},0.125\n".encode()],
        type="REPLACE",
        fileType="CSV",
        fallbackVarcharLength=0,
        tableSchema={"tableName": "T", "columns": columns},
    )
    assert job["status"] == "DONE", job["logs"]
    assert sql(api, pool, 'SELECT "TEXT", "SHARE" FROM "T"') == [[long, 0.125]]


def test_unknown_fields_are_ignored(api: httpx.Client, pool: str) -> None:
    body = {
        "targetName": "T",
        "type": "REPLACE",
        "fileType": "CSV",
        "dataConnectionId": "x",
        "whatever": {"deep": [1]},
        "csvParsingOptions": {"columnSeparator": ";", "quoteChar": "'", "header": True},
        "tableSchema": {"columns": [{"columnName": "A", "columnType": "STRING", "comment": "?"}], "x": 1},
    }
    job = create(api, pool, body)
    assert job["connectionId"] is None
    add_chunk(api, pool, job["id"], b"A,B\n1,2\n")
    execute(api, pool, job["id"])
    assert wait_for_job(api, pool, job["id"])["status"] == "DONE"
    assert sql(api, pool, 'SELECT "A", "B" FROM "T"') == [["1", "2"]]


@pytest.mark.parametrize("field", sorted(SET))
def test_what_was_set_is_given_back(api: httpx.Client, pool: str, field: str) -> None:
    job = create(api, pool, transport(JOB_FIELDS, targetName="My.Table/x", dataPoolId=pool, **SET))
    assert job["targetName"] == "My.Table/x"
    assert job[field] == SET[field]
    assert json_200(api.get(f"{PUSH}/{pool}/jobs/{job['id']}"))[field] == SET[field]


def test_schema_and_csv_options_are_given_back(api: httpx.Client, pool: str) -> None:
    columns = [
        {"columnName": "ID", "columnType": "STRING", "fieldLength": 12, "decimals": None, "pkField": True}
    ]
    options = {
        "escapeSequence": '"',
        "quoteSequence": '"',
        "separatorSequence": ";",
        "lineEnding": "\n",
        "charSet": "ISO-8859-1",
        "decimalSeparator": ",",
        "thousandSeparator": ".",
        "dateFormat": "dd.MM.yyyy",
        "additionalColumnOptions": [
            {"columnName": "ID", "dateFormat": None, "thousandsSeparator": "'", "decimalSeparator": None}
        ],
    }
    body = {"targetName": "T", "fileType": "CSV", "csvParsingOptions": options}
    job = create(api, pool, {**body, "tableSchema": {"tableName": "T", "columns": columns}})
    [shown] = job["tableSchema"]["columns"]
    assert {name: shown[name] for name in ("columnName", "columnType", "fieldLength", "pkField")} == {
        "columnName": "ID",
        "columnType": "STRING",
        "fieldLength": 12,
        "pkField": True,
    }
    for name in set(options) - {"additionalColumnOptions"}:
        assert job["csvParsingOptions"][name] == options[name]
    [extra] = job["csvParsingOptions"]["additionalColumnOptions"]
    assert (extra["columnName"], extra["thousandsSeparator"]) == ("ID", "'")


def test_the_client_cannot_set_what_is_the_servers(api: httpx.Client, pool: str) -> None:
    mine = {
        "id": "00000000-0000-0000-0000-000000000000",
        "status": "DONE",
        "logs": ["mine"],
        "lastModified": 1,
        "changeDate": 1,
        "lastPing": 1,
    }
    job = create(api, pool, transport(JOB_FIELDS, targetName="T", **mine))
    assert job["id"] != mine["id"]
    assert job["status"] == "NEW"
    assert job["logs"] in (None, [])
    assert job["lastModified"] != 1
    assert job["changeDate"] is None


def test_the_server_fills_the_rest_in(api: httpx.Client, pool: str) -> None:
    started = int(time.time() * 1000) - 1000
    made = create_job(api, pool, "T", type="REPLACE")
    add_chunk(api, pool, made["id"], parquet({"A": [1]}))
    execute(api, pool, made["id"])
    job = wait_for_job(api, pool, made["id"])
    ended = int(time.time() * 1000) + 1000

    assert job["status"] == "DONE"
    assert isinstance(job["logs"], list)
    for field in ("lastModified", "lastPing", "changeDate"):
        assert isinstance(job[field], int), f"{field} in epoch milliseconds"
        assert started <= job[field] <= ended, field
    assert made["lastModified"] <= job["lastModified"]
    assert job["targetSchema"] == pool


def test_the_change_date_is_the_one_in_the_rows(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "T", [parquet({"A": [1, 2]})], type="REPLACE")
    assert sql(api, pool, 'SELECT DISTINCT epoch_ms("_CELONIS_CHANGE_DATE") FROM "T"') == [
        [job["changeDate"]]
    ]


def test_the_schema_of_a_connection(api: httpx.Client, pool: str) -> None:
    source = json_200(api.post(f"/integration/api/pools/{pool}/data-sources/", json={"name": "S"}))["id"]
    job = run_job(api, pool, "T", [parquet({"A": [1]})], type="REPLACE", connectionId=source)
    assert job["connectionId"] == source
    assert job["targetSchema"] == f"{pool}_{source}"


def test_chunk_fields(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "T", type="REPLACE")["id"]
    data = parquet({"A": [1, 2, 3]})
    assert add_chunk(api, pool, job, data).status_code == 200
    [shown] = json_200(api.get(f"{PUSH}/{pool}/jobs/{job}/chunks"))
    assert shown["pushJobId"] == job
    assert shown["type"] == "UPSERT"
    assert shown["checksum"] == hashlib.sha256(data).hexdigest()
    assert isinstance(shown["id"], str)
    assert abs(shown["creationDate"] - time.time() * 1000) < 60_000


def test_our_own_view_of_the_job_counts_its_rows(api: httpx.Client, pool: str) -> None:
    first, second = parquet({"A": [1, 2]}), parquet({"A": [2, 3]})
    run_job(api, pool, "T", [first], type="DELTA", keys=["A"])
    job = run_job(api, pool, "T", [second, ("deleted", parquet({"A": [1, 9]}))], type="DELTA", keys=["A"])
    shown = own_job(api, pool, job["id"])
    assert shown["status"] == "DONE"
    counts = {"rowsIn": 4, "inserted": 1, "updated": 1, "deleted": 1, "notFound": 1}
    assert shown["counts"].items() >= {**counts, "duplicates": 0, "rejected": 0}.items()
    chunk = shown["chunks"][0]
    assert (chunk["number"], chunk["type"], chunk["rows"], chunk["bytes"]) == (1, "UPSERT", 2, len(second))
    assert chunk["sha256"] == hashlib.sha256(second).hexdigest()


def test_mirrored_tables_get_the_same_rows(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "T", [parquet({"A": [1]})], type="REPLACE", mirrorTargetNames=["T_COPY"])
    assert job["status"] == "DONE", job["logs"]
    assert sql(api, pool, 'SELECT "A" FROM "T_COPY"') == sql(api, pool, 'SELECT "A" FROM "T"') == [[1]]


def test_an_option_that_is_not_honoured_is_said_in_the_logs(api: httpx.Client, pool: str) -> None:
    job = run_job(
        api,
        pool,
        "T",
        [parquet({"A": [1]})],
        type="REPLACE",
        postExecutionQuery="DROP TABLE T",
        foreignKeys="A",
    )
    assert job["status"] == "DONE", job["logs"]
    logs = " ".join(job["logs"])
    assert "postExecutionQuery" in logs
    assert "foreignKeys" in logs


def test_keys_or_else_pk_fields(api: httpx.Client, pool: str) -> None:
    columns = [
        {"columnName": "A", "columnType": "INTEGER", "pkField": True},
        {"columnName": "B", "columnType": "INTEGER", "pkField": False},
    ]
    schema = {"tableName": "T", "columns": columns}
    first, second = parquet({"A": [1], "B": [1]}), parquet({"A": [1], "B": [2]})
    run_job(api, pool, "BY_PK", [first], type="DELTA", tableSchema=schema)
    run_job(api, pool, "BY_PK", [second], type="DELTA", tableSchema=schema)
    run_job(api, pool, "BY_KEYS", [first], type="DELTA", tableSchema=schema, keys=["B"])
    run_job(api, pool, "BY_KEYS", [second], type="DELTA", tableSchema=schema, keys=["B"])
    assert sql(api, pool, 'SELECT "A", "B" FROM "BY_PK"') == [[1, 2]]
    assert sql(api, pool, 'SELECT "A", "B" FROM "BY_KEYS" ORDER BY 2') == [[1, 1], [1, 2]]
