"""mpriyadarshi-debug/SAP-raw-tables: pushes sixty CSV files, one job each, with ``requests``.

Peculiar: ``/jobs`` without a slash, no ``fileType`` although it is CSV, ``csvParsingOptions`` of its own
invention, and the CSV as the bare body under ``Content-Type: text/csv``. Counts 200, 201 and 204 as good.
"""

from __future__ import annotations

import httpx

from contract.sending import Wire, json_200
from harness import sql, wait_for_job

GOOD = (200, 201, 204)
CSV = b"MANDT,BUKRS,BUTXT\n100,0001,SAP A.G.\n100,1000,\n"


def push(wire: Wire, auth: dict[str, str], pool: str, table: str, csv: bytes) -> str:
    base = f"/integration/api/v1/data-push/{pool}"
    options = {"columnSeparator": ",", "quoteChar": '"', "header": True}
    body = {"dataPoolId": pool, "targetName": table, "type": "REPLACE", "csvParsingOptions": options}
    job = str(json_200(wire("POST", f"{base}/jobs", json=body, headers=auth))["id"])
    headers = auth | {"Content-Type": "text/csv"}
    chunk = wire("POST", f"{base}/jobs/{job}/chunks/upserted", content=csv, headers=headers)
    assert chunk.status_code in GOOD, chunk.text
    assert wire("POST", f"{base}/jobs/{job}", headers=auth).status_code in GOOD
    return job


def test_raw_csv_without_a_file_type(wire: Wire, api: httpx.Client, app_key: str, pool: str) -> None:
    job = push(wire, {"Authorization": f"AppKey {app_key}"}, pool, "T001", CSV)
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, 'SELECT "MANDT", "BUKRS", "BUTXT" FROM "T001" ORDER BY 2') == [
        ["100", "0001", "SAP A.G."],
        ["100", "1000", None],
    ]


def test_sixty_tables_one_after_another(wire: Wire, api: httpx.Client, app_key: str, pool: str) -> None:
    """It never looks back; every one of them has to arrive."""
    auth = {"Authorization": f"AppKey {app_key}"}
    jobs = [push(wire, auth, pool, f"TABLE{number:02}", CSV) for number in range(60)]
    assert {wait_for_job(api, pool, job)["status"] for job in jobs} == {"DONE"}
    names = [table["name"] for table in json_200(api.get(f"/integration/api/pools/{pool}/tables"))]
    assert sorted(names) == [f"TABLE{number:02}" for number in range(60)]
