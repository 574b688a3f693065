"""Who is asking in a browser: the cookie of a session, and what proves that a form is its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response

from headrace.errors import Forbidden
from headrace.model import Key
from headrace.sessions import Session, check_csrf, new_nonce
from headrace.web.context import Services
from headrace.web.transport import is_from_elsewhere

ROOT = "/console"
SESSION, DOOR = "headrace_session", "headrace_door"
"""A session, and who is only at the door: the nonce of a form to sign in."""

CSRF_HEADER = "x-csrf-token"


def by_cookie(request: Request, services: Services) -> Key:
    session = services.sessions.holder(request.cookies.get(SESSION))
    request.state.session = session
    return session.key


async def of_request(request: Request) -> Session:
    """The session, put there by the rule of its page."""
    session = request.state.session
    assert isinstance(session, Session)
    return session


async def genuine(request: Request) -> None:
    """Raises Forbidden for a form that no page of this session made."""
    _refuse_elsewhere(request)
    session = await of_request(request)
    check_csrf(session.nonce, await _proof(request))


async def at_the_door(request: Request) -> None:
    """The same, for who has no session yet."""
    _refuse_elsewhere(request)
    check_csrf(request.cookies.get(DOOR, ""), await _proof(request))


async def door(request: Request) -> None:
    """Who has no nonce yet is given one; its cookie goes out with the page."""
    request.state.door = request.cookies.get(DOOR) or new_nonce()


def keep(request: Request, response: Response, name: str, value: str, seconds: int | None = None) -> None:
    """A cookie that no script reads and no other site makes the browser send."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=ROOT,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _refuse_elsewhere(request: Request) -> None:
    if is_from_elsewhere({name: value.decode("latin-1") for name, value in request.scope["headers"]}):
        raise Forbidden("The request comes from a page of another site.")


async def _proof(request: Request) -> str | None:
    if sent := request.headers.get(CSRF_HEADER):
        return sent
    if "application/x-www-form-urlencoded" not in request.headers.get("content-type", ""):
        return None  # a chunk: nothing of it is read here
    field = (await request.form()).get("csrf")
    return field if isinstance(field, str) else None


Current = Annotated[Session, Depends(of_request)]
