"""What Prometheus is told: counters and histograms of what happens, and gauges of how things stand.

Counters begin at 0 with the process. Labels have few values whatever happens: routes come from the list of
routes, codes from the tables of errors and rejects, and only the largest pools have figures of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.gauges import Gauges
from headrace.model import JobStatus
from headrace.observing import (
    Answered,
    Ended,
    LeaseLost,
    Maintained,
    NotStaged,
    Observation,
    Received,
    Staged,
)


@dataclass(frozen=True)
class Metric:
    """A row of the table; ``buckets``, in seconds: it is a histogram."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_OF_A_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_OF_WORK = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_OF_WAITING = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

COUNTED = (
    Metric("headrace_http_requests_total", "requests that were answered", ("method", "route", "status")),
    Metric("headrace_received_chunks_total", "chunks that were received", ("file_type",)),
    Metric("headrace_received_bytes_total", "bytes of the chunks that were received", ("file_type",)),
    Metric("headrace_staged_chunks_total", "chunks that were staged", ("file_type",)),
    Metric("headrace_staged_bytes_total", "bytes, as received, of staged chunks", ("file_type",)),
    Metric("headrace_staged_rows_total", "rows of the chunks that were staged, without rejects"),
    Metric("headrace_unreadable_chunks_total", "chunks that could not be read"),
    Metric(
        "headrace_ended_jobs_total", "jobs that a worker has ended; code: the error's", ("status", "code")
    ),
    Metric("headrace_job_rows_total", "rows of ended jobs, by what became of them", ("outcome",)),
    Metric("headrace_rejected_rows_total", "rejected rows of ended jobs, by the reject's code", ("code",)),
    Metric("headrace_load_phase_seconds_total", "time that loads spent in each of their phases", ("phase",)),
    Metric("headrace_lost_leases_total", "jobs that another worker has taken over from this one"),
)

MEASURED = (
    Metric(
        "headrace_http_request_seconds",
        "from a request to the end of its answer",
        ("method", "route"),
        _OF_A_REQUEST,
    ),
    Metric("headrace_staging_seconds", "staging of one chunk", (), _OF_WORK),
    Metric("headrace_load_seconds", "from the claim of a job to its end", ("status",), _OF_WORK),
    Metric("headrace_execute_to_done_seconds", "from the execute of a job to DONE", (), _OF_WAITING),
    Metric("headrace_upkeep_seconds", "upkeep of one table", (), _OF_WORK),
)

STANDING = (
    Metric("headrace_build_info", "always 1; the versions are labels", ("version", "duckdb", "python")),
    Metric("headrace_unfinished_jobs", "jobs that have not ended", ("status",)),
    Metric("headrace_queue_age_seconds", "how long ago the oldest queued job was executed; 0: there is none"),
    Metric("headrace_unstaged_chunks", "chunks that wait to be staged"),
    Metric("headrace_unstaged_bytes", "bytes of the chunks that wait to be staged"),
    Metric("headrace_held_leases", "jobs that the workers of this process are loading"),
    Metric("headrace_workers_alive", "1: all threads of the worker run; 0: one has ended"),
    Metric("headrace_disk_free_bytes", "free bytes of the disk of the data folder"),
    Metric("headrace_disk_total_bytes", "all bytes of the disk of the data folder"),
    Metric("headrace_disk_watermark_bytes", "below so many free bytes no chunk is taken"),
    Metric("headrace_sql_children", "living child processes for queries and exports"),
    Metric("headrace_sql_running", "queries that wait or run"),
    Metric("headrace_pool_info", "always 1; the name of a pool", ("pool", "name")),
    Metric("headrace_lake_files", "files that a pool's tables consist of", ("pool",)),
    Metric("headrace_lake_bytes", "bytes of a pool's files; old: of old versions alone", ("pool", "state")),
    Metric("headrace_lake_versions", "versions that a pool keeps", ("pool",)),
    Metric("headrace_lake_tables", "tables of a pool", ("pool",)),
)

