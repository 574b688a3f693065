"""Spans of what has happened: which trace they belong to, when they began, what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from headrace.model import (
    Chunk,
    ChunkType,
    Counts,
    FileType,
    Job,
    JobStatus,
    PushSpec,
    StageReport,
    TableRef,
    now,
)
from headrace.observing import (
    Answered,
    Ended,
    Maintained,
    NotStaged,
    Observation,
    Phase,
    Received,
    Staged,
    Undone,
)
from headrace.traces import Traces, context_of

AT = now()
JOB = Job(
    str(uuid4()), "p", PushSpec("orders"), JobStatus.RUNNING, AT, AT, queued_at=AT - timedelta(minutes=1)
)
CHUNK = Chunk("c", JOB.id, "p", 1, ChunkType.UPSERT, 70, "", FileType.CSV, AT)
PHASES = (Phase("agree", 0.5, 1.0), Phase("commit", 2.0, 3.0))
ENDED = Ended(JOB, JobStatus.DONE, AT, 10.0, Counts(rows_in=9), (), PHASES, None)
TRACE = int(UUID(JOB.id))
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans_of(*seen: Observation) -> Sequence[ReadableSpan]:
    kept = InMemorySpanExporter()
    traces = Traces(SimpleSpanProcessor(kept))
    for one in seen:
        traces.observe(one)
    traces.close()
    return kept.get_finished_spans()


def by_name(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def seconds(span: Any) -> float:
    return float(span.end_time - span.start_time) / 1e9


def test_the_trace_of_a_job_has_its_id_and_all_that_belongs_to_it() -> None:
    request = Answered("POST", "/jobs/{job_id}", 200, 0.1, "p", JOB.id)
    spans = by_name(spans_of(request, Received(CHUNK, 0.2), Staged(CHUNK, StageReport(5, 1, ()), 0.3), ENDED))
    assert spans.keys() == {"POST /jobs/{job_id}", "receive", "stage", "load", "agree", "commit", "job"}
    assert {span.context.trace_id for span in spans.values()} == {TRACE}
    root, load = spans["job"], spans["load"]
    assert root.parent is None
    assert root.context.span_id == context_of(JOB.id).span_id
    for name in ("POST /jobs/{job_id}", "receive", "stage", "load"):
        assert spans[name].parent.span_id == root.context.span_id, name
    for name in ("agree", "commit"):
        assert spans[name].parent.span_id == load.context.span_id, name
    assert {span.attributes["headrace.job"] for span in spans.values()} == {JOB.id}


def test_they_began_when_the_work_began() -> None:
    spans = by_name(spans_of(Received(CHUNK, 0.25), ENDED))
    assert seconds(spans["receive"]) == pytest.approx(0.25, abs=0.01)
    assert seconds(spans["load"]) == pytest.approx(10, abs=0.01)
    assert spans["job"].start_time == pytest.approx(JOB.queued_at.timestamp() * 1e9)  # type: ignore[union-attr]
    assert spans["job"].end_time == spans["load"].end_time
    begins = (spans["commit"].start_time - spans["load"].start_time) / 1e9
    assert begins == pytest.approx(2.0, abs=0.01)
    assert seconds(spans["commit"]) == pytest.approx(3.0)


def test_what_failed_is_an_error() -> None:
    failed = replace(ENDED, status=JobStatus.ERROR, error_code="rows-rejected")
    spans = by_name(
        spans_of(NotStaged(CHUNK, "a value of a row", 0.1), failed, Answered("GET", "/x", 500, 0.1))
    )
    for name in ("stage", "job", "load", "GET /x"):
        assert spans[name].status.status_code is StatusCode.ERROR, name
    assert spans["job"].attributes["headrace.error_code"] == "rows-rejected"
    assert not any("a value of a row" in span.to_json() for span in spans.values())
    assert all(s.status.status_code is StatusCode.UNSET for s in spans_of(ENDED))


def test_a_request_says_what_it_was() -> None:
    [span] = spans_of(Answered("GET", "/pools/{pool_id}", 404, 0.1, "p", None, "k", "an-id"))
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/pools/{pool_id}",
        "http.response.status_code": 404,
        "headrace.request": "an-id",
        "headrace.pool": "p",
    }
    [unrouted] = spans_of(Answered("GET", "", 404, 0.1))
    assert unrouted.name == "GET"


def test_a_request_belongs_to_the_trace_of_its_client() -> None:
    [span] = spans_of(Answered("POST", "/x", 200, 0.1, "p", JOB.id, traceparent=CLIENT))
    assert span.parent is not None
    assert f"{span.parent.trace_id:x}-{span.parent.span_id:x}" == CLIENT[4:-3]
    assert [link.context.trace_id for link in span.links] == [TRACE]


@pytest.mark.parametrize("sent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_what_is_no_trace_is_none(sent: str) -> None:
    [span] = spans_of(Answered("POST", "/x", 200, 0.1, traceparent=sent))
    assert span.parent is None


def test_what_only_reads_a_job_has_a_trace_of_its_own() -> None:
    [first, second] = spans_of(*[Answered("GET", "/jobs/{job_id}", 200, 0.1, "p", JOB.id)] * 2)
    assert first.context.trace_id != second.context.trace_id
    assert first.context.trace_id != TRACE
    assert [link.context.trace_id for link in first.links] == [TRACE]


def test_upkeep_has_a_span_and_not_everything_has() -> None:
    [span] = spans_of(Undone("p", JOB.id), Maintained("p", TableRef("t"), 2.0))
    assert (span.name, dict(span.attributes or {})["headrace.table"]) == ("upkeep", "t")
    assert seconds(span) == pytest.approx(2, abs=0.01)


def test_an_id_that_is_no_uuid_has_a_trace_all_the_same() -> None:
    assert context_of("of old").is_valid
    assert context_of("of old") == context_of("of old") != context_of("of another")
    assert context_of(str(UUID(int=1 << 64))).is_valid, "half of it is 0"
