"""The page of metrics of a real server: what it says is what the ledger says, and who may read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import PUSH, RunningServer, create_job, create_pool, new_key, own_job, run_job, sql, wait_for
from headrace.metrics import COUNTED, MEASURED, STANDING

TOKEN = "a-token-of-a-scraper"


class Page:
    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
        self.samples = [s for family in families for s in family.samples]

    def sum(self, sample: str, /, **labels: str) -> float:
        return sum(s.value for s in self.samples if s.name == sample and labels.items() <= s.labels.items())


def page_of(api: httpx.Client) -> Page:
    reply = api.get("/metrics")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(reply.text)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of its own, so that all that its counters say is known."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "token").write_text(f"{TOKEN}\n")
    env = {"HEADRACE_METRICS_TOKEN_FILE": str(folder / "token")}
    with RunningServer(folder / "data", env=env) as server:
        yield server


@pytest.fixture
def own(watched: RunningServer) -> Iterator[httpx.Client]:
    with watched.client() as api:
        yield api


def test_the_page_says_what_the_ledger_says(watched: RunningServer, own: httpx.Client) -> None:
    pool = create_pool(own, "watched")
    schema = {"tableName": "t", "columns": [{"columnName": "v", "columnType": "INTEGER"}]}
    more: dict[str, Any] = {"fileType": "CSV", "tableSchema": schema, "keys": ["id"]}
    good, bad = b"id,v\n1,1\n2,2\n", b"id,v\n1,x\n3,3\n"
    jobs = [
        run_job(own, pool, "t", [good], **more),
        run_job(own, pool, "t", [bad], **more, type="DELTA", maxRejectedRows=1),
        run_job(own, pool, "t", [bad, good], **more, type="DELTA"),
    ]
    assert [job["status"] for job in jobs] == ["DONE", "DONE", "ERROR"]
    create_job(own, pool, "t")
    assert sql(own, pool, "SELECT count(*) FROM t") == [[3]]
    own.get(f"{PUSH}/no-pool/jobs/no-job")

    # a job is DONE a moment before that is told
    wait_for(lambda: page_of(own).sum("headrace_ended_jobs_total") == 3, 30, "the end to be told")
    page = page_of(own)
    counts = [own_job(own, pool, job["id"])["counts"] for job in jobs]
    for outcome, name in (("rows_in", "rowsIn"), ("inserted", "inserted"), ("not_loaded", "notLoaded")):
        assert page.sum("headrace_job_rows_total", outcome=outcome) == sum(c[name] for c in counts)
    rejected = page.sum("headrace_rejected_rows_total", code="value-does-not-fit")
    assert rejected == page.sum("headrace_job_rows_total", outcome="rejected") == 2
    assert page.sum("headrace_received_chunks_total", file_type="CSV") == 4
    assert page.sum("headrace_received_bytes_total") == 2 * len(good + bad)
    assert page.sum("headrace_staged_rows_total") == 6
    assert page.sum("headrace_ended_jobs_total", status="DONE", code="") == 2
    assert page.sum("headrace_ended_jobs_total", status="ERROR", code="rows-rejected") == 1
    assert page.sum("headrace_execute_to_done_seconds_count") == 2
    assert page.sum("headrace_unfinished_jobs", status="NEW") == 1
    assert page.sum("headrace_workers_alive") == 1
    assert page.sum("headrace_sql_children") >= 1
    assert page.sum("headrace_lake_tables", pool=pool) == 1
    assert page.sum("headrace_lake_files", pool=pool) >= 1
    assert page.sum("headrace_pool_info", pool=pool, name="watched") == 1
    missing = "/integration/api/v1/data-push/{pool_id}/jobs/{job_id}"
    assert page.sum("headrace_http_requests_total", method="GET", route=missing, status="404") == 1
    known = {metric.name for metric in (*COUNTED, *MEASURED, *STANDING)}
    assert known <= page.names


def test_upkeep_is_counted_and_seen_in_the_lake(own: httpx.Client) -> None:
    pool = create_pool(own, "looked after")
    for n in range(3):
        run_job(own, pool, "t", [b"id\n%d\n" % n], fileType="CSV", type="DELTA")
    before = page_of(own).sum("headrace_upkeep_seconds_count")
    assert own.post(f"/api/v1/pools/{pool}/upkeep").status_code == 200
    assert page_of(own).sum("headrace_upkeep_seconds_count") == before + 1
    wait_for(lambda: page_of(own).sum("headrace_lake_files", pool=pool) == 1, 30)


def test_requests_go_under_their_route_however_they_are_spelled(own: httpx.Client) -> None:
    pool = create_pool(own, "spelled")
    for path in (f"{PUSH}/{pool}/jobs/", f"/data-ingestion//api/v1/data-push/{pool}/jobs", "/nothing/here"):
        own.get(path)
    job = create_job(own, pool, "t")["id"]
    uploads = f"/api/v1/pools/{pool}/jobs/{job}/uploads/none"
    headers = {"Tus-Resumable": "1.0.0", "X-HTTP-Method-Override": "PATCH"}
    assert own.post(uploads, headers=headers).is_client_error
    page = page_of(own)
    jobs = "/integration/api/v1/data-push/{pool_id}/jobs"
    assert page.sum("headrace_http_requests_total", method="GET", route=jobs) >= 2
    assert page.sum("headrace_http_requests_total", route="(none)", status="404") >= 1
    patched = "/api/v1/pools/{pool_id}/jobs/{job_id}/uploads/{upload_id}"
    assert page.sum("headrace_http_requests_total", method="PATCH", route=patched) == 1


# -- who may -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (lambda api: f"AppKey {new_key(api, permissions=['read'])}", 200),
        (lambda api: f"Bearer {new_key(api, kind='personal', permissions=['push'])}", 200),
        (lambda api: f"AppKey {new_key(api, permissions=['read'], tables=['*'])}", 403),
        (lambda api: f"AppKey {new_key(api, permissions=['admin'], pools=[create_pool(api)])}", 403),
        (lambda _: f"Bearer {TOKEN}", 200),
        (lambda _: f"AppKey {TOKEN}", 401),
        (lambda _: f"Bearer {TOKEN[:-1]}", 401),
        (lambda _: "", 401),
    ],
)
def test_who_may_read_it(
    watched: RunningServer, own: httpx.Client, authorization: Callable[[httpx.Client], str], status: int
) -> None:
    with watched.client(authorization(own)) as stranger:
        assert stranger.get("/metrics").status_code == status


def test_the_token_of_a_scraper_opens_nothing_else(watched: RunningServer) -> None:
    with watched.client(f"Bearer {TOKEN}") as scraper:
        for path in ("/integration/api/pools", "/api/cloud", "/api/v1/keys", "/openapi.json"):
            assert scraper.get(path).status_code == 401


def test_from_the_same_machine_without_a_key(tmp_path: Path) -> None:
    env = {"HEADRACE_METRICS_LOOPBACK": "true"}
    with RunningServer(tmp_path / "data", env=env) as server, server.client("") as stranger:
        assert stranger.get("/metrics").status_code == 200
        for header in ("X-Forwarded-For", "Forwarded"):
            assert stranger.get("/metrics", headers={header: "10.0.0.1"}).status_code == 401
        assert stranger.get("/api/cloud").status_code == 401


def test_a_server_does_not_start_with_a_token_that_could_be_guessed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short")
    env = {"HEADRACE_METRICS_TOKEN_FILE": str(tmp_path / "token")}
    with pytest.raises(AssertionError, match="fewer than 16 bytes"):
        RunningServer(tmp_path / "data", env=env).start()
