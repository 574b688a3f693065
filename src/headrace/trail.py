"""The trail: what requests did goes into the audit, in batches, by a thread of its own.

Nothing is lost in silence. What an administrator changes is answered only when its entry is on the disk;
entries of pushes and of refusals follow within ``BATCH_S``. A batch that cannot be written is kept and tried
again, and what is left at the end goes to the log. The book itself says when the server started and stopped:
a start that no stop precedes means that the process was killed, and that the entries of its last moment, at
most ``BATCH_S`` of them, may be missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from headrace.metadata import Metadata
from headrace.model import AuditEntry, Key, now

log = structlog.get_logger()

BATCH_S = 0.5
WAIT_S = 10.0
"""An answer waits so long for its entry; the entry is not given up then."""

_USE_EVERY = timedelta(minutes=1)
_PRUNE_EVERY = timedelta(hours=1)
STARTED, STOPPED = "server-started", "server-stopped"


class _Batch:
    """Entries that are written together; ``written`` when they are on the disk."""

    def __init__(self) -> None:
        self.entries: dict[object, AuditEntry] = {}
        self.uses: dict[str, datetime] = {}
        self.written = threading.Event()

    def add(self, entry: AuditEntry) -> None:
        """What failed in the same way a moment ago is counted: a flood of refusals is a few rows."""
        alike = _alike(entry) or object()
        known = self.entries.get(alike)
        self.entries[alike] = replace(known, times=known.times + entry.times) if known else entry


class Trail:
    """``days``: how long an entry is kept."""

    def __init__(self, metadata: Metadata, *, days: float) -> None:
        self._metadata = metadata
        self._keep = timedelta(days=days)
        self._lock = threading.Lock()
        self._batch = _Batch()
        self._last_use: dict[str, datetime] = {}
        self._some = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self._pruned: datetime | None = None
        self._thread = threading.Thread(target=self._write, name="trail", daemon=True)

    def start(self) -> None:
        """The book says so before the first request is taken."""
        self._thread.start()
        self.note(_of_the_server(STARTED), hurry=True)()

    def note(self, entry: AuditEntry, *, hurry: bool = False) -> Callable[[], None]:
        """Takes the entry; what it answers waits until the entry is on the disk, if that is called."""
        with self._lock:
            batch = self._batch
            batch.add(entry)
        if hurry:
            self._hurry.set()
        self._some.set()
        return lambda: _await(batch)

    def used(self, key: Key) -> None:
        """Remember when a key was used, to the minute: most requests cost a look into a dictionary."""
        at = now()
        last = self._last_use.get(key.id) or key.last_used_at
        if last is not None and at - last < _USE_EVERY:
            return
        with self._lock:
            self._last_use[key.id] = self._batch.uses[key.id] = at
        self._some.set()

    def close(self) -> None:
        """Writes what is left."""
        if not self._thread.is_alive():
            return
        self.note(_of_the_server(STOPPED))
        self._closed = True
        self._hurry.set()
        self._some.set()
        self._thread.join()

    # -- in its thread ---------------------------------------------------------------------------------

    def _write(self) -> None:
        while not self._closed:
            self._some.wait(_PRUNE_EVERY.total_seconds())
            self._hurry.wait(BATCH_S)  # others may come along
            self._some.clear()
            self._hurry.clear()
            self._flush()
            self._prune()
        if not self._flush():
            for entry in self._batch.entries.values():
                log.error("not in the audit", **_readable(entry))

    def _flush(self) -> bool:
        with self._lock:
            batch, self._batch = self._batch, _Batch()
        try:
            if batch.entries:
                self._metadata.audit.add(batch.entries.values(), self._keep)
            batch.written.set()
            if batch.uses:
                self._metadata.keys.used(batch.uses)
        except Exception:  # a full disk, a lock that somebody holds: whatever it is, it is tried again
            log.exception("the audit cannot be written", entries=len(batch.entries))
            self._take_back(batch)
            return False
        return True

    def _take_back(self, batch: _Batch) -> None:
        """The batch is the current one again, and what came meanwhile stands behind it."""
        with self._lock:
            later, self._batch = self._batch, batch
            if batch.written.is_set():
                batch.entries, batch.written = {}, threading.Event()
            for entry in later.entries.values():
                batch.add(entry)
            batch.uses.update(later.uses)
            later.written = batch.written
        self._some.set()

    def _prune(self) -> None:
        at = now()
        if self._pruned is not None and at - self._pruned < _PRUNE_EVERY:
            return
        self._pruned = at
        try:
            self._metadata.audit.prune(at)
        except Exception:
            log.exception("the audit cannot be pruned")


def _await(batch: _Batch) -> None:
    if not batch.written.wait(WAIT_S):
        log.error("an answer goes out before its entry in the audit", seconds=WAIT_S)


def _alike(entry: AuditEntry) -> object:
    """What makes entries alike; None: each counts for itself. Of what a stranger names, nothing."""
    if entry.status < 400:
        return None
    pool = entry.pool_id if entry.actor_id else None
    return entry.actor_id, entry.peer, entry.action, entry.status, entry.code, pool


def _of_the_server(action: str) -> AuditEntry:
    return AuditEntry(now(), None, "server", "", action, 200, "")


def _readable(entry: AuditEntry) -> dict[str, Any]:
    return {name: str(value) for name, value in vars(entry).items() if value is not None}
