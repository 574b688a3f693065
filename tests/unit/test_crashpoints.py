"""Points at which a test may kill the process: none by default, each of them somewhere in the code."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from headrace import crashpoints
from headrace.crashpoints import POINTS, arm, crash_point


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm(None)


@pytest.mark.parametrize("nothing", [None, ""])
def test_nothing_happens_unless_a_point_is_armed(nothing: str | None) -> None:
    arm(nothing)
    for point in POINTS:
        crash_point(point)


def test_only_the_armed_point_kills() -> None:
    code = (
        "from headrace.crashpoints import *; arm('kept'); crash_point('queued'); print('alive', flush=True)"
    )
    after = "; crash_point('kept'); print('never')"
    command = [sys.executable, "-c", code + after]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "alive\n")


def test_an_unknown_point_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no crash point 'kep'; there are: receiving, kept, "):
        arm("kep")
    assert crashpoints._armed is None


def test_every_point_stands_somewhere_in_the_code() -> None:
    sources = [path.read_text() for path in Path(headrace.__file__).parent.rglob("*.py")]
    assert {name for text in sources for name in re.findall(r'crash_point\("([^"]+)"\)', text)} == set(POINTS)
    assert len(set(POINTS)) == len(POINTS)
