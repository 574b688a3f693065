"""A FastAPI service that pushes event logs with httpx: list, create, upload, execute, status.

Peculiar: the part says ``text/csv``, the reply to the upload is parsed as JSON unless it is empty, and the
table is replaced each time.
"""

from __future__ import annotations

import httpx

from contract.sending import Wire, assert_empty_200, json_200
from harness import sql, wait_for_job

CSV = "case_id,activity,timestamp\n1,Start,2024-01-01 10:00:00\n1,End,2024-01-01 11:00:00\n"


def test_event_log_is_replaced(wire: Wire, api: httpx.Client, user_key: str, pool: str) -> None:
    auth = {"Authorization": f"Bearer {user_key}"}
    jobs = f"/integration/api/v1/data-push/{pool}/jobs/"
    assert json_200(wire("GET", jobs, headers=auth)) == []
    for _ in range(2):
        body = {"type": "REPLACE", "fileType": "CSV", "targetName": "sys_event_logs", "dataPoolId": pool}
        job = json_200(wire("POST", jobs, json=body, headers=auth))["id"]
        form = {"file": ("Event Logs (1).csv", CSV.encode(), "text/csv")}
        assert_empty_200(wire("POST", f"{jobs}{job}/chunks/upserted", files=form, headers=auth))
        assert_empty_200(wire("POST", f"{jobs}{job}", headers=auth))
        assert json_200(wire("GET", f"{jobs}{job}", headers=auth))["status"] != "NEW"
        assert wait_for_job(api, pool, job)["status"] == "DONE"

    assert sql(api, pool, 'SELECT "case_id", "activity", "timestamp" FROM "sys_event_logs" ORDER BY 3') == [
        ["1", "Start", "2024-01-01 10:00:00"],
        ["1", "End", "2024-01-01 11:00:00"],
    ]


def test_a_missing_data_model_is_an_error_it_can_show(wire: Wire, user_key: str, pool: str) -> None:
    auth = {"Authorization": f"Bearer {user_key}", "Content-Type": "application/json"}
    reply = wire("POST", f"/integration/api/v1/data-pools/{pool}/data-models/x/load", headers=auth)
    assert reply.status_code == 404
    assert reply.text
