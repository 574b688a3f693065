"""pycelonis 1.x: the hybrid base for hybrid pools, ``column_config`` as plain dicts, ``if_exists`` modes.

Written from the public tutorials: create_table (REPLACE), append_table (DELTA), upsert_table (DELTA with
keys); it greets the user by the name that the login gives.
"""

from __future__ import annotations

from typing import Any

import httpx
import pandas as pd
import pytest

from contract.pycelonis import chunk
from contract.sending import Wire, json_200, requests_upload, with_headers
from harness import PUSH_BASES, sql, wait_for

ROWS = pd.DataFrame({"_CASE_KEY": ["1", "2"], "ACTIVITY_EN": ["Create", "Approve"]})
COLUMN_CONFIG = [{"columnName": "ACTIVITY_EN", "columnType": "STRING", "fieldLength": 300}]


def push(wire: Wire, key: str, base: str, pool: str, frame: pd.DataFrame, **job: Any) -> None:
    auth = {"Authorization": f"Bearer {key}"}
    made = json_200(wire("POST", f"{base}/{pool}/jobs/", json={"dataPoolId": pool, **job}, headers=auth))
    path = f"{base}/{pool}/jobs/{made['id']}"
    upload = with_headers(requests_upload("tmp.parquet", chunk(frame)), **auth)
    assert wire("POST", f"{path}/chunks/upserted", **upload).status_code == 200
    assert wire("POST", path, headers=auth).status_code == 200
    wait_for(lambda: json_200(wire("GET", path, headers=auth))["status"] == "DONE", 60, "DONE")


@pytest.mark.parametrize("base", [PUSH_BASES[0], PUSH_BASES[2]], ids=["cloud pool", "hybrid pool"])
def test_create_append_and_upsert(wire: Wire, api: httpx.Client, user_key: str, pool: str, base: str) -> None:
    schema = {"tableName": "ACTIVITIES", "columns": COLUMN_CONFIG}
    job = {"targetName": "ACTIVITIES", "tableSchema": schema}
    push(wire, user_key, base, pool, ROWS, type="REPLACE", **job)
    push(wire, user_key, base, pool, ROWS, type="DELTA", **job)
    assert sql(api, pool, 'SELECT count(*) FROM "ACTIVITIES"') == [[4]]

    push(wire, user_key, base, pool, ROWS, type="REPLACE", **job)
    changed = ROWS.assign(ACTIVITY_EN="Close")
    push(wire, user_key, base, pool, changed, type="DELTA", keys=["_CASE_KEY"], **job)
    assert sql(api, pool, 'SELECT "_CASE_KEY", "ACTIVITY_EN" FROM "ACTIVITIES" ORDER BY 1') == [
        ["1", "Close"],
        ["2", "Close"],
    ]


def test_the_login_greets_by_name(wire: Wire, user_key: str) -> None:
    user = json_200(wire("GET", "/api/cloud", headers={"Authorization": f"Bearer {user_key}"}))
    assert isinstance(user["name"], str)
    assert user["name"]


def test_the_list_of_tables_looks_like_the_tutorials(
    wire: Wire, api: httpx.Client, user_key: str, pool: str
) -> None:
    push(wire, user_key, PUSH_BASES[0], pool, ROWS, type="REPLACE", targetName="ACTIVITIES")
    auth = {"Authorization": f"Bearer {user_key}"}
    [table] = json_200(wire("GET", f"/integration/api/pools/{pool}/tables", headers=auth))
    assert table["name"] == "ACTIVITIES"
    assert table["dataSourceId"] is None
    assert table["schemaName"] == pool
    assert table["type"] == "TABLE"
    assert table["columns"] == [] or all("name" in column for column in table["columns"])
