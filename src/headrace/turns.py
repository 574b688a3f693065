"""Chunks that wait to be staged: pools take turns, and within a pool it is first come, first served."""

from __future__ import annotations

import threading
from collections import deque

from headrace.model import Chunk


class Turns:
    """For any number of threads; whoever takes knows that something was put for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Chunk]] = {}
        """By pool; the pool whose turn it is comes first."""

    def put(self, chunk: Chunk) -> None:
        with self._lock:
            self._waiting.setdefault(chunk.pool_id, deque()).append(chunk)

    def take(self) -> Chunk:
        """Raises StopIteration when nothing waits."""
        with self._lock:
            pool_id = next(iter(self._waiting))
            chunks = self._waiting.pop(pool_id)
            chunk = chunks.popleft()
            if chunks:
                self._waiting[pool_id] = chunks  # behind all others
            return chunk
