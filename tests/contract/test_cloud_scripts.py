"""The ``cloud`` class that wanders through scripts, with Parquet (AppKey) and with CSV (Bearer).

Peculiar: lower-case ``authorization``, ``jobs//{id}`` without a slash at its end in one and with one in the
other, no ``fileType`` for Parquet, and the field ``dataConnectionId`` that does not exist.
"""

from __future__ import annotations

import httpx

from contract.sending import Wire, assert_empty_200, json_200, requests_upload, with_headers
from harness import parquet, sql, wait_for_job


def test_parquet_with_an_application_key(wire: Wire, api: httpx.Client, app_key: str, pool: str) -> None:
    auth = {"authorization": f"AppKey {app_key}"}
    jobs = f"/integration/api/v1/data-push/{pool}/jobs/"
    for kind, rows in (("REPLACE", {"ID": ["a"], "N": [1]}), ("DELTA", {"ID": ["b"], "N": [2]})):
        body = {"targetName": "T", "type": kind, "dataPoolId": pool}
        job = json_200(wire("POST", jobs, json=body, headers=auth))["id"]
        upload = requests_upload("tmp_2022-01-01_00-00-00-000001.parquet", parquet(rows))
        assert_empty_200(wire("POST", f"{jobs}/{job}/chunks/upserted", **with_headers(upload, **auth)))
        assert_empty_200(wire("POST", f"{jobs}/{job}", headers=auth))
        assert wait_for_job(api, pool, job)["status"] == "DONE"
        assert job in [j["id"] for j in json_200(wire("GET", jobs, headers=auth))]
        assert wire("DELETE", f"{jobs}/{job}", headers=auth).status_code in (200, 204)
    assert sql(api, pool, 'SELECT "ID", "N" FROM "T" ORDER BY 1') == [["a", 1], ["b", 2]]


def test_csv_with_a_misspelt_connection_lands_in_the_global_table(
    wire: Wire, api: httpx.Client, user_key: str, pool: str
) -> None:
    auth = {"authorization": f"Bearer {user_key}"}
    jobs = f"/integration/api/v1/data-push/{pool}/jobs/"
    body = {
        "targetName": "KNA1",
        "type": "REPLACE",
        "dataPoolId": pool,
        "dataConnectionId": "0c1f3c49-3b5c-4d8b-9a53-0d1e7d2c8a11",
        "fileType": "CSV",
    }
    job = json_200(wire("POST", jobs, json=body, headers=auth))
    assert job["connectionId"] is None
    upload = with_headers(requests_upload("KNA1.csv", "KUNNR,NAME1\n0000000042,Müller\n".encode()), **auth)
    assert_empty_200(wire("POST", f"{jobs}/{job['id']}/chunks/upserted", **upload))
    assert_empty_200(wire("POST", f"{jobs}/{job['id']}/", headers=auth))
    assert wait_for_job(api, pool, job["id"])["status"] == "DONE"
    assert sql(api, pool, 'SELECT "KUNNR", "NAME1" FROM "KNA1"') == [["0000000042", "Müller"]]


def test_the_same_csv_twice_as_delta_doubles_its_rows(
    wire: Wire, api: httpx.Client, user_key: str, pool: str
) -> None:
    auth = {"authorization": f"Bearer {user_key}"}
    jobs = f"/integration/api/v1/data-push/{pool}/jobs/"
    for _ in range(2):
        body = {"targetName": "T", "type": "DELTA", "dataPoolId": pool, "fileType": "CSV"}
        job = json_200(wire("POST", jobs, json=body, headers=auth))["id"]
        upload = with_headers(requests_upload("T.csv", b"A,B\n1,2\n"), **auth)
        wire("POST", f"{jobs}/{job}/chunks/upserted", **upload)
        wire("POST", f"{jobs}/{job}/", headers=auth)
        assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, 'SELECT "A", "B" FROM "T"') == [["1", "2"], ["1", "2"]]
