"""What becomes of an observation on the page of metrics."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.metrics import COUNTED, MEASURED, STANDING, Metrics
from headrace.model import (
    Chunk,
    ChunkType,
    Counts,
    FileType,
    Job,
    JobStatus,
    PushSpec,
    RejectCount,
    StageReport,
    TableRef,
    now,
)
from headrace.observing import (
    Answered,
    Ended,
    LeaseLost,
    Maintained,
    NotStaged,
    Observation,
    Phase,
    Postponed,
    Received,
    Recovered,
    Staged,
    Undone,
)

AT = now()
JOB = Job("j", "p", PushSpec("t"), JobStatus.RUNNING, AT, AT, queued_at=AT)
CHUNK = Chunk("c", "j", "p", 1, ChunkType.UPSERT, 70, "", FileType.CSV, AT)
COUNTS = Counts(rows_in=9, inserted=4, updated=2, rejected=3)
ENDED = Ended(
    JOB,
    JobStatus.DONE,
    AT + timedelta(seconds=3),
    2.0,
    COUNTS,
    (RejectCount("too-long", "a", 1), RejectCount("too-long", "b", 2)),
    [Phase("agree", 0.0, 0.25), Phase("commit", 1.5, 0.5)],
    None,
)
SEEN: list[Observation] = [
    Answered("GET", "/a/{b}", 200, 0.02),
    Answered("GET", "/a/{b}", 200, 0.2),
    Answered("BREW", "", 404, 0.01),
    Received(CHUNK, 0.1),
    Staged(CHUNK, StageReport(5, 1, ()), 0.3),
    NotStaged(CHUNK, "it is damaged", 0.4),
    ENDED,
    replace(ENDED, status=JobStatus.ERROR, error_code="rows-rejected", rejected_by=(), phases=()),
    LeaseLost(JOB),
    Postponed(JOB),
    Recovered(1, 2),
    Undone("p", "j"),
    Maintained("p", TableRef("t"), 6.0),
]


class NoGauges:
    def now(self) -> list[Any]:
        return []


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.page().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


@pytest.fixture
def metrics() -> Metrics:
    gauges: Any = NoGauges()
    return Metrics(gauges)


def test_everything_worth_telling_is_in_this_test() -> None:
    assert {type(seen) for seen in SEEN} == set(get_args(Observation))


def test_what_is_made_of_it(metrics: Metrics) -> None:
    for seen in SEEN:
        metrics.observe(seen)
    page = samples(metrics)

    def value(name: str, **labels: str) -> float:
        return page[f"headrace_{name}", tuple(sorted(labels.items()))]

    assert value("http_requests_total", method="GET", route="/a/{b}", status="200") == 2
    assert value("http_requests_total", method="other", route="(none)", status="404") == 1
    assert value("http_request_seconds_sum", method="GET", route="/a/{b}") == pytest.approx(0.22)
    assert value("http_request_seconds_bucket", method="GET", route="/a/{b}", le="0.025") == 1
    assert value("received_chunks_total", file_type="CSV") == 1
    assert value("received_bytes_total", file_type="CSV") == 70
    assert value("staged_chunks_total", file_type="CSV") == 1
    assert value("staged_bytes_total", file_type="CSV") == 70
    assert value("staged_rows_total") == 5
    assert value("unreadable_chunks_total") == 1
    assert value("staging_seconds_count") == 2
    assert value("staging_seconds_sum") == pytest.approx(0.7)
    assert value("ended_jobs_total", status="DONE", code="") == 1
    assert value("ended_jobs_total", status="ERROR", code="rows-rejected") == 1
    assert value("job_rows_total", outcome="inserted") == 8
    assert value("rejected_rows_total", code="too-long") == 3
    assert value("load_phase_seconds_total", phase="agree") == 0.25
    assert value("load_phase_seconds_total", phase="commit") == 0.5
    assert value("load_seconds_sum", status="DONE") == 2
    assert value("load_seconds_count", status="ERROR") == 1
    assert value("execute_to_done_seconds_count") == 1, "an error is not DONE"
    assert value("execute_to_done_seconds_sum") == 3
    assert value("lost_leases_total") == 1
    assert value("upkeep_seconds_sum") == 6


def test_all_of_the_table_are_on_the_page_before_anything_has_happened(metrics: Metrics) -> None:
    told = {line.split()[2] for line in metrics.page().decode().splitlines() if line.startswith("# TYPE ")}
    assert {metric.name for metric in (*COUNTED, *MEASURED, *STANDING)} <= told
    assert "process_resident_memory_bytes" in told
    assert not any(name.endswith("_created") for name, _ in samples(metrics))
