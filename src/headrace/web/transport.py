"""What browsers must hear in every answer, must not be made to send, and where a key may not stand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import Forbidden, HeadraceError, InvalidRequest
from headrace.web.errors import render
from headrace.web.noting import Noted

Headers = Sequence[tuple[bytes, bytes]]

_ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_DATA: Headers = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def docs_policy(script: str) -> bytes:
    """The policy of the page of the API: its own files, and this one inline script by its hash."""
    return (
        f"default-src 'none'; script-src 'self' '{script}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ).encode()


Policies = Mapping[str, bytes]
"""What the pages below a first segment of the path may load: ``docs`` and ``help``."""


def security_headers(
    path: str, *, scheme: str = "http", policies: Policies = MappingProxyType({})
) -> Headers:
    """For an answer under ``path``: pages may be kept if they are asked for again, data may not."""
    hsts: Headers = (_HSTS,) if scheme == "https" else ()
    if policy := policies.get(path.split("/")[1]):
        return (*_ALWAYS, (b"content-security-policy", policy), (b"cache-control", b"no-cache"), *hsts)
    return (*_ALWAYS, *_DATA, *hsts)


class Guard:
    """ASGI: security headers on every answer; no forged request, no key in a URL goes further."""

    def __init__(self, app: ASGIApp, policies: Policies) -> None:
        self._app = app
        self._policies = policies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        extra = security_headers(scope["path"], scheme=scope["scheme"], policies=self._policies)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                said = {name.lower() for name, _ in own}
                message = {**message, "headers": [*own, *(h for h in extra if h[0] not in said)]}
            await send(message)

        try:
            _refuse_key_in_url(scope)
            _refuse_forged(scope)
        except HeadraceError as error:
            noted: Noted = scope["state"]["noted"]
            noted.action, noted.code = "turned-away", error.code
            answer = render(error, scope["path"], reference=noted.request_id)
            await answer(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


_KEY = re.compile(
    r"\bhr_[a-z]{2,5}_[\w-]{43}(?![\w-])|(?:^|&)(?:access_token|api_?key|authorization|client_secret)=[^&]",
    re.I,
)


def _refuse_key_in_url(scope: Scope) -> None:
    """URLs are written into the logs of proxies, and into browsers' histories."""
    query = unquote(scope["query_string"].decode("latin-1"))
    if _KEY.search(query):
        raise InvalidRequest(
            "A key does not belong into a URL: send it in the Authorization header. "
            "Revoke this one, it may stand in a log now."
        )


_READING = ("GET", "HEAD", "OPTIONS")


def _refuse_forged(scope: Scope) -> None:
    """A browser sends cookies and Basic credentials by itself, also for a page of somebody else.

    Whoever sends a key in the Authorization header means it; no page of another origin can do that.
    """
    if scope["method"] in _READING:
        return
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    authorization = headers.get(b"authorization", "").strip().lower()
    by_itself = authorization.startswith("basic") or (not authorization and b"cookie" in headers)
    if by_itself and is_from_elsewhere(headers):
        raise Forbidden("The request comes from a page of another site.")


def is_from_elsewhere(headers: dict[bytes, str]) -> bool:
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc != headers.get(b"host")
