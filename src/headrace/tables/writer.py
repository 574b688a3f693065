"""Who may write to a lake: one at a time, of all threads and of all processes of the installation."""

from __future__ import annotations

import math
import time

from headrace.locks import Held, Locks

_ASKED_S = 20.0


class Writer:
    """The lock of one lake. Nothing may be written to the lake by who does not have it."""

    def __init__(self, locks: Locks, pool_id: str) -> None:
        self._locks = locks
        self._pool_id = pool_id
        self._held: Held | None = None
        """Changed by who has the lock alone."""

    def acquire(self, seconds: float = math.inf) -> bool:
        """False if others have it for so long. Not to be acquired twice."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            held = self._locks.take("lake", self._pool_id, seconds=min(left, _ASKED_S))
            if held:
                self._held = held
                return True
            if left <= _ASKED_S:
                return False

    def check(self) -> None:
        """Raises Busy if it may have been lost: somebody else may be writing."""
        if self._held:
            self._held.check()

    def release(self) -> None:
        held, self._held = self._held, None
        if held:
            held.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()
