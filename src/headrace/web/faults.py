"""Faults for the tests of clients: how they are set, and how they happen to requests.

Nothing of this is reachable unless the setting ``test_faults`` is on.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import (
    DiskFull,
    HeadraceError,
    Internal,
    InvalidRequest,
    Overloaded,
    TooManySubmissions,
    Unauthorized,
)
from headrace.faults import Fault, FaultKind, Faults
from headrace.rehearsal import Rehearsal
from headrace.web.context import Use
from headrace.web.errors import render
from headrace.web.noting import Note

PATH = "/api/v1/testing"

_OF_STATUS: dict[int, type[HeadraceError]] = {
    cls.status: cls for cls in (Unauthorized, TooManySubmissions, Internal, Overloaded, DiskFull)
}
_OF_A_PROXY = {502: "Bad Gateway", 504: "Gateway Timeout"}
"""What stands between a client and a server answers these, and no JSON."""


class WishedFault(BaseModel):
    """What shall go wrong."""

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    times: int | None = Field(1, ge=1, description="how often; null: until it is taken away")
    skip: int = Field(0, ge=0, description="so many requests, or jobs, go well before")
    method: str | None = Field(None, description="of the requests that it meets")
    path: str = Field("*", description="a pattern of their paths, such as */chunks/*")
    table: str = Field("*", description="a pattern of tables: the jobs that it meets")
    status: int = Field(503, description="of an answer: 401, 429, 500, 502, 503, 504 or 507")
    retryAfter: int | None = Field(None, ge=0, description="of an answer, in seconds")
    seconds: float = Field(1.0, ge=0, le=3600, description="how long an answer is held back")
    after: bool = Field(False, description="cut when the request is done, not before")
    logs: list[str] = Field([], description="of a job that ends in ERROR")
    errorCode: str = Field("load-failed", description="of a job that ends in ERROR")


class FaultAnswer(WishedFault):
    id: str
    times: int | None = Field(description="how often it still happens")


def list_faults(use: Use) -> list[dict[str, Any]]:
    """What will go wrong."""
    return [_shown(fault) for fault in _rehearsal(use).faults.all()]


def add_fault(sent: WishedFault, use: Use) -> JSONResponse:
    """Something shall go wrong."""
    if sent.kind is FaultKind.ANSWER and sent.status not in (*_OF_STATUS, *_OF_A_PROXY):
        known = ", ".join(map(str, sorted((*_OF_STATUS, *_OF_A_PROXY))))
        raise InvalidRequest(f"The status of an injected answer is one of {known}.", attribute="status")
    return JSONResponse(_shown(_rehearsal(use).faults.add(_fault(sent))), status_code=201)


def clear_faults(use: Use) -> Response:
    """Nothing goes wrong any more."""
    _rehearsal(use).faults.clear()
    return Response(status_code=204)


async def mark(use: Use, note: Note) -> Response:
    """What the server keeps now is what a reset goes back to."""
    note.action = None  # its audit is another's
    await _rehearsal(use).mark()
    return Response(status_code=204)


async def reset(use: Use, note: Note) -> Response:
    """Everything is as after the start, or at the last mark."""
    note.action = None
    await _rehearsal(use).reset()
    return Response(status_code=204)


def _rehearsal(use: Use) -> Rehearsal:
    assert use.rehearsal is not None
    return use.rehearsal


def _fault(sent: WishedFault) -> Fault:
    return Fault(
        sent.kind,
        left=sent.times,
        skip=sent.skip,
        method=sent.method,
        path=sent.path,
        table=sent.table,
        status=sent.status,
        retry_after=sent.retryAfter,
        seconds=sent.seconds,
        after=sent.after,
        logs=tuple(sent.logs),
        code=sent.errorCode,
    )


def _shown(fault: Fault) -> dict[str, Any]:
    return {
        "id": fault.id,
        "kind": fault.kind,
        "times": fault.left,
        "skip": fault.skip,
        "method": fault.method,
        "path": fault.path,
        "table": fault.table,
        "status": fault.status,
        "retryAfter": fault.retry_after,
        "seconds": fault.seconds,
        "after": fault.after,
        "logs": list(fault.logs),
        "errorCode": fault.code,
    }


class Faulty:
    """ASGI: what was wished for happens to requests, but never to those that wish."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = None
        if scope["type"] == "http" and not scope["path"].startswith(PATH + "/"):
            fault = self._faults.of_request(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind is FaultKind.ANSWER:
            await _answered(fault, scope["path"])(scope, receive, send)
        elif fault.kind is FaultKind.SLOW:
            await self._app(scope, receive, _held_back(fault.seconds, receive, send))
        else:
            await self._cut(fault, scope, receive)

    async def _cut(self, fault: Fault, scope: Scope, receive: Receive) -> None:
        if fault.after:
            await self._app(scope, receive, _nobody)
        scope["state"]["cut"]()
        await _gone(receive)


def _answered(fault: Fault, path: str) -> Response:
    if fault.status in _OF_A_PROXY:
        word = _OF_A_PROXY[fault.status]
        answer = Response(
            f"<html><h1>{fault.status} {word}</h1></html>", fault.status, media_type="text/html"
        )
    else:
        answer = render(_OF_STATUS[fault.status]("The test wished for this."), path)
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def _held_back(seconds: float, receive: Receive, send: Send) -> Send:
    """The answer waits, unless its client has gone."""

    async def held(message: Message) -> None:
        if message["type"] == "http.response.start":
            gone = asyncio.create_task(_gone(receive))
            await asyncio.wait([gone], timeout=seconds)
            gone.cancel()
        await send(message)

    return held


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nobody(_message: Message) -> None:
    """Nobody hears the answer."""
