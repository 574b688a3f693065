"""Warm children that belong to one key each: what a child has been made for, it serves until it ends.

A few stay when their work is done, so that the next task under the same key finds one; those that were used
last stay longest. One more is always on its way, without a key yet: a first task need not wait for a start.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Semaphore, Thread
from typing import Any
from uuid import uuid4

from headrace.children import Child, ChildDied


class NoneFree(Exception):
    """No child was free in time."""


@dataclass(eq=False)
class Warm:
    """A child, a folder that is its own as long as it lives, and what its user knows of it: None at first."""

    child: Child
    home: Path
    key: Hashable = None
    state: Any = None


class WarmChildren:
    """``running`` at the same time, and ``idle`` more that wait; ``spare``: one is always on its way."""

    def __init__(
        self,
        folder: Path,
        start: Callable[[], Child],
        *,
        running: int,
        idle: int,
        spare: bool,
    ) -> None:
        self._folder = folder
        self._start = start
        self._turns = Semaphore(running)
        self._idle_at_most = idle
        self._with_spare = spare
        self._lock = Lock()
        self._stopped = False
        self._idle: list[Warm] = []  # the one used last is last
        self._used: set[Warm] = set()
        self._spare: Warm | None = None

    @contextmanager
    def borrowed(self, key: Hashable, patience: float) -> Iterator[Warm]:
        """A child of this key, for one user at a time. Raises NoneFree; ChildDied when all is stopped."""
        if not self._turns.acquire(timeout=patience):
            raise NoneFree
        try:
            warm = self._take(key)
            try:
                yield warm
            finally:
                self._give_back(warm)
        finally:
            self._turns.release()

    def renew(self, warm: Warm) -> None:
        """Another child in the place of this one, with the same key and home."""
        warm.child.kill()
        with self._lock:
            fresh = self._fresh()
            if fresh.home != warm.home:
                shutil.rmtree(fresh.home)
            warm.child, warm.state = fresh.child, None

    def end(self, chosen: Callable[[Hashable], bool]) -> None:
        """End the idle children of these keys."""
        with self._lock:
            gone = [warm for warm in self._idle if chosen(warm.key)]
            self._idle = [warm for warm in self._idle if warm not in gone]
        for warm in gone:
            self._end(warm)

    def stop(self) -> None:
        """End all children; who uses one hears of its death. May be repeated."""
        with self._lock:
            self._stopped = True
            every = [*self._idle, *self._used, *([self._spare] if self._spare else [])]
            self._idle, self._spare = [], None
        for warm in every:
            warm.child.kill()

    def pids(self) -> list[int]:
        """The children that live now and have a key."""
        with self._lock:
            return [warm.child.pid for warm in (*self._idle, *self._used) if warm.child.alive]

    # -- one child -------------------------------------------------------------------------------------

    def _take(self, key: Hashable) -> Warm:
        with self._lock:
            of_key = [warm for warm in self._idle if warm.key == key and warm.child.alive]
            if of_key:
                warm = of_key[-1]
                self._idle.remove(warm)
            else:
                warm = self._fresh()
                warm.key = key
            self._used.add(warm)
        if self._with_spare and self._spare is None:
            Thread(target=self._start_spare, daemon=True).start()
        return warm

    def _give_back(self, warm: Warm) -> None:
        with self._lock:
            self._used.discard(warm)
            self._idle.append(warm)
            gone = [w for w in self._idle if not w.child.alive]
            self._idle = [w for w in self._idle if w not in gone]
            while len(self._idle) > self._idle_at_most:
                gone.append(self._idle.pop(0))
        for old in gone:
            self._end(old)

    def _fresh(self) -> Warm:
        if self._stopped:
            raise ChildDied("The children have been stopped.")
        spare, self._spare = self._spare, None
        return spare if spare and spare.child.alive else self._new()

    def _new(self) -> Warm:
        home = self._folder / uuid4().hex
        home.mkdir()
        return Warm(self._start(), home)

    def _start_spare(self) -> None:
        with self._lock:
            if not self._stopped and self._spare is None:
                self._spare = self._new()

    def _end(self, warm: Warm) -> None:
        warm.child.kill()
        shutil.rmtree(warm.home, ignore_errors=True)
