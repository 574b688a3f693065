"""Every way to write a path: three bases, doubled slashes, slashes at the end; never a redirect.

A redirect turns POST into GET in most clients (contract 0.4). A job made under one base is the same job
under the others (contract 1a).
"""

from __future__ import annotations

import httpx
import pytest

from contract.sending import Wire, assert_empty_200, json_200
from harness import PUSH_BASES, create_job, sql, wait_for_job

COLLECTION = ("/jobs", "/jobs/", "//jobs//")
ONE = ("/jobs/{id}", "/jobs/{id}/", "/jobs//{id}", "/jobs//{id}/")
CHUNKS = ("/jobs/{id}/chunks", "/jobs/{id}/chunks/", "/jobs//{id}/chunks", "/jobs//{id}//chunks/")
UPSERTED = (
    "/jobs/{id}/chunks/upserted",
    "/jobs/{id}/chunks/upserted/",
    "/jobs//{id}/chunks/upserted",
    "/jobs//{id}/chunks/upserted/",
)
CSV = {"file": ("a.csv", b"A,B\n1,2\n", "text/csv")}


@pytest.fixture
def auth(app_key: str) -> dict[str, str]:
    return {"Authorization": f"AppKey {app_key}"}


@pytest.fixture
def job(api: httpx.Client, pool: str) -> str:
    return str(create_job(api, pool, "T", type="DELTA", fileType="CSV", keys=["A"])["id"])


bases = pytest.mark.parametrize("base", [*PUSH_BASES, "/" + PUSH_BASES[0]])


@bases
@pytest.mark.parametrize("path", COLLECTION)
def test_create_and_list(wire: Wire, auth: dict[str, str], pool: str, base: str, path: str) -> None:
    body = {"targetName": "T", "dataPoolId": pool, "type": "REPLACE"}
    made = json_200(wire("POST", f"{base}/{pool}{path}", json=body, headers=auth))
    for other in PUSH_BASES:
        listed = json_200(wire("GET", f"{other}/{pool}{path}", headers=auth))
        assert [j["id"] for j in listed] == [made["id"]]


@bases
@pytest.mark.parametrize("path", ONE)
def test_read_submit_and_delete(
    wire: Wire, api: httpx.Client, auth: dict[str, str], pool: str, job: str, base: str, path: str
) -> None:
    url = f"{base}/{pool}{path}".format(id=job)
    assert json_200(wire("GET", url, headers=auth))["id"] == job
    assert_empty_200(wire("POST", f"{base}/{pool}/jobs/{job}/chunks/upserted", files=CSV, headers=auth))
    assert_empty_200(wire("POST", url, headers=auth))
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    deleted = wire("DELETE", url, headers=auth)
    assert (deleted.status_code in (200, 204), deleted.content) == (True, b"")
    assert wire("GET", url, headers=auth).status_code == 404
    assert sql(api, pool, 'SELECT "A", "B" FROM "T"') == [["1", "2"]], "a deleted job takes no rows along"


@bases
@pytest.mark.parametrize("path", UPSERTED)
def test_chunks_go_in(wire: Wire, auth: dict[str, str], pool: str, job: str, base: str, path: str) -> None:
    url = f"{base}/{pool}{path}".format(id=job)
    assert_empty_200(wire("POST", url, files=CSV, headers=auth))
    assert_empty_200(wire("POST", url.replace("upserted", "deleted"), files=CSV, headers=auth))
    shown = json_200(wire("GET", f"{base}/{pool}/jobs/{job}/chunks", headers=auth))
    assert [c["type"] for c in shown] == ["UPSERT", "DELETE"]


@bases
@pytest.mark.parametrize("path", CHUNKS)
def test_chunks_are_listed(
    wire: Wire, auth: dict[str, str], pool: str, job: str, base: str, path: str
) -> None:
    assert json_200(wire("GET", f"{base}/{pool}{path}".format(id=job), headers=auth)) == []


def test_a_query_survives_the_quirks(wire: Wire, api: httpx.Client, auth: dict[str, str], pool: str) -> None:
    job = create_job(api, pool, "T", type="DELTA", fileType="CSV", keys=["K"])["id"]
    rows = {"file": ("a.csv", b"K,N\na,3\na,7\na,5\n")}
    wire("POST", f"{PUSH_BASES[1]}/{pool}/jobs//{job}/chunks/upserted", files=rows, headers=auth)
    submit = f"/{PUSH_BASES[2]}/{pool}/jobs//{job}/?duplicateRemovalColumn=N"
    assert_empty_200(wire("POST", submit, headers=auth))
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, 'SELECT "K", "N" FROM "T"') == [["a", "7"]]


def test_an_unknown_path_is_no_redirect_either(wire: Wire, auth: dict[str, str], pool: str) -> None:
    for method, path in (("GET", f"{PUSH_BASES[0]}/{pool}/no-such"), ("POST", "/integration/api/nowhere/")):
        assert wire(method, path, headers=auth).status_code in (404, 405)
