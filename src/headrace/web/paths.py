"""Path quirks end here: three bases, doubled slashes, trailing slashes. Never a redirect.

A redirect would turn a client's POST into a GET, so every spelling is the same path before routing.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_BASES = ("data-ingestion", "integration-hybrid")


class NormalPaths:
    """ASGI: ``/data-ingestion//api/v1/…/`` is ``/integration/api/v1/…``.

    Encoded slashes stay in their segment: table names have them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or scope["path"].encode()
            scope = {**scope, "path": normal_path(raw.decode("latin-1"))}
        await self._app(scope, receive, send)


def normal_path(raw: str) -> str:
    """The one spelling of a path; each segment decoded except for its own slashes and per cents."""
    segments = [_decoded(s) for s in raw.partition("?")[0].split("/") if s]
    if segments and segments[0] in _BASES:
        segments[0] = "integration"
    return "/" + "/".join(segments)


def _decoded(segment: str) -> str:
    return unquote(segment).replace("%", "%25").replace("/", "%2F")
