"""No request but a chunk may be large."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import TooLarge
from headrace.web.errors import render


class LimitedJson:
    """ASGI: bodies above ``max_bytes`` get 413, before they are read where their length is known."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, except_for: str) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._except_for = except_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._except_for in scope["path"]:
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await render(self._error(), scope["path"])(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise self._error()
            return message

        return counted

    def _error(self) -> TooLarge:
        return TooLarge(f"A request that is no chunk may have {self._max_bytes} bytes.")
