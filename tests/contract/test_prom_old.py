"""hieule23/prom_plugin_celonis: the older ProM plug-in; a hundred threads upload chunks of one job at once.

Its dates have no fraction (``yyyy-MM-dd'T'HH:mm:ssXXX``), it reads no status and never asks again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from contract.sending import Wire, assert_empty_200, json_200
from contract.test_prom import JSON, job_body, upload
from harness import sql, wait_for_job

HEADER = '"case:concept:name","concept:name","time:timestamp"\n'


def chunk(number: int) -> bytes:
    rows = [f'"{number}-{row}","Act {row}","2021-06-01T08:{row:02}:00+02:00"\n' for row in range(5)]
    return (HEADER + "".join(rows)).encode()


def test_a_hundred_chunks_at_once(wire: Wire, api: httpx.Client, user_key: str, pool: str) -> None:
    auth = {"Authorization": f"Bearer {user_key}"}
    base = f"/integration/api/v1/data-push/{pool}/jobs/"
    body = job_body(pool, "yyyy-MM-dd'T'HH:mm:ssXXX")
    job = json_200(wire("POST", base, json=body, headers=JSON | auth))

    def send(number: int) -> httpx.Response:
        request = upload(chunk(number), f"chunk{number}.csv")
        path = f"{base}{job['id']}/chunks/upserted"
        return wire("POST", path, content=request["content"], headers=request["headers"] | auth)

    with ThreadPoolExecutor(100) as threads:
        replies = list(threads.map(send, range(100)))
    for reply in replies:
        assert_empty_200(reply)
    assert_empty_200(wire("POST", f"{base}{job['id']}", headers=JSON | auth))

    assert wait_for_job(api, pool, job["id"])["status"] == "DONE"
    count = 'SELECT count(*), count(DISTINCT "case:concept:name") FROM "running-example"'
    assert sql(api, pool, count) == [[500, 500]]
    first = 'SELECT min("time:timestamp")::VARCHAR FROM "running-example"'
    assert sql(api, pool, first) == [["2021-06-01 06:00:00"]]
