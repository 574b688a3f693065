"""A server that dies and comes back, and how one asks it until there is an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import RLock
from typing import Any

import httpx

from harness import RunningServer


class Keeper:
    """Keeps one server alive for many clients; whoever meets a dead one starts the next.

    ``points``: the crash points at which the servers to come shall die, '' for none; at the end none.
    """

    def __init__(self, server: RunningServer, points: Iterable[str] = ()) -> None:
        self.server = server
        self.deaths = 0
        self.sent_again = 0
        self._points: Iterator[str] = iter(points)
        self._changing = RLock()
        self._clients: list[httpx.Client] = []
        self._begin()

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """The answer; what had none is sent again, the same."""
        while True:
            api = self._clients[-1]
            try:
                return api.request(method, path, **more)
            except httpx.TransportError:
                self.sent_again += 1
                self._revive(api)

    def kill(self) -> None:
        with self._changing:
            self.server.kill()
            self.deaths += 1
            self._begin()

    def restart(self) -> None:
        """SIGTERM: whatever is under way is finished first, unless the server meets its crash point."""
        with self._changing:
            code = self.server.stop()
            assert code in (0, -9), code
            self.deaths += code != 0
            self._begin()

    def close(self) -> None:
        for api in self._clients:
            api.close()
        self.server.stop()

    def _revive(self, asked: httpx.Client) -> None:
        with self._changing:
            process = self.server.process
            assert process is not None
            if self._clients[-1] is asked and process.poll() is not None:
                assert process.poll() == -9, self.server.log[-5000:]
                self.server.process = None
                self.deaths += 1
                self._begin()

    def _begin(self) -> None:
        while not self._started(next(self._points, "")):
            self.deaths += 1
        self._clients.append(self.server.client(timeout=120, limits=httpx.Limits()))

    def _started(self, point: str) -> bool:
        """False if it died on its way, of what it has mended."""
        self.server.env["HEADRACE_CRASH_AT"] = point
        try:
            self.server.start()
        except AssertionError as error:
            if not point or "ended with -9" not in str(error):
                raise
            return False
        return True
