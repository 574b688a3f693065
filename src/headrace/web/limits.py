"""No request but a chunk may be large or deep, text must be text, and uploads are numbered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import NoReturn

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import HeadraceError, InvalidRequest, Overloaded, TooLarge
from headrace.web.errors import render

_HELD_REQUESTS = 64
"""Requests that come slowly are held in memory, all together no more than so many of the largest size."""


@dataclass(frozen=True)
class RequestLimits:
    json_bytes: int
    json_depth: int
    uploads: int


class FewUploads:
    """ASGI: at most ``most`` chunks are received at the same time; the next one gets 503."""

    def __init__(self, app: ASGIApp, *, most: int, of: Callable[[Scope], bool]) -> None:
        self._app = app
        self._most = most
        self._of = of
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._of(scope):
            await self._app(scope, receive, send)
        elif self._uploads >= self._most:
            refusal = Overloaded(f"{self._most} chunks are being received already.")
            await render(refusal, scope["path"])(scope, receive, send)
        else:
            self._uploads += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._uploads -= 1


class SmallRequests:
    """ASGI: a body above ``max_bytes`` gets 413, before it is read where its length is known.

    JSON can spell half a character ("\\ud800"), and Python reads ``NaN``. No database and no file takes the
    one, no client reads the other: they are refused here, once, as is JSON deeper than ``max_depth``.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_depth: int, except_for: Callable[[Scope], bool]
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_depth = max_depth
        self._except_for = except_for
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._except_for(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
            refuse_deep(body, self._max_depth)
            _refuse_what_nobody_can_store(body)
        except HeadraceError as error:
            await render(error, scope["path"])(scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        body, more = bytearray(), True
        try:
            self._refuse_more_than(int(length) if length.isdigit() else 0)
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InvalidRequest("The client went away in the middle of its request.")
                self._hold(message.get("body", b""), body)
                self._refuse_more_than(len(body))
                more = message.get("more_body", False)
        finally:
            self._held -= len(body)
        return bytes(body)

    def _refuse_more_than(self, size: int) -> None:
        if size > self._max_bytes:
            raise TooLarge(f"A request that is no chunk may have {self._max_bytes} bytes.")

    def _hold(self, data: bytes, body: bytearray) -> None:
        body += data
        self._held += len(data)
        if self._held > _HELD_REQUESTS * self._max_bytes:
            raise Overloaded("Too many large requests are under way.")


_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.S)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def refuse_deep(body: bytes, most: int) -> None:
    """Raise InvalidRequest for JSON of more than ``most`` levels; looks closely if it has the brackets."""
    if body.count(b"[") + body.count(b"{") <= most:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > most:
        raise InvalidRequest(f"The request is nested more than {most} levels deep.")


_SUSPECT = re.compile(rb"\\u|NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")


def _refuse_what_nobody_can_store(body: bytes) -> None:
    if not _SUSPECT.search(body):
        return
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return  # no JSON: who reads it will say so
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("The request holds half a character (a lone surrogate).") from error
    except ValueError as error:
        raise InvalidRequest("The request holds a number beyond all limits.") from error


def _no_number(word: str) -> NoReturn:
    raise InvalidRequest(f"The request holds {word}, which is no number in JSON.")


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
