"""Named points on a chunk's way at which a test may kill or stop the process, to prove what we promise.

Nothing happens unless one was armed at the start (setting ``crash_at``): ``kept`` kills at the first passage,
``kept:3`` at the third, ``pause:kept`` stops the process there until it is told to go on.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

POINTS = (
    "receiving",  # bytes of a chunk are being written
    "kept",  # the chunk's bytes are durable, no row knows them
    "recorded",  # the row is written, the client has no answer
    "staged",  # the staged file is in place, no row says so
    "stage-recorded",  # the row says so
    "queued",  # the job is QUEUED, the client has no answer
    "claimed",  # a worker holds the lease
    "reduced",  # one action per key is left
    "before-commit",  # everything is in the lake's transaction
    "committing",  # its worker was asked for the last time whether the job is its own
    "committed",  # the lake has it, the job does not know
    "finished",  # the job is DONE, its chunks still lie there
    "dropped",  # nothing is left to do
)


@dataclass
class _Armed:
    name: str
    signal: signal.Signals
    passage: int
    passages: Iterator[int] = field(default_factory=lambda: count(1))  # threads take one each


_SPELLED = re.compile(r"(?P<pause>pause:)?(?P<name>[a-z-]+)(:(?P<passage>[1-9]\d*))?")

_armed: _Armed | None = None


def arm(point: str | None) -> None:
    """Raises ValueError if there is no such point."""
    global _armed  # noqa: PLW0603  a fact about the process
    _armed = _read(point) if point else None


def _read(point: str) -> _Armed:
    said = _SPELLED.fullmatch(point)
    if said is None or said["name"] not in POINTS:
        raise ValueError(f"no crash point '{point}'; there are: {', '.join(POINTS)}")
    how = signal.SIGSTOP if said["pause"] else signal.SIGKILL
    return _Armed(said["name"], how, int(said["passage"] or 1))


def crash_point(name: str) -> None:
    """Die here, as by ``kill -9``, or stop, if this point is armed."""
    if _armed and name == _armed.name and next(_armed.passages) == _armed.passage:
        os.kill(os.getpid(), _armed.signal)
