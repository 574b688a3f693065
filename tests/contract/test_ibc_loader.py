"""jschukat/IBC_Loader, today's and the old one: uploads folders of Parquet files with ``requests``.

Peculiar: ``jobs//{id}/`` everywhere, type "UPSERT" in the old one for DELTA, slashes in table names (SAP
name spaces), fastparquet with SNAPPY and INT96, an all-null column written as the text 'none', and the end
of a job read from the list of all jobs, where any status but QUEUED, RUNNING and DONE is a failure.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import fastparquet
import httpx
import pandas as pd
import pytest

from contract.sending import Wire, assert_empty_200, json_200, requests_upload, with_headers
from harness import parquet, sql, wait_for

FRAME = pd.DataFrame(
    {
        "MANDT": ["100", "100"],
        "MENGE": [1.5, 2.0],
        "CHANGED_AT": [datetime(2020, 2, 29, 12, 0, 0), datetime(1999, 12, 31, 23, 59, 59)],
        "EMPTY": ["none", "none"],
    }
).astype({"CHANGED_AT": "datetime64[ns]"})


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two chunks as today's loader writes them."""
    files = [tmp_path / "02024-01-01_00-00-00.parquet", tmp_path / "12024-01-01_00-00-00.parquet"]
    for number, file in enumerate(files):
        part = FRAME.iloc[number : number + 1]
        fastparquet.write(str(file), part, compression="SNAPPY", write_index=False, times="int96")
    return files


