"""Signing in with a key, and out; and the files of the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from headrace.console.rendering import ASSETS, HEADERS, see
from headrace.console.sessions import DOOR, ROOT, SESSION, Current, keep
from headrace.errors import NotFound, Unauthorized
from headrace.sessions import csrf_of
from headrace.web.context import Use
from headrace.web.noting import Note

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class SignInPage:
    next: str
    csrf: str
    problem: str = ""

    @property
    def status(self) -> int:
        return Unauthorized.status if self.problem else 200


def front() -> Response:
    return RedirectResponse(ROOT, status_code=303)


def sign_in_page(request: Request, next: str = ROOT) -> SignInPage:
    return SignInPage(_within(next), csrf_of(request.state.door))


def sign_in(
    request: Request,
    use: Use,
    note: Note,
    key: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = ROOT,
) -> Response | SignInPage:
    """A session for the holder of a key. A wrong key is answered by the same form, with why."""
    try:
        holder = use.access.by_secret(key)
    except Unauthorized as error:
        note.code = error.code
        return SignInPage(_within(next), csrf_of(request.state.door), error.message)
    note.actor = holder
    answer = see(_within(next))
    keep(request, answer, SESSION, use.sessions.open(holder), int(use.sessions.lifetime.total_seconds()))
    answer.delete_cookie(DOOR, path=ROOT)
    return answer


def sign_out(use: Use, session: Current) -> Response:
    use.changes.end_all_of(session.nonce)
    answer = see(f"{ROOT}/sign-in")
    answer.delete_cookie(SESSION, path=ROOT, httponly=True, samesite="strict")
    return answer


def _within(path: str) -> str:
    """Where to go then: a page of ours, whatever somebody wrote into the link."""
    inside = path == ROOT or path.startswith(ROOT + "/")
    return path if inside and "\\" not in path and path.isprintable() else ROOT


def asset(name: str) -> Response:
    path = ASSETS / name
    if name not in {known.name for known in ASSETS.iterdir()}:
        raise NotFound
    headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(path, media_type=_KINDS[path.suffix], headers=headers)


def no_page() -> Response:
    raise NotFound("There is no such page.")
