"""Named locks: who holds one is alone with it, among all threads and all processes of an installation.

An installation of one process keeps them in its memory; one of several has them where its metadata are. There
a lock goes with the connection that holds it, and so with the process, however that ends. What must not
happen twice asks ``check`` last, and does not rest on a lock alone: a connection may break.
"""

from __future__ import annotations

import threading
from typing import Protocol


class Held(Protocol):
    def check(self) -> None:
        """Raises Busy if the lock may be somebody else's by now."""

    def release(self) -> None:
        """By any thread, once."""


class Locks(Protocol):
    def take(self, *what: str, seconds: float = 0.0) -> Held | None:
        """The lock of this name; None if somebody else has it for so long. Not to be taken twice."""

    def close(self) -> None:
        """Let go of everything."""


class LocksOfProcess:
    """For an installation that is one process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[tuple[str, ...]] = set()

    def take(self, *what: str, seconds: float = 0.0) -> HeldHere | None:
        with self._changed:
            if not self._changed.wait_for(lambda: what not in self._held, seconds):
                return None
            self._held.add(what)
        return HeldHere(self, what)

    def close(self) -> None:
        """It is memory alone."""

    def give_back(self, what: tuple[str, ...]) -> None:
        with self._changed:
            self._held.remove(what)
            self._changed.notify_all()


class HeldHere:
    def __init__(self, locks: LocksOfProcess, what: tuple[str, ...]) -> None:
        self._locks = locks
        self._what = what

    def check(self) -> None:
        """It cannot be lost."""

    def release(self) -> None:
        self._locks.give_back(self._what)
