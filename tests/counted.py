"""How many generated cases a run has tried, and how many of them came out differently: said at its end."""

from __future__ import annotations

from typing import Any

import pytest

_FOUND: list[tuple[str, int, int]] = []


def counted(name: str, cases: int, differences: int) -> None:
    """Have it said at the end of the run, also of one in several processes."""
    _FOUND.append((name, cases, differences))


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["counted"] = _FOUND


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _FOUND.extend(tuple(found) for found in getattr(node, "workeroutput", {}).get("counted", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FOUND:
        terminalreporter.section("cases")
    for name, cases, differences in _FOUND:
        terminalreporter.write_line(f"{name}: {cases} cases, {differences} differences")
