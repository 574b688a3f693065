"""Named points on a chunk's way at which a test may kill the process, to prove what recovery promises.

Nothing happens unless one was armed at the start (setting ``crash_at``).
"""

from __future__ import annotations

import os
import signal

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
    "committed",  # the lake has it, the job does not know
    "finished",  # the job is DONE, its chunks still lie there
    "dropped",  # nothing is left to do
)

_armed: str | None = None


def arm(point: str | None) -> None:
    global _armed  # noqa: PLW0603  a fact about the process
    if point and point not in POINTS:
        raise ValueError(f"no crash point '{point}'; there are: {', '.join(POINTS)}")
    _armed = point or None


def crash_point(name: str) -> None:
    """Die here, as by ``kill -9``, if this point is armed."""
    if name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
