"""Who looks on hears that something has changed in a pool. What it was, they ask for themselves."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from headrace.errors import Draining, Overloaded

MOST_WATCHES = 3
"""Of one session: a browser has six connections to a server, and its pages need some of them."""


class Ear(Protocol):
    """Is called by any thread, and must not block it."""

    def changed(self) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Watch:
    """``by``: the session that looks on."""

    pool_id: str
    by: str
    ear: Ear


class Changes:
    """For any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._closed = False

    def tell(self, pool_id: str | None) -> None:
        """Something may have changed in the pool; costs next to nothing while nobody looks on."""
        for watch in self._known():
            if watch.pool_id == pool_id:
                watch.ear.changed()

    def begin(self, watch: Watch) -> None:
        """The watch hears until it is ended. Raises Overloaded beyond MOST_WATCHES of a session, Draining."""
        with self._lock:
            if self._closed:
                raise Draining
            if sum(known.by == watch.by for known in self._watches) >= MOST_WATCHES:
                raise Overloaded(f"{MOST_WATCHES} pages of this session are told already.")
            self._watches.add(watch)

    def end(self, watch: Watch) -> None:
        with self._lock:
            self._watches.discard(watch)

    def end_all_of(self, by: str) -> None:
        """The session is over."""
        for watch in self._known():
            if watch.by == by:
                watch.ear.end()

    def close(self) -> None:
        """Nobody hears any more: what goes on without end must not hold up what waits for all requests."""
        with self._lock:
            self._closed = True
        for watch in self._known():
            watch.ear.end()

    def _known(self) -> list[Watch]:
        with self._lock:
            return list(self._watches)
