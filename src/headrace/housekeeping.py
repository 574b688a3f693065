"""The third entrance: what the clock asks for. A thread of its own, so that no load waits for it.

Pools that were loaded are looked at a moment later, all of them once an hour. What is due is done at once,
but no more of it than ``share`` of the time: whoever loads and reads has the rest of the machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from headrace.model import TableRef
from headrace.observing import Maintained, Observe, seconds_since, unheard
from headrace.retention import Retention
from headrace.tables import TableEngine

log = structlog.get_logger()

_LOOK_EVERY_S = 1.0
_ALL_EVERY_S = 3600.0
_FIRST_S = 60.0
"""A start has better things to do."""

_IDLE_POOL_S = 600.0
"""A pool that nobody has used for so long takes no memory any more."""


class Housekeeper:
    """``pools`` answers the ids of all. ``share``: of the time, at most, above 0 and up to 1."""

    def __init__(
        self,
        tables: TableEngine,
        retention: Retention,
        pools: Callable[[], Sequence[str]],
        share: float,
        observe: Observe = unheard,
    ) -> None:
        self._tables = tables
        self._retention = retention
        self._pools = pools
        self._rest = 1 / share - 1
        self._observe = observe
        self._loaded: set[str] = set()
        self._loaded_lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="housekeeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Finish what is being done; False if that takes longer than ``seconds``. Nothing is lost by it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def loaded(self, pool_id: str) -> None:
        """Something was written to the pool."""
        with self._loaded_lock:
            self._loaded.add(pool_id)

    # -- in its thread ---------------------------------------------------------------------------------

    def _keep(self) -> None:
        all_due = time.monotonic() + _FIRST_S
        while not self._stopping.wait(_LOOK_EVERY_S):
            for pool_id in self._taken():
                self._look_after(pool_id)
            if time.monotonic() >= all_due:
                all_due = time.monotonic() + _ALL_EVERY_S
                self._look_after_all()
            self._tables.rest(_IDLE_POOL_S)

    def _taken(self) -> set[str]:
        with self._loaded_lock:
            loaded, self._loaded = self._loaded, set()
        return loaded

    def _look_after_all(self) -> None:
        self._work("retention", lambda: self._retention.sweep(lambda: not self._stopping.is_set()))
        for pool_id in self._pools():
            self._look_after(pool_id, hourly=True)

    def _look_after(self, pool_id: str, *, hourly: bool = False) -> None:
        if self._stopping.is_set():
            return
        try:
            chores = self._tables.chores(pool_id)
        except Exception:
            log.exception("a pool could not be looked at, and is later", pool=pool_id)
            return
        for ref in chores.tables:
            self._work("upkeep", partial(self._tidy, pool_id, ref), pool=pool_id)
        if chores.tables or chores.old_versions or hourly:
            self._work("expiry", partial(self._tables.expire, pool_id), pool=pool_id)

    def _tidy(self, pool_id: str, ref: TableRef) -> None:
        start = time.monotonic()
        self._tables.maintain(pool_id, ref)
        self._observe(Maintained(pool_id, ref, seconds_since(start)))

    def _work(self, what: str, work: Callable[[], object], **where: str) -> None:
        """Do it, then leave the time to others for as long as the share wants."""
        if self._stopping.is_set():
            return
        start = time.monotonic()
        try:
            work()
        except Exception:
            log.exception(f"{what} failed, and is tried again later", **where)
        self._stopping.wait((time.monotonic() - start) * self._rest)
