"""The third entrance: what the clock asks for. A thread of its own, so that no load waits for it."""

from __future__ import annotations

import threading
import time

import structlog

from headrace.retention import Retention

log = structlog.get_logger()

_SWEEP_EVERY_S = 3600.0
_FIRST_SWEEP_S = 60.0
"""A start has better things to do."""


class Housekeeper:
    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="housekeeper")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when what is being done has been; that is not long."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        due = time.monotonic() + _FIRST_SWEEP_S
        while not self._stopping.wait(due - time.monotonic()):
            due = time.monotonic() + _SWEEP_EVERY_S
            try:
                self._retention.sweep(lambda: not self._stopping.is_set())
            except Exception:
                log.exception("what is old could not be swept, and is tried again later")
