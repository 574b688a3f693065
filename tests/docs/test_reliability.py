"""Every promise names tests that exist, and every figure of CI is the one in the test."""

from __future__ import annotations

import ast
import re

import pytest

from docs.pages import ROOT
from headrace.crashpoints import POINTS

PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ")
]


def _functions(path: str) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize(
    "promise", [row for row in ROWS if len(row) == 2 and row[1] != "held by"], ids=lambda r: r[0]
)
def test_a_promise_is_held(promise: list[str]) -> None:
    named = re.findall(r"`([^`]*)`", promise[1])
    assert named
    for path, _, test in (name.partition("::") for name in named):
        assert (ROOT / path).is_file()
        assert not test or test in _functions(path), test


def test_the_figures_of_ci() -> None:
    figures = [(row[1].strip("`"), row[2]) for row in ROWS if len(row) == 4 and row[1] != "where"]
    assert len(figures) == 14
    for path, figure in figures:
        assert re.search(rf'environ\.get\("\w+", "{figure}"\)', (ROOT / path).read_text()), path


def test_the_crash_points_are_counted() -> None:
    jobs = re.search(r'"job", \[(.*?)\]', (ROOT / "tests/faults/test_crash_points.py").read_text())
    assert jobs is not None
    assert f"{len(POINTS)} named places" in PAGE
    assert f"{len(POINTS) * len(jobs[1].split(','))} crashes" in PAGE
