"""What is refused before there is a request: too many connections, heads too large, clients too slow.

uvicorn closes a connection that rests after an answer; it has no limit for a head, none for a client that
sends nothing or a byte a second, and none for one that does not read its answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from headrace.errors import HeadersTooLarge, HeadraceError, InvalidRequest, Overloaded, TooSlow
from headrace.web.errors import render
from headrace.web.offers import WithoutOffers
from headrace.web.transport import security_headers

_GRACE_SECONDS = 1.0
"""How long a client that is cut off may take to read why."""


@dataclass(frozen=True)
class ConnectionLimits:
    connections: int
    header_bytes: int
    headers: int
    bytes_per_second: int
    seconds: float
    """In so long a client must have sent as much on the average, or all of its request."""


class _Refused(Exception):
    """Ends the parser in the middle of a head."""


def protocol(limits: ConnectionLimits) -> type[LimitedConnection]:
    """What uvicorn makes for each connection."""
    return type("LimitedProtocol", (LimitedConnection,), {"limits": limits})


class LimitedConnection(WithoutOffers):
    """A connection of uvicorn with limits. One timer looks, once a window, at what has come since."""

    limits: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: HeadraceError = InvalidRequest("This is no HTTP request.")
        self._answered: RequestResponseCycle | None = None
        self._untold = self._head_bytes = 0
        self._received = 0
        self._excused = self._stuck = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._cut(Overloaded(f"{self.limits.connections} connections are open already."))
        else:
            self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._end_request()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # cut off; what it still sends is nobody's
        self._received += len(data)
        self._untold += len(data)
        super().data_received(data)
        if self._untold > self.limits.header_bytes and not self.transport.is_closing():
            self._cut(self._head_too_large())  # a header, or a trailer, that never ends

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._look_later()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.limits.header_bytes or len(self.headers) > self.limits.headers:
            self._refusal = self._head_too_large()
            raise _Refused

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._untold = max(0, self._untold - self._head_bytes)
        self._excused = self.expect_100_continue

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._untold = 0
        self._excused = self._excused or self.flow.read_paused  # it would send more if we let it

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._untold = 0
        self._look_later()

    def send_400_response(self, _msg: str) -> None:
        """What uvicorn calls when the parser gives up."""
        cycle = self._under_way()
        if cycle is not None and not cycle.more_body:
            cycle.keep_alive = False  # the request before it came whole: its answer is the last one
            self.flow.pause_reading()
        else:
            self._cut(self._refusal)

    def _head_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"The request line and the headers may have {self.limits.header_bytes} bytes and "
            f"{self.limits.headers} headers."
        )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = (
            cycle  # uvicorn's own word, ``cycle``, is the last that came: others may wait in a row
        )
        cycle.scope["state"]["cut"] = self.transport.abort  # for faults that tests wish for
        super()._start_asgi_task(cycle, app)

    def _under_way(self) -> RequestResponseCycle | None:
        """The request that is being answered."""
        cycle = self._answered
        return None if cycle is None or cycle.response_complete else cycle

    # -- slow clients ----------------------------------------------------------------------------------

    def resume_writing(self) -> None:
        self._stuck = False
        super().resume_writing()

    def _look_later(self) -> None:
        """Begin a new window."""
        if self._timer is not None:
            self._timer.cancel()
        self._received, self._excused, self._stuck = 0, False, self.flow.write_paused
        self._timer = self.loop.call_later(self.limits.seconds, self._look)

    def _look(self) -> None:
        if self.transport.is_closing() or self._stuck:
            self._end_request()  # it does not read what it asked for
            self.transport.abort()
        elif self._is_too_slow():
            self._cut(TooSlow(f"Less came than {self.limits.bytes_per_second} bytes a second."))
        else:
            self._look_later()

    def _is_too_slow(self) -> bool:
        if self._excused or self._waits_for_us() or self.timeout_keep_alive_task is not None:
            return False  # the last: it rests between two requests, and uvicorn counts
        return self._received < self.limits.bytes_per_second * self.limits.seconds

    def _waits_for_us(self) -> bool:
        cycle = self._under_way()
        if cycle is None:
            return False
        return not cycle.more_body or cycle.waiting_for_100_continue or self.flow.read_paused

    def _cut(self, error: HeadraceError) -> None:
        """Say why, unless an answer has begun, and close."""
        cycle = self._under_way()
        if cycle is None or not cycle.response_started:
            self.transport.write(_answer(error, self._path()))
        self._end_request()
        self.transport.close()
        self.loop.call_later(_GRACE_SECONDS, self.transport.abort)

    def _end_request(self) -> None:
        """Whoever reads the request under way, or writes its answer, hears that the client is gone."""
        if (cycle := self._under_way()) is not None:
            cycle.disconnected = True
            cycle.message_event.set()

    def _path(self) -> str:
        url = getattr(self, "url", b"") or b"/"
        return "/" + url.decode("latin-1").partition("?")[0].lstrip("/")


def _answer(error: HeadraceError, path: str) -> bytes:
    reply = render(error, path)
    headers = [*reply.raw_headers, *security_headers(path), (b"connection", b"close")]
    lines = [b"HTTP/1.1 %d %s" % (reply.status_code, error.code.encode())]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(reply.body)
