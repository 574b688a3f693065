"""Faults that are wished for: what goes wrong next in a server of somebody's tests, and how often.

They exist only where the setting ``test_faults`` is on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from uuid import uuid4

from headrace.model import fold


class FaultKind(StrEnum):
    ANSWER = "answer"  # another answer than the real one; nothing of the request is done
    SLOW = "slow"  # the request is done, its answer is held back
    CUT = "cut"  # the connection ends without an answer
    JOB_ERROR = "job-error"  # a job ends in ERROR instead of being loaded


@dataclass(frozen=True)
class Fault:
    """``left``: how often it still happens, None: until it is taken away; ``skip``: so many go well before.

    ``method`` and ``path`` (a pattern, as of a file's name) say which requests it meets, ``table`` which
    jobs. ``after``: a cut comes when the request is done, not before.
    """

    kind: FaultKind
    id: str = ""
    left: int | None = 1
    skip: int = 0
    method: str | None = None
    path: str = "*"
    table: str = "*"
    status: int = 503
    retry_after: int | None = None
    seconds: float = 0.0
    after: bool = False
    logs: tuple[str, ...] = ()
    code: str = "load-failed"

    def meets_request(self, method: str, path: str) -> bool:
        if self.kind is FaultKind.JOB_ERROR or (self.method and self.method.upper() != method):
            return False
        return fnmatchcase(path, self.path)

    def meets_load(self, tables: Sequence[str]) -> bool:
        return self.kind is FaultKind.JOB_ERROR and any(
            fnmatchcase(fold(name), fold(self.table)) for name in tables
        )


class Faults:
    """In the order in which they were set: the first that meets something happens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}

    def add(self, fault: Fault) -> Fault:
        known = replace(fault, id=str(uuid4()))
        with self._lock:
            self._faults[known.id] = known
        return known

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._faults.values())

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def of_request(self, method: str, path: str) -> Fault | None:
        """What happens to this request; counts it."""
        return self._first(lambda fault: fault.meets_request(method, path))

    def of_load(self, tables: Sequence[str]) -> Fault | None:
        """What happens to the load of a job into these tables; counts it."""
        return self._first(lambda fault: fault.meets_load(tables))

    def _first(self, meets: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            for fault in filter(meets, list(self._faults.values())):
                if fault.skip:
                    self._faults[fault.id] = replace(fault, skip=fault.skip - 1)
                    continue
                self._count(fault)
                return fault
        return None

    def _count(self, fault: Fault) -> None:
        if fault.left is None:
            return
        if fault.left <= 1:
            del self._faults[fault.id]
        else:
            self._faults[fault.id] = replace(fault, left=fault.left - 1)