@pytest.fixture
def auth(user_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {user_key}"}


def jobs(pool: str) -> str:
    return f"/integration/api/v1/data-push/{pool}/jobs/"


def wait_as_the_loader(wire: Wire, auth: dict[str, str], pool: str, job: str) -> str:
    """The list is asked until the job is neither QUEUED nor RUNNING."""

    def ended() -> str | None:
        listed = json_200(wire("GET", jobs(pool), headers=auth))
        [status] = [j["status"] for j in listed if j["id"] == job]
        return None if status in ("QUEUED", "RUNNING") else str(status)

    return wait_for(ended, 60, "the job to end")


def test_a_folder_of_fastparquet_files(
    wire: Wire, api: httpx.Client, auth: dict[str, str], pool: str, files: list[Path]
) -> None:
    body = {"targetName": "/BIC/AZSD_O01", "type": "REPLACE", "dataPoolId": pool}
    job = json_200(wire("POST", jobs(pool), json=body, headers=auth))["id"]
    for file in files:
        upload = with_headers(requests_upload(file.name, file.read_bytes()), **auth)
        assert_empty_200(wire("POST", f"{jobs(pool)}/{job}/chunks/upserted", **upload))
    assert_empty_200(wire("POST", f"{jobs(pool)}/{job}/", headers=auth))

    assert wait_as_the_loader(wire, auth, pool, job) == "DONE"
    query = 'SELECT "MANDT", "MENGE", "CHANGED_AT"::VARCHAR, "EMPTY" FROM "/BIC/AZSD_O01" ORDER BY 2'
    assert sql(api, pool, query) == [
        ["100", 1.5, "2020-02-29 12:00:00", "none"],
        ["100", 2.0, "1999-12-31 23:59:59", "none"],
    ]


def test_the_status_is_no_longer_new_once_submitted(
    wire: Wire, auth: dict[str, str], pool: str, files: list[Path]
) -> None:
    """It would take NEW for a failure and print the job."""
    for turn in range(10):
        body = {"targetName": f"T{turn}", "type": "REPLACE", "dataPoolId": pool}
        job = json_200(wire("POST", jobs(pool), json=body, headers=auth))["id"]
        upload = with_headers(requests_upload("T.parquet", files[0].read_bytes()), **auth)
        wire("POST", f"{jobs(pool)}/{job}/chunks/upserted", **upload)
        wire("POST", f"{jobs(pool)}/{job}/", headers=auth)
        listed = json_200(wire("GET", jobs(pool), headers=auth))
        [status] = [j["status"] for j in listed if j["id"] == job]
        assert status in ("QUEUED", "RUNNING", "DONE")


def test_a_failed_job_has_a_status_and_logs_in_the_list(wire: Wire, auth: dict[str, str], pool: str) -> None:
    def push(rows: dict[str, list[object]], **more: str) -> str:
        body = {"targetName": "T", "type": "DELTA", "dataPoolId": pool, **more}
        job = str(json_200(wire("POST", jobs(pool), json=body, headers=auth))["id"])
        upload = with_headers(requests_upload("T.parquet", parquet(rows)), **auth)
        wire("POST", f"{jobs(pool)}/{job}/chunks/upserted", **upload)
        wire("POST", f"{jobs(pool)}/{job}/", headers=auth)
        return job

    good = push({"K": ["a"]})
    assert wait_as_the_loader(wire, auth, pool, good) == "DONE"
    bad = push({"K": ["a"], "UNKNOWN": [1]}, upsertStrategy="UPSERT_WITH_UNCHANGED_METADATA")
    assert wait_as_the_loader(wire, auth, pool, bad) == "ERROR"

    [failed] = [j for j in json_200(wire("GET", jobs(pool), headers=auth)) if j["id"] == bad]
    assert failed["targetName"] == "T"
    assert "UNKNOWN" in " ".join(failed["logs"])


def test_the_old_loader_says_upsert_for_delta(
    wire: Wire, api: httpx.Client, auth: dict[str, str], pool: str
) -> None:
    """pandas and pyarrow with INT96; no keys, so rows are added."""
    data = parquet({"ID": [1], "AT": [datetime(2020, 1, 1)]}, use_deprecated_int96_timestamps=True)
    for _ in range(2):
        body = {"targetName": "OLD", "type": "UPSERT", "dataPoolId": pool}
        made = json_200(wire("POST", jobs(pool), json=body, headers=auth))
        assert made["type"] == "DELTA"
        upload = with_headers(requests_upload("OLD.parquet", data), **auth)
        assert_empty_200(wire("POST", f"{jobs(pool)}/{made['id']}/chunks/upserted", **upload))
        assert_empty_200(wire("POST", f"{jobs(pool)}/{made['id']}/", headers=auth))
        assert wait_as_the_loader(wire, auth, pool, made["id"]) == "DONE"
    assert sql(api, pool, 'SELECT "ID", "AT"::VARCHAR FROM "OLD"') == [[1, "2020-01-01 00:00:00"]] * 2


def test_delete_of_a_job_with_two_slashes(wire: Wire, auth: dict[str, str], pool: str) -> None:
    body = {"targetName": "T", "type": "REPLACE", "dataPoolId": pool}
    job = json_200(wire("POST", jobs(pool), json=body, headers=auth))["id"]
    assert wire("DELETE", f"{jobs(pool)}/{job}", headers=auth).status_code in (200, 204)
    assert json_200(wire("GET", jobs(pool), headers=auth)) == []


def test_into_a_data_connection(
    wire: Wire, api: httpx.Client, auth: dict[str, str], pool: str, files: list[Path]
) -> None:
    source = json_200(api.post(f"/integration/api/pools/{pool}/data-sources/", json={"name": "SAP ECC"}))
    body = {"targetName": "VBAK", "type": "REPLACE", "dataPoolId": pool, "connectionId": source["id"]}
    job = json_200(wire("POST", jobs(pool), json=body, headers=auth))["id"]
    upload = with_headers(requests_upload(files[0].name, files[0].read_bytes()), **auth)
    assert_empty_200(wire("POST", f"{jobs(pool)}/{job}/chunks/upserted", **upload))
    assert_empty_200(wire("POST", f"{jobs(pool)}/{job}/", headers=auth))
    assert wait_as_the_loader(wire, auth, pool, job) == "DONE"
    [table] = json_200(api.get(f"/integration/api/pools/{pool}/tables"))
    assert (table["name"], table["dataSourceId"], table["dataSourceName"]) == (
        "VBAK",
        source["id"],
        "SAP ECC",
    )
