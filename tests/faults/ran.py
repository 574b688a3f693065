"""What the tests of this folder have gone through, for docs/reliability-run.md.

``pytest tests/faults --write-run`` puts each line of this run in the place of the last one of its name; lines
of tests that did not run, or that failed, stay as they are.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from counted import counted

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reliability-run.md"
COLUMNS = ("what", "cases", "differences", "seed", "beside", "when", "commit")

_lines: dict[str, Line] = {}


@dataclass(frozen=True)
class Line:
    """One line of the page; ``beside`` says what else went on, and how often."""

    what: str
    cases: int
    differences: int
    seed: int | None
    beside: str

    def cells(self, when: str, commit: str) -> tuple[str, ...]:
        seed = "" if self.seed is None else str(self.seed)
        return self.what, f"{self.cases:,}", f"{self.differences:,}", seed, self.beside, when, commit


def ran(what: str, cases: int, differences: int = 0, *, seed: int | None = None, beside: str = "") -> None:
    """At the end of a test that has held."""
    told = [what, *([f"beside {beside}"] if beside else []), *([f"seed {seed}"] if seed else [])]
    counted(", ".join(told), cases, differences)
    _lines[what] = Line(what, cases, differences, seed, beside)


def write() -> None:
    """The page with the lines of this run."""
    when, commit = f"{datetime.now(UTC):%Y-%m-%d}", _commit()
    rows = {row[0]: row for row in _rows()} | {n: line.cells(when, commit) for n, line in _lines.items()}
    table = [COLUMNS, ("---",) * len(COLUMNS), *(rows[name] for name in sorted(rows))]
    lines = [f"| {' | '.join(row)} |" for row in table]
    PAGE.write_text("\n".join([_head(), "", *lines, ""]))


def _rows() -> list[tuple[str, ...]]:
    if not PAGE.exists():
        return []
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def _head() -> str:
    return (
        f"Runs of the tests of faults, as they wrote them; {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, DuckDB {duckdb.__version__}."
    )


def _commit() -> str:
    """Short; with ``+`` when something was changed and not committed."""
    asked = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
