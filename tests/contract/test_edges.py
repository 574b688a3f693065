"""Numbers and times beyond what a machine counts: told to the client, no error of the server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from harness import RunningServer, create_job, create_pool, run_job

NUMBERS = [-(2**63) - 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**400]
TIMES = [
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "9999-12-31"),
    *("1e300", "99999999999999999999", "-1", "0"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("edges") / "data") as running:
        yield running
        assert "internal error" not in running.log


@pytest.fixture(scope="module")
def api(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def ids(api: httpx.Client) -> dict[str, str]:
    pool = create_pool(api)
    job = run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")["id"]
    key = api.post("/api/v1/keys", json={"name": "k", "permissions": ["read"]}).json()["id"]
    return {"pool": pool, "job": job, "new": create_job(api, pool, "u", fileType="CSV")["id"], "key": key}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pools/{pool}/jobs?limit=",
        "/api/v1/pools/{pool}/jobs?offset=",
        "/api/v1/pools/{pool}/jobs/{job}/rejects?limit=",
        "/api/v1/pools/{pool}/jobs/{job}/rejects?offset=",
        "/api/v1/pools/{pool}/jobs/{job}/rejects?format=csv&offset=",
        "/api/v1/audit?status=",
        "/api/v1/audit?before=",
        "/api/v1/audit?limit=",
        "/integration/api/pools/paged?limit=",
        "/integration/api/pools/paged?page=",
    ],
)
def test_numbers_in_queries(api: httpx.Client, ids: dict[str, str], path: str) -> None:
    for number in NUMBERS:
        reply = api.get(path.format(**ids) + str(number))
        assert reply.status_code in (200, 400), (number, reply.text)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/pools/{pool}/sql", "maxRows"),
        ("/api/v1/keys/{key}/rotate", "overlapSeconds"),
        ("/api/v1/pools/{pool}/jobs/{job}/rejects/replay", "maxRejectedRows"),
        ("/api/v1/pools/{pool}/jobs", "maxRejectedRows"),
        ("/api/v1/pools/{pool}/jobs", "maxRejectedShare"),
        ("/api/v1/pools/{pool}/jobs", "fallbackVarcharLength"),
    ],
)
def test_numbers_in_bodies(api: httpx.Client, ids: dict[str, str], path: str, field: str) -> None:
    for number in NUMBERS:
        body = {"sql": "SELECT 1", "targetName": "v", "fileType": "CSV", field: number}
        reply = api.post(path.format(**ids), json=body)
        assert reply.status_code in (200, 201, 400, 409), (number, reply.text)
    assert api.get(f"/api/v1/pools/{ids['pool']}/jobs").status_code == 200


def test_numbers_in_schemas(api: httpx.Client, ids: dict[str, str]) -> None:
    for number in NUMBERS:
        column = {"columnName": "a", "columnType": "FLOAT", "fieldLength": number, "decimals": number}
        path = f"/api/v1/pools/{ids['pool']}/jobs/{ids['new']}/schema"
        reply = api.put(path, json={"columns": [column]})
        assert reply.status_code in (200, 400), (number, reply.text)


@pytest.mark.parametrize("at", TIMES)
def test_times(api: httpx.Client, at: str) -> None:
    for name in ("since", "until"):
        assert api.get("/api/v1/audit", params={name: at}).status_code in (200, 400)
    for path in ("/api/v1/keys", "/api/v1/clients"):
        body = {"name": "k", "permissions": ["read"], "expiresAt": at}
        assert api.post(path, json=body).status_code in (201, 400)
        assert api.get(path).status_code == 200


def test_a_time_that_utc_does_not_have_is_told(api: httpx.Client) -> None:
    reply = api.get("/api/v1/audit", params={"since": "0001-01-01T00:00:00+14:00"})
    assert reply.status_code == 400
    assert "before the year 1" in reply.text
