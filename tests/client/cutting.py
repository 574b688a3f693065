"""A proxy between a client and a server that cuts connections: the network as it is."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Thread
from urllib.parse import urlsplit


class CuttingProxy:
    """Forwards bytes both ways; after ``budget`` of them every connection is cut until ``allow`` is called.

    A cut may come after the server has read a request and before its answer has passed: that is the point.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = Lock()
        self._budget: int | None = None
        self._open: set[socket.socket] = set()
        self._closed = False
        Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def allow(self, budget: int | None) -> None:
        """Let so many bytes pass; None: all."""
        with self._lock:
            self._budget = budget

    @property
    def spent(self) -> bool:
        """Whether it has cut."""
        return self._budget is not None and self._budget < 0

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self._cut()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self._target.hostname, self._target.port))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open = {end for end in self._open if end.fileno() >= 0} | {client, server}
            for source, sink in ((client, server), (server, client)):
                Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with source, suppress(OSError):
            while data := source.recv(16 << 10):
                if not self._pays(len(data)):
                    self._cut()
                    break
                sink.sendall(data)
            _shut(sink)

    def _pays(self, size: int) -> bool:
        with self._lock:
            if self._budget is None:
                return True
            self._budget -= size
            return self._budget >= 0

    def _cut(self) -> None:
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _shut(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
