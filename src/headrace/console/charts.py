"""Small charts as numbers for an SVG: no script, and no style that a strict policy would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.model import Job, JobStatus
from headrace.overview import Hour

HEIGHT = 96.0
_LEAST = 2.0
"""What is there is seen, however small beside the rest."""

_GOOD = (JobStatus.DONE, JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.NEW)


@dataclass(frozen=True)
class Bar:
    """An hour: failed jobs stand on the others. ``x`` counts hours; heights are in HEIGHT."""

    x: int
    hour: str
    good: int
    failed: int
    good_height: float
    failed_height: float

    @property
    def good_y(self) -> float:
        return HEIGHT - self.good_height

    @property
    def failed_y(self) -> float:
        return HEIGHT - self.good_height - self.failed_height


def day_chart(hours: Sequence[Hour]) -> list[Bar]:
    most = max((hour.total for hour in hours), default=0) or 1
    return [_bar(x, hour, most) for x, hour in enumerate(hours)]


def _bar(x: int, hour: Hour, most: int) -> Bar:
    failed = hour.jobs.get(JobStatus.ERROR, 0)
    good = sum(hour.jobs.get(status, 0) for status in _GOOD)
    return Bar(x, f"{hour.begins:%H}:00", good, failed, _height(good, most), _height(failed, most))


def _height(jobs: int, most: int) -> float:
    return round(max(_LEAST, (HEIGHT - _LEAST) * jobs / most), 1) if jobs else 0.0


# -- how values are spread -----------------------------------------------------------------------------

SPREAD_WIDTH, SPREAD_HEIGHT = 96, 24


def spread_path(rows: Sequence[int]) -> str:
    """Bars side by side as one path, from the bottom upwards: a page may have hundreds of them."""
    wide = SPREAD_WIDTH // len(rows)
    bars = [(at * wide, _spread_height(count, max(rows))) for at, count in enumerate(rows) if count]
    return "".join(f"M{x} {SPREAD_HEIGHT}v-{high}h{wide - 1}v{high}z" for x, high in bars)


def _spread_height(rows: int, most: int) -> int:
    return max(1, round(SPREAD_HEIGHT * rows / most))


# -- the phases of a job -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """A step of a job on one line of time: where it begins and how long it is, in per cent of the whole."""

    name: str
    ms: float
    begins: float
    width: float


def timeline(job: Job) -> list[Phase]:
    """Receiving, waiting, loading: one after the other, from the job's creation to its end."""
    moments = [
        ("receiving", job.created_at, job.queued_at),
        ("waiting", job.queued_at, job.started_at),
        ("loading", job.started_at, job.finished_at),
    ]
    spans = [
        (name, (begin - job.created_at).total_seconds() * 1000, (end - begin).total_seconds() * 1000)
        for name, begin, end in moments
        if begin and end
    ]
    whole = max((begin + length for _, begin, length in spans), default=0) or 1
    return [
        Phase(name, length, round(100 * begin / whole, 2), round(max(0.5, 100 * length / whole), 2))
        for name, begin, length in spans
    ]
