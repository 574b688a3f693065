"""One renderer of errors: the vendor's bodies on the vendor's paths, problem+json on ours."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.durable import disk_fault
from headrace.errors import HeadraceError, Internal, InvalidRequest, MethodNotAllowed, NotFound, Unauthorized
from headrace.web.noting import failed

log = structlog.get_logger()

OURS = "/api/v1"


def install(app: FastAPI) -> None:
    app.add_exception_handler(HeadraceError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(UnknownErrors)


def is_ours(path: str) -> bool:
    return path == OURS or path.startswith(OURS + "/")


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HeadraceError)
    return _rendered(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or None
    return _rendered(request, InvalidRequest(f"{where or 'The request'}: {first['msg']}", attribute=where))


async def _http(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses by itself."""
    assert isinstance(error, HTTPException)
    known = _OF_STATUS.get(error.status_code, InvalidRequest)
    return _rendered(request, known() if known is not InvalidRequest else known(str(error.detail)))


def _rendered(request: Request, error: HeadraceError) -> JSONResponse:
    return render(error, request.url.path, reference=failed(request, error))


_OF_STATUS: dict[int, type[HeadraceError]] = {
    NotFound.status: NotFound,
    MethodNotAllowed.status: MethodNotAllowed,
}


class UnknownErrors:
    """ASGI: whatever nobody foresaw is logged under a reference, and shown as nothing but that reference."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noticed(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception as error:
            reference = scope["state"]["noted"].request_id
            known = error if isinstance(error, HeadraceError) else disk_fault(error)
            if known is None:
                log.exception("internal error", reference=reference, path=scope.get("path"))
            else:
                log.warning(known.message, reference=reference, path=scope.get("path"))
            if started:
                raise  # half an answer must not look like a whole one
            await render(known or Internal(), scope["path"], reference=reference)(scope, receive, send)


def render(error: HeadraceError, path: str, *, reference: str | None = None) -> JSONResponse:
    status, reference = error.status, reference or str(uuid4())
    headers = _headers(error, path)
    if is_ours(path):
        return JSONResponse(
            _problem(error, reference), status, headers, media_type="application/problem+json"
        )
    return JSONResponse(_vendor(error, reference), status, headers)


def _headers(error: HeadraceError, path: str) -> dict[str, str]:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if _asks_browser(error, path):
        headers["WWW-Authenticate"] = 'Basic realm="Headrace", charset="UTF-8"'
    return headers


def _asks_browser(error: HeadraceError, path: str) -> bool:
    return isinstance(error, Unauthorized) and path.startswith(("/docs", "/openapi.json"))


def _problem(error: HeadraceError, reference: str) -> dict[str, Any]:
    return {
        "type": f"urn:headrace:error:{error.code}",
        "title": (type(error).__doc__ or "").strip().splitlines()[0],
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "attribute": error.attribute,
        "where": error.where,
        "hint": error.hint,
        "retry": error.retry,
        "reference": reference,
    }


def _vendor(error: HeadraceError, reference: str) -> dict[str, Any]:
    if error.status == InvalidRequest.status:
        return {
            "errors": [
                {
                    "attribute": error.attribute,
                    "error": error.message,
                    "errorCode": error.code,
                    "additionalInfo": error.hint,
                }
            ]
        }
    body: dict[str, Any] = {"reference": reference, "message": error.message, "shortMessage": error.code}
    return {"error": "Unauthorized", **body} if isinstance(error, Unauthorized) else body
