"""Suites that count: what a run of them has tried and found is told at its end, from every process.

A test calls ``counted``; conftest.py hands it on with the report of the test and adds the reports up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_PROPERTY = "counted"

_waiting: list[tuple[str, tuple[str, int, int]]] = []


def counted(name: str, cases: int, differences: int) -> None:
    """Tell the end of the run of so many cases of a suite, and in how many there was a difference."""
    _waiting.append((_PROPERTY, (name, cases, differences)))


def taken() -> list[tuple[str, tuple[str, int, int]]]:
    """What was counted since this was asked last, as properties of a test."""
    found = list(_waiting)
    _waiting.clear()
    return found


def lines(properties: Iterable[tuple[str, object]]) -> Iterator[str]:
    """A line for each suite, of the properties of all tests."""
    sums: dict[str, tuple[int, int]] = {}
    for key, value in properties:
        if key == _PROPERTY and isinstance(value, tuple | list):
            name, cases, differences = value
            before = sums.get(name, (0, 0))
            sums[name] = before[0] + cases, before[1] + differences
    for name, (cases, differences) in sorted(sums.items()):
        yield f"{name}: {cases:,} cases, {differences:,} differences"
