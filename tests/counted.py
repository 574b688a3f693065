"""What the large tests have counted, said at the end of the run: cases and differences of each."""

from __future__ import annotations

from typing import Any

COUNTED: list[tuple[str, int, int]] = []


def counted(name: str, cases: int, differences: int) -> None:
    """Shown in the summary of the run, also by workers of a parallel one."""
    COUNTED.append((name, cases, differences))


def show(reporter: Any, lines: list[tuple[str, int, int]]) -> None:
    if lines:
        reporter.section("counted")
    for name, cases, differences in lines:
        reporter.write_line(f"{name}: {cases} cases, {differences} differences")
