"""The stream that tells a page to look again: what is to be seen then, the page asks for as it always does.

A page whose stream is refused looks every two seconds instead (``assets/console.js``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from headrace.changes import Changes, Watch
from headrace.console.rendering import HEADERS
from headrace.console.sessions import SESSION, Current
from headrace.errors import Unauthorized
from headrace.web.context import Services, Use

_REST_SECONDS = 1.0
"""After an event there is none for so long: a push of a thousand chunks is not told a thousand times."""

_BEAT_SECONDS = 15.0
"""A page looks again after so long, told or not: proxies keep the connection, and what was missed is seen."""

_CHANGED = b"event: changed\ndata:\n\n"


async def follow(pool_id: str, request: Request, use: Use, session: Current) -> StreamingResponse:
    """An event at once, and one whenever something has changed in the pool; ends with the session."""
    ear = _Ear()
    watch = Watch(pool_id, session.nonce, ear)
    use.changes.begin(watch)
    return _Stream(_events(request, use, ear), use.changes, watch)


async def _events(request: Request, use: Services, ear: _Ear) -> AsyncIterator[bytes]:
    while not ear.over and await run_in_threadpool(_lasts, request, use):
        yield _CHANGED
        await ear.next()
    yield _CHANGED  # the page finds out why there are no more


def _lasts(request: Request, use: Services) -> bool:
    try:
        use.sessions.holder(request.cookies.get(SESSION))
    except Unauthorized:
        return False
    return True


class _Ear:
    """Waits on the event loop for what threads tell."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._some, self._over = asyncio.Event(), asyncio.Event()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def changed(self) -> None:
        self._loop.call_soon_threadsafe(self._some.set)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.changed()

    async def next(self) -> None:
        """Returns when it is time to look again, or over."""
        await _within(self._over, _REST_SECONDS)
        await _within(self._some, _BEAT_SECONDS)
        self._some.clear()


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


class _Stream(StreamingResponse):
    """Its watch ends with it, however that is."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], changes: Changes, watch: Watch) -> None:
        super().__init__(events, headers={**HEADERS, "X-Accel-Buffering": "no"})
        self._changes, self._watch = changes, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._changes.end(self._watch)
