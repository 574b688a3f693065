"""project44/celonis-project44-app: Node, axios and parquetjs, DELTA with keys.

Peculiar: needs exactly 200, sends ``{}`` to execute, a base URL that may end in a slash gives a path that
starts with two, and ``Content-Type: multipart/form-data`` without a boundary, which an old axios leaves so
while it streams the form without a length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from contract.sending import Wire, assert_empty_200, json_200, multipart
from harness import parquet, sql, wait_for_job

AXIOS = {"Accept": "application/json, text/plain, */*", "User-Agent": "axios/1.3.4"}
BOUNDARY = "--------------------------515890814546601021194782"
PART = (
    'Content-Disposition: form-data; name="file"; filename="12345_20240101120000000.parquet"',
    "Content-Type: application/octet-stream",
)


def shipments(*rows: tuple[str, str, str | None]) -> bytes:
    """As parquetjs writes: plain pages of the first kind, no compression, optional UTF8 columns."""
    ids, kinds, times = zip(*rows, strict=True)
    table: dict[str, list[Any]] = {"shipment_id": list(ids), "type": list(kinds), "date_time": list(times)}
    return parquet(table, compression="none", use_dictionary=False, data_page_version="1.0")


@pytest.fixture
def auth(app_key: str) -> dict[str, str]:
    return AXIOS | {"Authorization": f"AppKey {app_key}"}


def streamed(data: bytes) -> Iterator[bytes]:
    """A body of unknown length: it goes out chunked, in pieces that cut the boundary lines."""
    for start in range(0, len(data), 7):
        yield data[start : start + 7]


@pytest.mark.parametrize("slash", ["", "/"], ids=["clean base URL", "base URL with a slash"])
@pytest.mark.parametrize("boundary", [f"; boundary={BOUNDARY}", ""], ids=["axios 1", "old axios"])
def test_push_of_shipment_events(
    wire: Wire, api: httpx.Client, auth: dict[str, str], pool: str, slash: str, boundary: str
) -> None:
    jobs = f"{slash}/integration/api/v1/data-push/{pool}/jobs"

    def push(*rows: tuple[str, str, str | None]) -> None:
        body = {
            "fileType": "PARQUET",
            "dataPoolId": pool,
            "keys": ["shipment_id", "type"],
            "type": "DELTA",
            "targetName": "p44_shipment_event",
        }
        job = json_200(wire("POST", f"{jobs}/", json=body, headers=auth))["id"]
        form = multipart(shipments(*rows), BOUNDARY, *PART)
        headers = auth | {"Content-Type": f"multipart/form-data{boundary}"}
        upload = wire("POST", f"{jobs}/{job}/chunks/upserted", content=streamed(form), headers=headers)
        assert_empty_200(upload)
        assert_empty_200(wire("POST", f"{jobs}/{job}", json={}, headers=auth))
        assert wait_for_job(api, pool, job)["status"] == "DONE"

    push(("1", "PICKUP", "2024-01-01T08:00:00Z"), ("1", "DELIVERY", None))
    push(("1", "DELIVERY", "2024-01-02T16:30:00Z"), ("2", "PICKUP", None))

    query = 'SELECT "shipment_id", "type", "date_time" FROM "p44_shipment_event" ORDER BY 1, 2'
    assert sql(api, pool, query) == [
        ["1", "DELIVERY", "2024-01-02T16:30:00Z"],
        ["1", "PICKUP", "2024-01-01T08:00:00Z"],
        ["2", "PICKUP", None],
    ]


def test_whole_path_as_the_filename(wire: Wire, auth: dict[str, str], pool: str) -> None:
    """Other form libraries keep the directories; the name means nothing to us, wherever it points."""
    jobs = f"/integration/api/v1/data-push/{pool}/jobs/"
    body = {
        "fileType": "PARQUET",
        "dataPoolId": pool,
        "keys": ["shipment_id"],
        "type": "DELTA",
        "targetName": "T",
    }
    job = json_200(wire("POST", jobs, json=body, headers=auth))["id"]
    disposition = 'Content-Disposition: form-data; name="file"; filename="../../../../etc/p44/x.parquet"'
    form = multipart(shipments(("1", "PICKUP", None)), BOUNDARY, disposition)
    headers = auth | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    assert_empty_200(wire("POST", f"{jobs}{job}/chunks/upserted", content=form, headers=headers))
