"""What the audit hears of a request: noted on the way by whoever learns it, written down with the answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated
from uuid import uuid4

import structlog
from anyio import to_thread
from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import Forbidden, HeadraceError, Unauthorized
from headrace.model import AuditEntry, Key, now
from headrace.observing import Answered, Observe, seconds_since

Write = Callable[[AuditEntry, bool], Callable[[], None]]
"""Takes an entry, and whether somebody will wait for it; answers how to wait."""

_REFUSALS = (Unauthorized.status, Forbidden.status)


@dataclass
class Noted:
    """``action``: None until a route is found. ``waits``: the answer waits for the entry."""

    request_id: str
    peer: str
    action: str | None = None
    changes: bool = False
    waits: bool = False
    actor: Key | None = None
    code: str | None = None
    pool_id: str | None = None
    job_id: str | None = None
    subject: str | None = None
    traceparent: str | None = None

    def entry(self, status: int) -> AuditEntry:
        actor = self.actor
        return AuditEntry(
            now(),
            actor.id if actor else None,
            actor.name if actor else None,
            self.peer,
            self.action or "",
            status,
            self.request_id,
            self.code,
            self.pool_id,
            self.job_id,
            self.subject,
        )

    def answered(self, scope: Scope, status: int, seconds: float) -> Answered:
        key_id = self.actor.id if self.actor else None
        method, route = scope["method"], _route(scope)
        ids = self.pool_id, self.job_id, key_id, self.request_id
        return Answered(method, route, status, seconds, *ids, self.traceparent)


async def noted(request: Request) -> Noted:
    return the_noted(request)


def the_noted(request: Request) -> Noted:
    found = request.state.noted
    assert isinstance(found, Noted)
    return found


Note = Annotated[Noted, Depends(noted)]


def failed(request: Request, error: HeadraceError) -> str:
    """Note why the request failed; answers the reference that its answer shows."""
    found = the_noted(request)
    found.code = error.code
    return found.request_id


class Noting:
    """ASGI: every change and every refusal becomes an entry; every answer carries the id of its request.

    ``observe`` hears of all of them.
    """

    def __init__(self, app: ASGIApp, write: Write, observe: Observe) -> None:
        self._app = app
        self._write = write
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found, start, status = noted_of(scope), time.monotonic(), 0
        structlog.contextvars.bind_contextvars(request=found.request_id)  # the task is this request's own
        inner = {**scope, "state": {**scope.get("state", {}), "noted": found}}

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                await self._note(found, status)
                id_of_request = (b"x-request-id", found.request_id.encode())
                message = {**message, "headers": [*message["headers"], id_of_request]}
            await send(message)

        try:
            await self._app(inner, receive, answered)
        finally:
            self._observe(found.answered(inner, status, seconds_since(start)))

    async def _note(self, found: Noted, status: int) -> None:
        if found.action is None or not (found.changes or status in _REFUSALS):
            return
        waits = found.waits and status < 400
        wait = self._write(found.entry(status), waits)
        if waits:
            await to_thread.run_sync(wait)


def _route(scope: Scope) -> str:
    """As the list of routes has it; '' if none was found."""
    return str(getattr(scope.get("route"), "path_format", ""))


_AN_ID = re.compile(rb"(?!hr_)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a request may be called by its client: no key of ours, nothing that could end a line of a log."""


def noted_of(scope: Scope) -> Noted:
    """What the client says of its request; its own X-Request-Id, so that both sides call it the same."""
    said = {name: value for name, value in scope["headers"] if name in (b"x-request-id", b"traceparent")}
    sent, trace = said.get(b"x-request-id", b""), said.get(b"traceparent")
    request_id = sent.decode("ascii") if _AN_ID.fullmatch(sent) else str(uuid4())
    return Noted(request_id, peer_of(scope), traceparent=trace.decode("latin-1") if trace else None)


def peer_of(scope: Scope) -> str:
    """The client's address, by a proxy's word only if the setting trusts it; '' if it is no address."""
    peer = str(scope["client"][0]) if scope.get("client") else ""
    try:
        return str(ip_address(peer))
    except ValueError:
        return ""  # a client may have written it
