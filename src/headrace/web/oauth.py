"""OAuth2 client credentials (RFC 6749, section 4.4), and what RFC 8414 says where to find."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from anyio import to_thread
from fastapi import Request
from fastapi.responses import JSONResponse

from headrace.errors import InvalidClient, TokenRefused, UnsupportedGrantType
from headrace.tokens import SCOPES, Grant
from headrace.web.context import Services, Use
from headrace.web.noting import Note, Noted

_FORM = "application/x-www-form-urlencoded"
_NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Headrace", charset="UTF-8"'}


async def create_token(request: Request, use: Use, note: Note) -> JSONResponse:
    """A token for a client: by HTTP Basic, or by ``client_id`` and ``client_secret`` in the form."""
    body = await request.body()
    return await to_thread.run_sync(_answer, request, body, use, note)


def _answer(request: Request, body: bytes, use: Services, note: Noted) -> JSONResponse:
    try:
        form = _form(request.headers.get("content-type", ""), body)
        grant = _granted(form, request.headers.getlist("authorization"), use, note)
    except TokenRefused as error:
        note.code = error.code
        return _refused(error)
    answer = {
        "access_token": grant.token,
        "token_type": "Bearer",  # nosec B105
        "expires_in": grant.expires_in,
        "scope": " ".join(grant.scopes),
    }
    return JSONResponse(answer, headers=_NOT_STORED)


def _granted(form: dict[str, str], authorization: list[str], use: Services, note: Noted) -> Grant:
    client_id, secret = _credentials(form, authorization)
    if not form.get("grant_type"):
        raise TokenRefused("The form needs a grant_type.")
    client = use.tokens.client(client_id, secret)
    note.actor, note.subject = client, client.id
    if form["grant_type"] != "client_credentials":
        raise UnsupportedGrantType
    return use.tokens.grant(client, form.get("scope", "").split())


def _form(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise TokenRefused(f"The body must be {_FORM}.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise TokenRefused("The form cannot be read.") from error
    form = dict(pairs)
    if len(form) < len(pairs):
        raise TokenRefused("A field of the form stands there twice.")
    return form


def _credentials(form: dict[str, str], authorization: list[str]) -> tuple[str, str]:
    """Of the header or of the form, never of both."""
    if len(authorization) > 1:
        raise TokenRefused("There is more than one Authorization header.")
    if not authorization:
        return form.get("client_id", ""), form.get("client_secret", "")
    client_id, secret = _basic(authorization[0])
    if "client_secret" in form or form.get("client_id", client_id) != client_id:
        raise TokenRefused("Send the client's id and secret in the header or in the form, not in both.")
    return client_id, secret


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient
    try:
        client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError as error:  # neither base64 nor text
        raise InvalidClient from error
    return unquote_plus(client_id), unquote_plus(secret)


def _refused(error: TokenRefused) -> JSONResponse:
    headers = {**_NOT_STORED, **(_CHALLENGE if isinstance(error, InvalidClient) else {})}
    body = {"error": error.code, "error_description": error.message}
    return JSONResponse(body, status_code=error.status, headers=headers)


def describe_oauth(request: Request) -> dict[str, Any]:
    """Where tokens are, and for what (RFC 8414)."""
    base = str(request.base_url).rstrip("/")
    return {
        "issuer": base,
        "token_endpoint": f"{base}/oauth2/token",
        "jwks_uri": f"{base}/oauth2/jwks",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": list(SCOPES),
    }


def list_signing_keys(use: Use) -> dict[str, Any]:
    """The public halves of the keys whose tokens are good (RFC 7517)."""
    return {"keys": use.tokens.public_keys()}
