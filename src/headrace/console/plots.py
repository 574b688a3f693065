"""A picture of a query's rows, where they have a time or a category, and a number: points for an SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.console.showing import numeric
from headrace.tables import Answer

_MOST_BARS = 30
_MOST_POINTS = 500
_TIME = re.compile(r"(DATE|TIMESTAMP.*)$")
_TEXT = "VARCHAR"

WIDTH, HEIGHT = 1000.0, 100.0
"""Of the SVG, which is stretched to the page."""


@dataclass(frozen=True)
class Bar:
    """``begins`` and ``width`` in per cent: bars of numbers below zero go to the left of it."""

    name: str
    value: float
    begins: float
    width: float


@dataclass(frozen=True)
class Plot:
    """``x`` and ``y`` name columns. ``left_out``: rows that are not drawn, be it for want of a value."""

    x: str
    y: str
    left_out: int


@dataclass(frozen=True)
class BarPlot(Plot):
    """A bar for each row, in the order of the rows."""

    bars: Sequence[Bar]


@dataclass(frozen=True)
class LinePlot(Plot):
    """A line in the order of time; ``points`` as an SVG takes them, lowest at the bottom."""

    points: str
    first: str
    last: str
    low: float
    high: float


def plot_of(answer: Answer) -> Plot | None:
    """By its first column of times or texts, and its first one of numbers; None without both."""
    types = [type for _, type in answer.columns]
    name = _first(types, lambda type: type == _TEXT or _TIME.match(type) is not None)
    number = _first(types, numeric)
    if name is None or number is None:
        return None
    return (_bars if types[name] == _TEXT else _line)(answer, name, number)


def _first(types: Sequence[str], wanted: Callable[[str], bool]) -> int | None:
    return next((at for at, type in enumerate(types) if wanted(type)), None)


def _drawable(rows: Sequence[Sequence[object]], x: int, y: int) -> Iterator[tuple[str, float]]:
    for row in rows:
        if row[x] is not None and (value := _number(row[y])) is not None:
            yield str(row[x]), value


def _number(value: object) -> float | None:
    """None for what has no place on a scale: NULL, NaN, the infinities."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# -- bars ----------------------------------------------------------------------------------------------


def _bars(answer: Answer, x: int, y: int) -> BarPlot | None:
    pairs = list(_drawable(answer.rows[:_MOST_BARS], x, y))
    if not pairs:
        return None
    low, high = min(0.0, *(v for _, v in pairs)), max(0.0, *(v for _, v in pairs))
    bars = [Bar(name, value, *_bar(value, low, high)) for name, value in pairs]
    return BarPlot(answer.columns[x][0], answer.columns[y][0], len(answer.rows) - len(bars), bars)


def _bar(value: float, low: float, high: float) -> tuple[float, float]:
    ends = sorted((_share(value, low, high), _share(0.0, low, high)))
    return round(100 * ends[0], 2), round(100 * (ends[1] - ends[0]), 2)


def _share(value: float, low: float, high: float) -> float:
    """Where it lies between the two, from 0 to 1; in halves, for the whole may be too much for a float."""
    return (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.0


# -- a line --------------------------------------------------------------------------------------------


def _line(answer: Answer, x: int, y: int) -> LinePlot | None:
    """None where a time comes twice, too: such rows are no line."""
    pairs = _drawable(answer.rows[:_MOST_POINTS], x, y)
    found = sorted((at, text, value) for text, value in pairs if (at := _seconds(text)) is not None)
    if len(found) < 2 or len({at for at, _, _ in found}) < len(found):
        return None
    times, texts, values = zip(*found, strict=True)
    name, of, left_out = answer.columns[x][0], answer.columns[y][0], len(answer.rows) - len(found)
    return LinePlot(name, of, left_out, _points(times, values), texts[0], texts[-1], min(values), max(values))


def _seconds(text: str) -> float | None:
    """Since 1970; None for what Python has no date for: the years before Christ, infinity."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _points(times: Sequence[float], values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return " ".join(
        f"{WIDTH * _share(at, times[0], times[-1]):.1f},{HEIGHT - HEIGHT * _share(value, low, high):.1f}"
        for at, value in zip(times, values, strict=True)
    )
