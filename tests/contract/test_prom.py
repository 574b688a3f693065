"""promworkbench/CelonisIntegration: a ProM plug-in in Java, Spring RestTemplate, CSV.

Peculiar: JSON with zeros where nothing is set (``fieldLength``, ``decimals``), ``quoteSequence`` read back
as one character, form parts with their own Content-Length, an upload reply that must have no body, execute
with a JSON type and no body, and a loop that waits for DONE alone. It declares ``\\`` as escape and CRLF,
and writes doubled quotes and LF.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from contract.sending import Wire, assert_empty_200, json_200, multipart
from harness import sql, wait_for

JSON = {"Content-Type": "application/json", "Accept": "application/json, application/*+json"}
JAVA_ACCEPT = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
ROWS = [
    ("case:concept:name", "concept:name", "time:timestamp"),
    ("1", 'Check ""ticket""', "2023-03-01T09:30:00.000+01:00"),
    ("2", "Decide, then pay", "2023-03-01T09:30:00.250Z"),
    ("3", "", "2023-12-31T23:59:59.999-02:30"),
]
CSV = "".join(",".join(f'"{field}"' for field in row) + "\n" for row in ROWS).encode()


@pytest.fixture
def auth(owner_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {owner_key}"}


def job_body(pool: str, date_format: str = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX") -> dict[str, Any]:
    """As Jackson writes the plug-in's class: unset references are null, unset primitives 0."""
    kinds = ("STRING", "STRING", "DATETIME")
    return {
        "connectionId": None,
        "csvParsingOptions": {
            "charSet": None,
            "dateFormat": date_format,
            "decimalSeparator": ".",
            "escapeSequence": "\\",
            "lineEnding": "\r\n",
            "quoteSequence": '"',
            "separatorSequence": ",",
            "thousandSeparator": None,
        },
        "dataPoolId": pool,
        "fallbackVarcharLength": 80,
        "fileType": "CSV",
        "keys": None,
        "tableSchema": {
            "columns": [
                {"columnName": name, "columnType": kind, "decimals": 0, "fieldLength": 0, "pkField": None}
                for name, kind in zip(ROWS[0], kinds, strict=True)
            ],
            "tableName": "running-example",
        },
        "targetName": "running-example",
        "type": "REPLACE",
        "upsertStrategy": "UPSERT_WITH_NULLIFICATION",
        "id": None,
    }


def upload(data: bytes, filename: str = "chunk1234567.csv") -> dict[str, Any]:
    """Spring's form converter: a typed part with its length, a charset before the boundary."""
    boundary = "xWkBwZ-9fYv1mGq_V2d0uQ7Zk3Rj"
    part = (
        f'Content-Disposition: form-data; name="file"; filename="{filename}"',
        "Content-Type: text/csv",
        f"Content-Length: {len(data)}",
    )
    return {
        "content": multipart(data, boundary, *part),
        "headers": {
            "Content-Type": f"multipart/form-data;charset=UTF-8;boundary={boundary}",
            "Accept": JAVA_ACCEPT,
            "User-Agent": "Java/1.8.0_372",
        },
    }


def test_the_plug_in_starts(wire: Wire, pool: str, auth: dict[str, str]) -> None:
    """It reads the pools and, of every pool, the data models; an error there ends it."""
    pools = json_200(wire("GET", "/integration/api/pools", headers=JSON | auth))
    assert all(isinstance(p["name"], str) and isinstance(p["id"], str) for p in pools)
    models = json_200(wire("GET", f"/integration/api/pools/{pool}/data-models", headers=JSON | auth))
    assert models == []


def test_process_analytics_are_plainly_missing(wire: Wire, auth: dict[str, str]) -> None:
    """An error here makes it go on without; any 200 would be read as a list of workspaces."""
    assert wire("GET", "/process-mining/api/processes", headers=JSON | auth).status_code in (403, 404)


