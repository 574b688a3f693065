"""Figures side by side: what was measured, the bar it must keep to, and the page that says so."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psutil

from bench.processes import this_cpu

DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True)
class Row:
    """One line of the table; ``bar`` is what the ratio or value must keep to."""

    what: str
    ours: str
    theirs: str
    value: float
    bar: str
    met: bool | None


def paired(repeats: int, **ways: Callable[[], float]) -> dict[str, list[float]]:
    """Every way once a round, so that a slow moment of the machine hits them all."""
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            measured[name].append(way())
    return measured


def ratio(what: str, measured: dict[str, list[float]], ours: str, theirs: str, bar: float | None) -> Row:
    """The median of the rounds' ratios."""
    pairs = zip(measured[ours], measured[theirs], strict=True)
    value = statistics.median(mine / their for mine, their in pairs)
    one, other = (f"{statistics.median(measured[name]):.2f} s" for name in (ours, theirs))
    return at_most(what, one, other, value, bar)


def at_most(what: str, ours: str, theirs: str, value: float, bar: float | None, unit: str = "") -> Row:
    said = f"at most {bar:g}{unit}" if bar else ""
    return Row(what, ours, theirs, value, said, value <= bar if bar else None)


def at_least(what: str, ours: str, value: float, bar: float) -> Row:
    return Row(what, ours, "", value, f"at least {bar:g}", value >= bar)


def wall(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = this_cpu()
    work()
    return this_cpu() - start


def table(rows: Sequence[Row]) -> str:
    lines = ["| what | ours | theirs | ratio or value | bar | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "**no**"
        lines.append(f"| {row.what} | {row.ours} | {row.theirs} | {row.value:.2f} | {row.bar} | {met} |")
    return "\n".join(lines) + "\n"


def run_of(what: str) -> str:
    """The first line of a page: when, what, where, of which commit."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Run of {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}: {what}; {platform.machine()}, "
        f"{psutil.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}, "
        f"DuckDB {duckdb.__version__}."
    )


def _commit() -> str:
    """Its short name; with a plus if files were changed since."""
    asked = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    told = subprocess.run(asked, cwd=DOCS, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"
