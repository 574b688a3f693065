"""What shall go wrong next in a server of tests."""

from __future__ import annotations

from typing import Any

import httpx


class Faults:
    """Each fault happens ``times`` times (None: until ``clear``), after ``skip`` that go well.

    ``method`` and ``path``, a pattern such as ``*/chunks/*``, say which requests it meets; without them it is
    the next one. The first fault that meets a request happens.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def answer(self, status: int, *, retry_after: int | None = None, **which: Any) -> None:
        """Another answer than the real one, and nothing is done: 401, 429, 500, 502, 503, 504 or 507."""
        self._add("answer", status=status, retryAfter=retry_after, **which)

    def slow(self, seconds: float, **which: Any) -> None:
        """The request is done, and its answer held back."""
        self._add("slow", seconds=seconds, **which)

    def cut(self, *, after: bool = False, **which: Any) -> None:
        """The connection ends without an answer: before anything is done, or ``after`` all of it is."""
        self._add("cut", after=after, **which)

    def job_error(self, *logs: str, code: str = "load-failed", table: str = "*", **which: Any) -> None:
        """The next job of such a table ends in ERROR with these logs, and loads nothing."""
        self._add("job-error", logs=list(logs), errorCode=code, table=table, **which)

    def left(self) -> list[dict[str, Any]]:
        """What will still go wrong."""
        found: list[dict[str, Any]] = self._asked("GET").json()
        return found

    def clear(self) -> None:
        self._asked("DELETE")

    def _add(self, kind: str, **fault: Any) -> None:
        self._asked("POST", json={"kind": kind, **fault})

    def _asked(self, method: str, **more: Any) -> httpx.Response:
        reply = self._http.request(method, "/api/v1/testing/faults", **more)
        if not reply.is_success:
            raise ValueError(reply.json().get("detail", reply.text))
        return reply
