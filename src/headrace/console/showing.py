"""How pages write numbers, bytes, durations and moments."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

_NUMBER = re.compile(r"(U?(TINY|SMALL|HUGE|BIG)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\))$")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def number(value: int | None) -> str:
    """With thin spaces between thousands; nothing is a dash."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def numeric(type: str) -> bool:
    """Whether values of this type of the engine are numbers."""
    return _NUMBER.match(type) is not None


def figure(value: float) -> str:
    """Whole where it is, else with six digits that count."""
    return number(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def size(value: float | None) -> str:
    if value is None:
        return "–"
    unit = 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = f"{value:.0f}" if unit == 0 or value >= 100 else f"{value:.1f}"
    return f"{digits} {_UNITS[unit]}"


def duration(ms: float | None) -> str:
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "–"


def percent(share: float) -> str:
    """What is there is not shown as nothing, and what lacks a little not as all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f} %".replace(".0 %", " %")


def segment(name: object) -> str:
    """A part of a path; a slash in it stays within."""
    return quote(str(name), safe="")


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "numeric": numeric,
    "figure": figure,
    "size": size,
    "duration": duration,
    "moment": moment,
    "percent": percent,
    "segment": segment,
}
