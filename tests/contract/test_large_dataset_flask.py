"""pratapwarrohit13/Celonis_Data_Push_LargeDataset: a Flask app that turns files into Parquet.

Peculiar: the first push is already a DELTA without keys, the table is called "x.parquet", everything but
exactly 200 is a failure, execute carries ``{}``, timestamps are whatever plain ``to_parquet`` writes, and it
never looks at the job again.
"""

from __future__ import annotations

import io
from datetime import datetime

import httpx
import pandas as pd
import pytest

from contract.sending import Wire, assert_empty_200, json_200, requests_upload, with_headers
from harness import sql, wait_for_job

FRAME = pd.DataFrame(
    {
        "Order ID": [1, 2, 3],
        "Name": ["ä", None, "c"],
        "When": [datetime(2024, 5, 6, 7, 8, 9, 123456), None, datetime(1970, 1, 1)],
        "Nothing": [None, None, None],
    }
)


def file(frame: pd.DataFrame, unit: str) -> bytes:
    buffer = io.BytesIO()
    frame.astype({"When": f"datetime64[{unit}]"}).to_parquet(buffer, index=False)
    return buffer.getvalue()


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_delta_into_a_table_that_does_not_exist(
    wire: Wire, api: httpx.Client, user_key: str, pool: str, unit: str
) -> None:
    auth = {"Authorization": f"Bearer {user_key}"}
    url = f"/integration/api/v1/data-push/{pool}/jobs/"
    body = {"type": "DELTA", "fileType": "PARQUET", "targetName": "orders.parquet", "dataPoolId": pool}
    job = json_200(wire("POST", url, json=body, headers=auth))["id"]
    for part, name in ((FRAME.iloc[:2], "orders_part_1.parquet"), (FRAME.iloc[2:], "orders_part_2.parquet")):
        upload = with_headers(requests_upload(name, file(part, unit)), **auth)
        assert_empty_200(wire("POST", f"{url}{job}/chunks/upserted", **upload))
    assert_empty_200(wire("POST", f"{url}{job}", json={}, headers=auth))

    assert wait_for_job(api, pool, job)["status"] == "DONE"
    query = 'SELECT "Order ID", "Name", "When"::VARCHAR, "Nothing" FROM "orders.parquet" ORDER BY 1'
    assert sql(api, pool, query) == [
        [1, "ä", "2024-05-06 07:08:09.123456", None],
        [2, None, None, None],
        [3, "c", "1970-01-01 00:00:00", None],
    ]
