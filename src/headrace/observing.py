"""Everything worth telling of the work, as one type.

Whoever works says what has happened and goes on; who listens (the metrics, the log, traces) decides what
becomes of it. A new thing worth telling is a class here, and what a listener makes of it stands there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from headrace.model import Chunk, Counts, Job, JobStatus, RejectCount, StageReport, TableRef

log = structlog.get_logger()


@dataclass(frozen=True)
class Answered:
    """A request was answered, or its client went away before (``status`` 0); ``route`` as the list has it."""

    method: str
    route: str
    status: int
    seconds: float
    pool_id: str | None = None
    job_id: str | None = None
    key_id: str | None = None
    request_id: str = ""
    traceparent: str | None = None
    """Of the client's own trace, as W3C has it; not checked."""


@dataclass(frozen=True)
class Received:
    """A chunk is here: its bytes are safe. ``seconds`` count from the gate."""

    chunk: Chunk
    seconds: float


@dataclass(frozen=True)
class Staged:
    """A chunk was turned into typed Parquet."""

    chunk: Chunk
    report: StageReport
    seconds: float


@dataclass(frozen=True)
class NotStaged:
    """A chunk cannot be read; its job will end in ERROR."""

    chunk: Chunk
    problem: str
    seconds: float


@dataclass(frozen=True)
class LeaseLost:
    """Another worker has taken the job over: this one was silent for too long."""

    job: Job


@dataclass(frozen=True)
class Postponed:
    """Another process holds the catalog of the pool: the job waits on."""

    job: Job


@dataclass(frozen=True)
class Recovered:
    """A start has found what the last run had not finished: so many jobs and chunks."""

    jobs: int
    chunks: int


@dataclass(frozen=True)
class Phase:
    """A part of a load: so many seconds after its start it began, and so many it took."""

    name: str
    begins: float
    seconds: float


@dataclass(frozen=True)
class Ended:
    """A worker has ended a job; ``job`` is as it was claimed, ``seconds`` count from then."""

    job: Job
    status: JobStatus
    at: datetime
    seconds: float
    counts: Counts
    rejected_by: Sequence[RejectCount]
    phases: Sequence[Phase]
    error_code: str | None


@dataclass(frozen=True)
class Undone:
    """A job was undone."""

    pool_id: str
    job_id: str


@dataclass(frozen=True)
class Maintained:
    """A table was looked after: small files made one, old versions dropped."""

    pool_id: str
    ref: TableRef
    seconds: float


Observation = (
    Answered | Received | Staged | NotStaged | LeaseLost | Postponed | Recovered | Ended | Undone | Maintained
)

Observe = Callable[[Observation], None]


def unheard(_seen: Observation) -> None:
    """Nobody listens."""


def heard_by(*listeners: Observe) -> Observe:
    """All of them hear of it; one that fails fails for itself, never for the work."""

    def observe(seen: Observation) -> None:
        for listener in listeners:
            try:
                listener(seen)
            except Exception:
                log.exception("what happened could not be told", seen=type(seen).__name__)

    return observe


def seconds_since(start: float) -> float:
    """``start`` by the monotonic clock."""
    return time.monotonic() - start
