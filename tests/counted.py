"""How many cases a test has gone through, printed at the end of the run: a matrix that shrinks is seen."""

from __future__ import annotations

import pytest

_counts: dict[str, tuple[int, int]] = {}


def counted(name: str, cases: int, differences: int) -> None:
    """Add to the counts of this name."""
    before = _counts.get(name, (0, 0))
    _counts[name] = before[0] + cases, before[1] + differences


class Counting:
    """A pytest plugin; processes that run tests for another one hand their counts over when they end."""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["counted"] = {name: list(count) for name, count in _counts.items()}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        for name, (cases, differences) in getattr(node, "workeroutput", {}).get("counted", {}).items():
            counted(name, cases, differences)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if _counts:
            terminalreporter.section("cases")
        for name, (cases, differences) in sorted(_counts.items()):
            terminalreporter.line(f"{name}: {cases:,} cases, {differences:,} differences")
