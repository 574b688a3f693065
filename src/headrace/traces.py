"""Traces by OpenTelemetry, as an extra: spans are made of what is told, when it is told.

The trace of a job has the job's own id, so that whoever has the one finds the other, on whatever machine and
however late: the chunks that were received and staged, the requests that changed something, and from execute
to the end the load with its phases. A request that comes with a ``traceparent`` belongs to the trace of its
client, with a link to that of its job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace import __version__
from headrace.model import Chunk, JobStatus
from headrace.observing import (
    Answered,
    Ended,
    Maintained,
    NotStaged,
    Observation,
    Received,
    Staged,
)

_READING = ("GET", "HEAD", "OPTIONS")
_EXPORT_S = 5.0
_NS = 1_000_000_000
Attributes = dict[str, Any]


def exported_to(endpoint: str) -> SpanProcessor:
    """Spans go in batches to ``<endpoint>/v1/traces``, by OTLP over HTTP."""
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S)
    return BatchSpanProcessor(exporter, export_timeout_millis=_EXPORT_S * 1000)


class Traces:
    """Listens, and makes spans."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._ids = _Ids()
        resource = Resource.create({SERVICE_NAME: "headrace", SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("headrace", __version__)

    def close(self) -> None:
        """What was not sent yet is sent, if that does not take long."""
        self._provider.shutdown()

    def observe(self, seen: Observation) -> None:
        if make := _SPANS.get(type(seen)):
            make(self, seen)

    # -- what is made of what happens ------------------------------------------------------------------

    def _answered(self, seen: Answered) -> None:
        client = _parent_of(seen.traceparent)
        of_job = context_of(seen.job_id) if seen.job_id else None
        parent = client or (of_job if seen.method not in _READING else None)
        span = self._tracer.start_span(
            f"{seen.method} {seen.route}".rstrip(),
            _within(parent),
            SpanKind.SERVER,
            _told(
                {
                    "http.request.method": seen.method,
                    "http.route": seen.route,
                    "http.response.status_code": seen.status,
                    "headrace.request": seen.request_id,
                    "headrace.pool": seen.pool_id,
                    "headrace.job": seen.job_id,
                }
            ),
            [Link(of_job)] if of_job and parent is not of_job else (),
            _start(seen.seconds),
        )
        if seen.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _received(self, seen: Received) -> None:
        self._of_chunk("receive", seen.chunk, seen.seconds).end()

    def _staged(self, seen: Staged) -> None:
        span = self._of_chunk("stage", seen.chunk, seen.seconds)
        span.set_attribute("headrace.rows", seen.report.rows)
        span.set_attribute("headrace.rejected", seen.report.rejected)
        span.end()

    def _not_staged(self, seen: NotStaged) -> None:
        span = self._of_chunk("stage", seen.chunk, seen.seconds)
        span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _of_chunk(self, name: str, chunk: Chunk, seconds: float) -> Span:
        attributes = {
            "headrace.pool": chunk.pool_id,
            "headrace.job": chunk.job_id,
            "headrace.chunk": chunk.id,
            "headrace.bytes": chunk.bytes,
            "headrace.file_type": str(chunk.file_type),
        }
        return self._span(name, context_of(chunk.job_id), seconds, attributes)

    def _ended(self, seen: Ended) -> None:
        end = time.time_ns()
        self._job(seen, end)
        job = seen.job
        of_job: Attributes = {
            "headrace.pool": job.pool_id,
            "headrace.job": job.id,
            "headrace.fence": job.fence,
        }
        load = self._span("load", context_of(job.id), seen.seconds, of_job)
        start = end - round(seen.seconds * _NS)
        for phase in seen.phases:
            begins = start + round(phase.begins * _NS)
            span = self._tracer.start_span(
                phase.name, _within(load.get_span_context()), attributes=of_job, start_time=begins
            )
            span.end(begins + round(phase.seconds * _NS))
        _close(load, seen, end)

    def _job(self, seen: Ended, end: int) -> None:
        """The root of the trace: from execute to the end."""
        job = seen.job
        start = round((job.queued_at or job.created_at).timestamp() * _NS)
        with self._ids.are(context_of(job.id)):
            span = self._tracer.start_span("job", Context(), start_time=start)
        span.set_attributes(
            _told(
                {
                    "headrace.pool": job.pool_id,
                    "headrace.job": job.id,
                    "headrace.tables": [target.name for target in job.spec.targets],
                    "headrace.type": str(job.spec.type),
                    "headrace.rows_in": seen.counts.rows_in,
                    "headrace.error_code": seen.error_code,
                }
            )
        )
        _close(span, seen, end)

    def _maintained(self, seen: Maintained) -> None:
        attributes = {"headrace.pool": seen.pool_id, "headrace.table": seen.ref.name}
        self._span("upkeep", None, seen.seconds, attributes).end()

    def _span(self, name: str, parent: SpanContext | None, seconds: float, attributes: Attributes) -> Span:
        return self._tracer.start_span(
            name, _within(parent), attributes=attributes, start_time=_start(seconds)
        )


_SPANS: dict[type, Callable[[Traces, Any], None]] = {
    Answered: Traces._answered,
    Received: Traces._received,
    Staged: Traces._staged,
    NotStaged: Traces._not_staged,
    Ended: Traces._ended,
    Maintained: Traces._maintained,
}


def context_of(job_id: str) -> SpanContext:
    """The root span of a job: its trace has the job's id, also before the span itself is there."""
    try:
        number = UUID(job_id).int
    except ValueError:
        number = int.from_bytes(sha256(job_id.encode()).digest()[:16])
    return SpanContext(number, number & (1 << 64) - 1 or 1, is_remote=True, trace_flags=TraceFlags(1))


def _within(parent: SpanContext | None) -> Context:
    return set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()


def _parent_of(traceparent: str | None) -> SpanContext | None:
    if not traceparent:
        return None
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None


def _start(seconds: float) -> int:
    """When it began, if it ends now."""
    return time.time_ns() - round(seconds * _NS)


def _told(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if value not in (None, "")}


def _close(span: Span, seen: Ended, end: int) -> None:
    if seen.status is JobStatus.ERROR:
        span.set_status(Status(StatusCode.ERROR, seen.error_code))
    span.end(end)


class _Ids(RandomIdGenerator):
    """Ids by chance, but for the spans of a thread that says which they are."""

    def __init__(self) -> None:
        self._said = threading.local()

    def are(self, context: SpanContext) -> _Ids:
        self._said.context = context
        return self

    def __enter__(self) -> None:
        """Until the end of the block."""

    def __exit__(self, *exc: object) -> None:
        self._said.context = None

    def generate_trace_id(self) -> int:
        said: SpanContext | None = getattr(self._said, "context", None)
        return said.trace_id if said else super().generate_trace_id()

    def generate_span_id(self) -> int:
        said: SpanContext | None = getattr(self._said, "context", None)
        return said.span_id if said else super().generate_span_id()
