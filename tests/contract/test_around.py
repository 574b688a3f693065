"""What clients call around a push: who am I, pools, data sources, tables and columns."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx
import pytest

from contract.pycelonis import POOL_FIELDS, column, transport
from contract.sending import Wire, json_200
from harness import create_pool, new_key, parquet, run_job

POOLS = "/integration/api/pools"


def create_source(api: httpx.Client, pool: str, name: str) -> dict[str, Any]:
    source: dict[str, Any] = json_200(api.post(f"{POOLS}/{pool}/data-sources/", json={"name": name}))
    return source


# -- who am I ------------------------------------------------------------------------------------------


def test_cloud_tells_the_user(api: httpx.Client) -> None:
    user = json_200(api.get("/api/cloud"))
    for field in ("name", "teamDomain"):
        assert isinstance(user[field], str), field
    assert isinstance(user["email"], str | None)


def test_permissions_are_those_of_the_key(wire: Wire, app_key: str) -> None:
    headers = {"Authorization": f"AppKey {app_key}"}
    entries = json_200(wire("GET", "/api/cloud/permissions", headers=headers))
    assert isinstance(entries, list)
    names = {permission for entry in entries for permission in entry["permissions"]}
    assert "CREATE_DATA_POOL" not in names


def test_team_tells_the_limits(api: httpx.Client) -> None:
    team = json_200(api.get("/api/team"))
    assert isinstance(team["trackingEnabled"], bool)
    assert isinstance(team["unlimitedDataPushJobSubmissions"], bool)
    for field in ("dataPushJobSubmissionLimitPerSec", "dataPushJobSubmissionLimitPerHour"):
        assert isinstance(team.get(field), int | None), field


def test_no_cookie_is_set(api: httpx.Client) -> None:
    """A cookie XSRF-TOKEN would change every later request of pycelonis."""
    assert "set-cookie" not in api.get("/api/cloud").headers


# -- pools ---------------------------------------------------------------------------------------------


def test_create_read_update_delete(api: httpx.Client) -> None:
    made = json_200(api.post(POOLS, json=transport(POOL_FIELDS, name="A pool", description="of ours")))
    assert uuid.UUID(made["id"])
    shown = json_200(api.get(f"{POOLS}/{made['id']}"))
    assert (shown["name"], shown["description"]) == ("A pool", "of ours")
    assert isinstance(shown["timeStamp"], int)

    updated = json_200(api.put(f"{POOLS}/{made['id']}", json={**shown, "name": "Another", "locked": True}))
    assert (updated["id"], updated["name"], updated["locked"]) == (made["id"], "Another", True)
    assert json_200(api.get(f"{POOLS}/{made['id']}"))["name"] == "Another"

    assert api.delete(f"{POOLS}/{made['id']}").status_code in (200, 204)
    assert api.get(f"{POOLS}/{made['id']}").status_code == 404
    assert made["id"] not in [p["id"] for p in json_200(api.get(POOLS))]


def test_fields_of_a_pool_have_the_types_of_its_transport(api: httpx.Client, pool: str) -> None:
    shown = json_200(api.get(f"{POOLS}/{pool}"))
    for field in ("permissions", "tags"):
        assert isinstance(shown.get(field), list | None), field
    for field in ("locked", "exported", "monitoringTarget"):
        assert isinstance(shown.get(field), bool | None), field
    assert isinstance(shown.get("contentVersion"), int | None)


def test_list_of_pools(api: httpx.Client, pool: str) -> None:
    other = create_pool(api)
    assert {pool, other} <= {p["id"] for p in json_200(api.get(POOLS))}
    chosen = json_200(api.get(POOLS, params={"poolIds": [pool, other]}))
    assert {p["id"] for p in chosen} == {pool, other}


def test_a_deleted_pool_takes_its_jobs_and_tables_along(api: httpx.Client) -> None:
    pool = create_pool(api)
    job = run_job(api, pool, "T", [parquet({"A": [1]})], type="REPLACE")["id"]
    assert api.delete(f"{POOLS}/{pool}").status_code in (200, 204)
    assert api.get(f"{POOLS}/{pool}/tables").status_code == 404
    assert api.get(f"/integration/api/v1/data-push/{pool}/jobs/{job}").status_code == 404


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_of_pools(api: httpx.Client, pool: str, limit: int) -> None:
    page = json_200(api.get(f"{POOLS}/paged", params={"limit": limit, "page": 0}))
    assert page["pageNumber"] == 0
    assert page["totalCount"] >= 1
    assert len(page["content"]) == min(limit, page["totalCount"])
    assert all(isinstance(p["id"], str) and isinstance(p["name"], str) for p in page["content"])


def test_a_page_past_the_end_is_empty(api: httpx.Client, pool: str) -> None:
    page = json_200(api.get(f"{POOLS}/paged", params={"limit": 100, "page": 1000}))
    assert page["content"] == []


# -- data sources --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_data_sources(api: httpx.Client, pool: str, slash: str) -> None:
    made = create_source(api, pool, "SAP ECC")
    query = {"excludeUnconfigured": "false", "distinct": "true", "limit": "100"}
    [listed] = json_200(api.get(f"{POOLS}/{pool}/data-sources{slash}", params=query))
    shown = json_200(api.get(f"{POOLS}/{pool}/data-sources/{made['id']}{slash}"))
    for source in (made, listed, shown):
        assert (source["id"], source["poolId"], source["name"]) == (made["id"], pool, "SAP ECC")
        assert source["targetSchemaName"] == f"{pool}_{made['id']}"
    assert api.delete(f"{POOLS}/{pool}/data-sources/{made['id']}").status_code in (200, 204)
    assert json_200(api.get(f"{POOLS}/{pool}/data-sources/")) == []


def test_tables_of_a_data_source(api: httpx.Client, pool: str) -> None:
    source = create_source(api, pool, "SAP")["id"]
    url = f"{POOLS}/{pool}/data-sources/{source}/search-tables"
    empty = json_200(api.get(url))
    assert (empty["availableTables"], empty["lookupSuccessful"]) == ([], True)
    for name in ("VBAK", "VBAP", "EKKO"):
        run_job(api, pool, name, [parquet({"A": [1]})], type="REPLACE", connectionId=source)
    run_job(api, pool, "GLOBAL", [parquet({"A": [1]})], type="REPLACE")

    found = json_200(api.get(url, params={"searchString": "vba"}))["availableTables"]

    assert sorted(t["name"] for t in found) == ["VBAK", "VBAP"]
    assert {t["dataSourceId"] for t in found} == {source}
    assert len(json_200(api.get(url))["availableTables"]) == 3


# -- tables and columns --------------------------------------------------------------------------------


def test_tables_of_a_pool(api: httpx.Client, pool: str) -> None:
    assert json_200(api.get(f"{POOLS}/{pool}/tables")) == []
    source = create_source(api, pool, "SAP")
    run_job(api, pool, "Orders", [parquet({"A": [1]})], type="REPLACE")
    run_job(api, pool, "Orders", [parquet({"A": [1]})], type="REPLACE", connectionId=source["id"])

    tables = {t["dataSourceId"]: t for t in json_200(api.get(f"{POOLS}/{pool}/tables"))}

    assert set(tables) == {None, source["id"]}
    shown = tables[None]
    assert (shown["name"], shown["type"], shown["schemaName"]) == ("Orders", "TABLE", pool)
    assert shown["dataSourceName"] is None
    assert isinstance(shown["available"], bool)
    assert tables[source["id"]]["schemaName"] == f"{pool}_{source['id']}"
    assert tables[source["id"]]["dataSourceName"] == "SAP"


def columns_of(api: httpx.Client, pool: str, table: str, **query: str) -> dict[str, dict[str, Any]]:
    shown = json_200(api.get(f"{POOLS}/{pool}/columns", params={"tableName": table, **query}))
    return {c["name"]: c for c in shown}


def test_columns_with_four_times_their_length(api: httpx.Client, pool: str) -> None:
    config = [column("ID", "STRING", fieldLength=20), column("N", "INTEGER"), column("X", "FLOAT")]
    config += [column("D", "DATE"), column("T", "DATETIME")]
    csv = b"ID,N,X,D,T\na,1,1.5,2024-01-31,2024-01-31T10:00:00.000Z\n"
    schema = {"tableName": "T", "columns": config}
    run_job(api, pool, "T", [csv], type="REPLACE", fileType="CSV", tableSchema=schema)

    columns = columns_of(api, pool, "T")

    assert list(columns)[:5] == ["ID", "N", "X", "D", "T"]
    assert list(columns)[-1] == "_CELONIS_CHANGE_DATE"
    assert columns["ID"]["length"] == 80
    kinds = {name: columns[name]["type"] for name in ("ID", "N", "X", "D", "T", "_CELONIS_CHANGE_DATE")}
    assert kinds == {
        "ID": "STRING",
        "N": "INTEGER",
        "X": "FLOAT",
        "D": "DATE",
        "T": "DATE",
        "_CELONIS_CHANGE_DATE": "DATE",
    }
    assert all(isinstance(c["length"], int | None) for c in columns.values())


def test_fallback_length_times_four(api: httpx.Client, pool: str) -> None:
    job = {"type": "REPLACE", "fileType": "CSV", "fallbackVarcharLength": 100}
    run_job(api, pool, "T", [b"A\nx\n"], **job)
    assert columns_of(api, pool, "T")["A"]["length"] == 400


def test_columns_are_found_without_regard_to_case(api: httpx.Client, pool: str) -> None:
    run_job(api, pool, "MixedCase", [parquet({"A": [1]})], type="REPLACE")
    assert list(columns_of(api, pool, "mixedcase")) == ["A", "_CELONIS_CHANGE_DATE"]


def test_columns_of_a_connection_by_its_id(api: httpx.Client, pool: str) -> None:
    """``schemaName`` carries the id of the connection; without it the global table is meant."""
    source = create_source(api, pool, "SAP")["id"]
    run_job(api, pool, "T", [parquet({"HERE": [1]})], type="REPLACE", connectionId=source)
    run_job(api, pool, "T", [parquet({"GLOBAL": [1]})], type="REPLACE")
    assert "HERE" in columns_of(api, pool, "T", schemaName=source)
    assert "GLOBAL" in columns_of(api, pool, "T")


def test_the_table_is_listed_the_instant_the_job_is_done(api: httpx.Client, pool: str) -> None:
    for turn in range(10):
        run_job(api, pool, f"T{turn}", [parquet({"A": [turn]})], type="REPLACE")
        assert f"T{turn}" in [t["name"] for t in json_200(api.get(f"{POOLS}/{pool}/tables"))]


def test_a_push_key_may_read_what_a_push_needs(wire: Wire, api: httpx.Client, pool: str) -> None:
    headers = {"Authorization": f"AppKey {new_key(api, 'application', ['push'], pools=[pool])}"}
    run_job(api, pool, "T", [parquet({"A": [1]})], type="REPLACE")
    for path in (
        "/api/cloud",
        "/api/cloud/permissions",
        "/api/team",
        POOLS,
        f"{POOLS}/{pool}",
        f"{POOLS}/{pool}/tables",
        f"{POOLS}/{pool}/columns?tableName=T",
        f"{POOLS}/{pool}/data-sources/",
    ):
        json_200(wire("GET", path, headers=headers))


def test_change_date_is_now(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "T", [parquet({"A": [1]})], type="REPLACE")
    assert abs(job["changeDate"] - time.time() * 1000) < 60_000