UNKNOWN_ROUTE = "(none)"
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class Metrics:
    """Listens to what happens; ``page`` is what ``GET /metrics`` answers."""

    def __init__(self, gauges: Gauges) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._metrics = {metric.name: _made(metric, self._registry) for metric in (*COUNTED, *MEASURED)}
        self._children: dict[tuple[str, ...], Any] = {}
        self._registry.register(_Standing(gauges))
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def observe(self, seen: Observation) -> None:
        if hear := _HEARD.get(type(seen)):
            hear(self, seen)

    def _of(self, name: str, *labels: str) -> Any:
        key = (name, *labels)
        child = self._children.get(key)
        if child is None:
            metric = self._metrics[name]
            child = self._children[key] = metric.labels(*labels) if labels else metric
        return child

    def _count(self, name: str, *labels: str, by: float = 1) -> None:
        self._of(name, *labels).inc(by)

    def _measure(self, name: str, seconds: float, *labels: str) -> None:
        self._of(name, *labels).observe(seconds)

    # -- what is made of what happens ------------------------------------------------------------------

    def _answered(self, seen: Answered) -> None:
        method = seen.method if seen.method in _METHODS else "other"
        route = seen.route or UNKNOWN_ROUTE
        self._count("headrace_http_requests_total", method, route, str(seen.status))
        self._measure("headrace_http_request_seconds", seen.seconds, method, route)

    def _received(self, seen: Received) -> None:
        self._count("headrace_received_chunks_total", seen.chunk.file_type)
        self._count("headrace_received_bytes_total", seen.chunk.file_type, by=seen.chunk.bytes)

    def _staged(self, seen: Staged) -> None:
        self._count("headrace_staged_chunks_total", seen.chunk.file_type)
        self._count("headrace_staged_bytes_total", seen.chunk.file_type, by=seen.chunk.bytes)
        self._count("headrace_staged_rows_total", by=seen.report.rows)
        self._measure("headrace_staging_seconds", seen.seconds)

    def _not_staged(self, seen: NotStaged) -> None:
        self._count("headrace_unreadable_chunks_total")
        self._measure("headrace_staging_seconds", seen.seconds)

    def _ended(self, seen: Ended) -> None:
        self._count("headrace_ended_jobs_total", seen.status, seen.error_code or "")
        for outcome, rows in vars(seen.counts).items():
            self._count("headrace_job_rows_total", outcome, by=rows)
        for reason in seen.rejected_by:
            self._count("headrace_rejected_rows_total", reason.code, by=reason.rows)
        for phase in seen.phases:
            self._count("headrace_load_phase_seconds_total", phase.name, by=phase.seconds)
        self._measure("headrace_load_seconds", seen.seconds, seen.status)
        if seen.status is JobStatus.DONE and seen.job.queued_at:
            waited = (seen.at - seen.job.queued_at).total_seconds()
            self._measure("headrace_execute_to_done_seconds", waited)

    def _lease_lost(self, _seen: LeaseLost) -> None:
        self._count("headrace_lost_leases_total")

    def _maintained(self, seen: Maintained) -> None:
        self._measure("headrace_upkeep_seconds", seen.seconds)


_HEARD: dict[type, Callable[[Metrics, Any], None]] = {
    Answered: Metrics._answered,
    Received: Metrics._received,
    Staged: Metrics._staged,
    NotStaged: Metrics._not_staged,
    Ended: Metrics._ended,
    LeaseLost: Metrics._lease_lost,
    Maintained: Metrics._maintained,
}


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Histogram:
    if metric.buckets:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


class _Standing(Collector):
    """The gauges, looked up when they are asked for."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = {m.name: GaugeMetricFamily(m.name, m.help, labels=m.labels) for m in STANDING}
        for name, labels, value in self._gauges.now():
            families[name].add_metric(labels, value)
        yield from families.values()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Asked at the start, when nothing is there to be looked up."""
        return iter(())
