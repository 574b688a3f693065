"""No request but a chunk may be large, and text must be text."""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import HeadraceError, InvalidRequest, TooLarge
from headrace.web.errors import render


class SmallRequests:
    """ASGI: a body above ``max_bytes`` gets 413, before it is read where its length is known.

    JSON can spell half a character ("\\ud800"). No database and no file takes it: it is refused here, once.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, except_for: tuple[str, ...]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._except_for = except_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].endswith(self._except_for):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
            _refuse_half_characters(body)
        except HeadraceError as error:
            await render(error, scope["path"])(scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        body, more = b"", True
        while more:
            if len(body) > self._max_bytes or not length.isdigit() or int(length) > self._max_bytes:
                raise TooLarge(f"A request that is no chunk may have {self._max_bytes} bytes.")
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return body


def _refuse_half_characters(body: bytes) -> None:
    if b"\\u" not in body:
        return
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("The request holds half a character (a lone surrogate).") from error
    except (ValueError, RecursionError):
        return  # no JSON: who reads it will say so


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
