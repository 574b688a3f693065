"""Points at which a test may kill the process: none by default, each of them somewhere in the code."""

from __future__ import annotations

import os
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


def passing(armed: str, *names: str) -> subprocess.Popen[str]:
    """A process that arms a point and passes these, saying how many times it has."""
    passages = [f"crash_point({name!r}); print({name!r}, flush=True)" for name in names]
    begin = f"from headrace.crashpoints import *; arm({armed!r}); print('armed', flush=True)"
    code = "\n".join([begin, *passages])
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("armed", "passed"), [("kept", ["queued"]), ("kept:1", ["queued"]), ("kept:2", ["queued", "kept"])]
)
def test_only_the_armed_point_kills_at_its_passage(armed: str, passed: list[str]) -> None:
    with passing(armed, "queued", "kept", "kept", "staged") as process:
        said = process.communicate(timeout=30)[0].split()
    assert (process.returncode, said) == (-signal.SIGKILL, ["armed", *passed])


def test_a_pause_ends_when_it_is_told_to() -> None:
    with passing("pause:kept:2", "kept", "kept", "kept") as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=30)[0].split() == ["armed", "kept", "kept", "kept"]
        assert process.returncode == 0


@pytest.mark.parametrize("point", ["kep", "kept:0", "kept:x", "stop:kept", "pause:"])
def test_an_unknown_point_is_refused(point: str) -> None:
    with pytest.raises(ValueError, match=rf"no crash point '{point}'; there are: receiving, kept, "):
        arm(point)
    assert crashpoints._armed is None


def test_every_point_stands_somewhere_in_the_code() -> None:
    sources = [path.read_text() for path in Path(headrace.__file__).parent.rglob("*.py")]
    assert {name for text in sources for name in re.findall(r'crash_point\("([^"]+)"\)', text)} == set(POINTS)
    assert len(set(POINTS)) == len(POINTS)