def test_permissions_name_the_service_that_creates_pools(wire: Wire, auth: dict[str, str]) -> None:
    entries = json_200(wire("GET", "/api/cloud/permissions", headers=JSON | auth))
    granted = {entry["serviceName"]: entry["permissions"] for entry in entries}
    assert "CREATE_DATA_POOL" in granted["event-collection"]


def test_a_pool_is_made_from_a_name_alone(wire: Wire, auth: dict[str, str]) -> None:
    made = json_200(wire("POST", "/integration/api/pools", json={"name": "ProM"}, headers=JSON | auth))
    assert isinstance(made["id"], str)


def test_upload_of_an_event_log(wire: Wire, api: httpx.Client, pool: str, auth: dict[str, str]) -> None:
    base = f"/integration/api/v1/data-push/{pool}/jobs/"
    job = json_200(wire("POST", base, json=job_body(pool), headers=JSON | auth))
    request = upload(CSV)
    assert_empty_200(
        wire(
            "POST",
            f"{base}{job['id']}/chunks/upserted",
            content=request["content"],
            headers=request["headers"] | auth,
        )
    )
    assert_empty_200(wire("POST", f"{base}{job['id']}", headers=JSON | auth))

    def status() -> str:
        return str(json_200(wire("GET", f"{base}{job['id']}", headers=JSON | auth))["status"])

    wait_for(lambda: status() == "DONE", 60, "DONE, and nothing but DONE")

    columns = '"case:concept:name", "concept:name", "time:timestamp"::VARCHAR'
    assert sql(api, pool, f'SELECT {columns} FROM "running-example" ORDER BY 1') == [
        ["1", 'Check "ticket"', "2023-03-01 08:30:00"],
        ["2", "Decide, then pay", "2023-03-01 09:30:00.25"],
        ["3", "", "2024-01-01 02:29:59.999"],
    ]


def test_the_reply_to_create_fits_its_classes(wire: Wire, pool: str, auth: dict[str, str]) -> None:
    base = f"/integration/api/v1/data-push/{pool}/jobs/"
    job = json_200(wire("POST", base, json=job_body(pool), headers=JSON | auth))

    assert isinstance(job["id"], str)
    assert job["type"] in ("REPLACE", "DELTA")
    assert job["fileType"] in ("PARQUET", "CSV")
    assert job["upsertStrategy"] in ("UPSERT_WITH_UNCHANGED_METADATA", "UPSERT_WITH_NULLIFICATION", None)
    assert job["keys"] is None or isinstance(job["keys"], list)
    assert isinstance(job["fallbackVarcharLength"], int), "a Java int takes no null in strict mappers"
    options = job["csvParsingOptions"]
    assert options is None or options["quoteSequence"] is None or len(options["quoteSequence"]) == 1
    for column in job["tableSchema"]["columns"]:
        assert isinstance(column.get("decimals", 0), int | None)
        assert isinstance(column.get("fieldLength", 0), int | None)


def test_backslash_escapes_are_read_too(
    wire: Wire, api: httpx.Client, pool: str, auth: dict[str, str]
) -> None:
    """What it declares: ``\\"`` inside quotes, lines ended by CRLF."""
    csv = b'"a","b"\r\n"say \\"hi\\"","x"\r\n"say ""ho""","y"\r\n'
    body = job_body(pool) | {"tableSchema": None, "targetName": "T"}
    base = f"/integration/api/v1/data-push/{pool}/jobs/"
    job = json_200(wire("POST", base, json=body, headers=JSON | auth))
    request = upload(csv)
    path = f"{base}{job['id']}"
    wire("POST", f"{path}/chunks/upserted", content=request["content"], headers=request["headers"] | auth)
    wire("POST", path, headers=JSON | auth)
    wait_for(lambda: json_200(wire("GET", path, headers=auth))["status"] == "DONE", 60, "DONE")
    assert sql(api, pool, 'SELECT "a", "b" FROM "T" ORDER BY 2') == [['say "hi"', "x"], ['say "ho"', "y"]]
