"""Every route of the server, in one list, each with the permission it needs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from swagger_ui_bundle import swagger_ui_path

from headrace import __version__
from headrace.errors import NotFound
from headrace.model import AuditEntry, Permission
from headrace.observing import Observation
from headrace.web import api, audit, ends, errors, faults, jobs, keys, manual, oauth, uploads, vendor
from headrace.web.context import Services
from headrace.web.description import TOLD, describe, operation_id, responses
from headrace.web.limits import FewUploads, RequestLimits, SmallRequests
from headrace.web.noting import Noting
from headrace.web.paths import NormalPaths
from headrace.web.rules import ANY, OPEN, Endpoint, by_header_or_basic, guard
from headrace.web.transport import Guard, docs_policy

PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN


_JOBS = "/integration/api/v1/data-push/{pool_id:part}/jobs"
_POOLS = "/integration/api/pools"
_OURS = "/api/v1"
_KEYS, _CLIENTS = _OURS + "/keys", _OURS + "/clients"
_OUR_JOBS = _OURS + "/pools/{pool_id:part}/jobs"
_UPLOADS = _OUR_JOBS + "/{job_id:part}/uploads"
_TABLE = _OURS + "/pools/{pool_id:part}/tables/{name:part}"

ROUTES = (
    Endpoint("POST", _JOBS, vendor.create_job, PUSH, "data push", narrowed=True),
    Endpoint("GET", _JOBS, vendor.list_jobs, READ, "data push", narrowed=True),
    Endpoint("GET", _JOBS + "/{job_id:part}", vendor.get_job, READ, "data push"),
    Endpoint("POST", _JOBS + "/{job_id:part}", vendor.execute_job, PUSH, "data push"),
    Endpoint("DELETE", _JOBS + "/{job_id:part}", vendor.delete_job, PUSH, "data push"),
    Endpoint("GET", _JOBS + "/{job_id:part}/chunks", vendor.list_chunks, READ, "data push"),
    Endpoint("POST", _JOBS + "/{job_id:part}/chunks/upserted", vendor.push_upserted, PUSH, "data push"),
    Endpoint("POST", _JOBS + "/{job_id:part}/chunks/deleted", vendor.push_deleted, PUSH, "data push"),
    Endpoint("GET", "/api/cloud", vendor.cloud, ANY, "around a push"),
    Endpoint("GET", "/api/cloud/permissions", vendor.permissions, ANY, "around a push"),
    Endpoint("GET", "/api/team", vendor.team, ANY, "around a push"),
    Endpoint("GET", _POOLS, vendor.list_pools, READ, "around a push"),
    Endpoint("POST", _POOLS, vendor.create_pool, ADMIN, "around a push"),
    Endpoint("GET", _POOLS + "/paged", vendor.paged_pools, READ, "around a push"),
    Endpoint("GET", _POOLS + "/{pool_id:part}", vendor.get_pool, READ, "around a push", narrowed=True),
    Endpoint("PUT", _POOLS + "/{pool_id:part}", vendor.update_pool, ADMIN, "around a push"),
    Endpoint("DELETE", _POOLS + "/{pool_id:part}", vendor.delete_pool, ADMIN, "around a push"),
    Endpoint(
        "GET",
        _POOLS + "/{pool_id:part}/data-sources",
        vendor.list_connections,
        READ,
        "around a push",
        narrowed=True,
    ),
    Endpoint(
        "POST", _POOLS + "/{pool_id:part}/data-sources", vendor.create_connection, ADMIN, "around a push"
    ),
    Endpoint(
        "GET",
        _POOLS + "/{pool_id:part}/data-sources/{connection_id:part}",
        vendor.get_connection,
        READ,
        "around a push",
        narrowed=True,
    ),
    Endpoint(
        "DELETE",
        _POOLS + "/{pool_id:part}/data-sources/{connection_id:part}",
        vendor.delete_connection,
        ADMIN,
        "around a push",
    ),
    Endpoint(
        "GET",
        _POOLS + "/{pool_id:part}/data-sources/{connection_id:part}/search-tables",
        vendor.search_tables,
        READ,
        "around a push",
        narrowed=True,
    ),
    Endpoint(
        "GET", _POOLS + "/{pool_id:part}/tables", vendor.list_tables, READ, "around a push", narrowed=True
    ),
    Endpoint(
        "GET", _POOLS + "/{pool_id:part}/columns", vendor.list_columns, READ, "around a push", narrowed=True
    ),
    Endpoint(
        "GET", _POOLS + "/{pool_id:part}/data-models", vendor.nothing, READ, "around a push", narrowed=True
    ),
    Endpoint("GET", _POOLS + "/{pool_id:part}/jobs", vendor.nothing, READ, "around a push", narrowed=True),
    Endpoint(
        "GET", _POOLS + "/{pool_id:part}/variables", vendor.nothing, READ, "around a push", narrowed=True
    ),
    Endpoint("GET", _OUR_JOBS, api.list_jobs, READ, "headrace", narrowed=True),
    Endpoint("POST", _OUR_JOBS, jobs.create_job, PUSH, "headrace", narrowed=True),
    Endpoint("GET", _OUR_JOBS + "/{job_id:part}", api.get_job, READ, "headrace"),
    Endpoint("PUT", _OUR_JOBS + "/{job_id:part}/schema", api.put_schema, PUSH, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/chunks", api.push_chunk, PUSH, "headrace"),
    Endpoint("OPTIONS", _UPLOADS, uploads.uploads_options, PUSH, "headrace"),
    Endpoint("POST", _UPLOADS, uploads.create_upload, PUSH, "headrace"),
    Endpoint("HEAD", _UPLOADS + "/{upload_id:part}", uploads.find_upload, PUSH, "headrace"),
    Endpoint("PATCH", _UPLOADS + "/{upload_id:part}", uploads.patch_upload, PUSH, "headrace"),
    Endpoint("DELETE", _UPLOADS + "/{upload_id:part}", uploads.end_upload, PUSH, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/execute", jobs.execute_job, PUSH, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/cancel", ends.cancel_job, PUSH, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/retry", ends.retry_job, PUSH, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/clone", ends.clone_job, PUSH, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/undo", ends.undo_job, PUSH, "headrace"),
    Endpoint("GET", _OUR_JOBS + "/{job_id:part}/rejects", jobs.get_rejects, READ, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/rejects/replay", jobs.replay_rejects, PUSH, "headrace"),
    Endpoint("POST", _OURS + "/pools/{pool_id:part}/sql", api.run_query, READ, "headrace", narrowed=True),
    Endpoint(
        "DELETE", _OURS + "/pools/{pool_id:part}/sql/{query_id:part}", api.cancel_query, READ, "headrace"
    ),
    Endpoint("GET", _OURS + "/pools/{pool_id:part}/tables", api.list_tables, READ, "headrace", narrowed=True),
    Endpoint("POST", _OURS + "/pools/{pool_id:part}/upkeep", api.maintain_pool, ADMIN, "headrace"),
    Endpoint("GET", _TABLE, api.get_table, READ, "headrace"),
    Endpoint("GET", _TABLE + "/export", api.export_table, READ, "headrace"),
    Endpoint("GET", _KEYS, keys.list_keys, ADMIN, "access"),
    Endpoint("POST", _KEYS, keys.create_key, ADMIN, "access"),
    Endpoint("GET", _KEYS + "/{key_id:part}", keys.get_key, ADMIN, "access"),
    Endpoint("DELETE", _KEYS + "/{key_id:part}", keys.revoke_key, ADMIN, "access"),
    Endpoint("POST", _KEYS + "/{key_id:part}/rotate", keys.rotate_key, ADMIN, "access"),
    Endpoint("POST", _KEYS + "/{key_id:part}/disable", keys.disable_key, ADMIN, "access"),
    Endpoint("POST", _KEYS + "/{key_id:part}/enable", keys.enable_key, ADMIN, "access"),
    Endpoint("GET", _CLIENTS, keys.list_clients, ADMIN, "access"),
    Endpoint("POST", _CLIENTS, keys.create_client, ADMIN, "access"),
    Endpoint("GET", _CLIENTS + "/{key_id:part}", keys.get_client, ADMIN, "access"),
    Endpoint("DELETE", _CLIENTS + "/{key_id:part}", keys.revoke_client, ADMIN, "access"),
    Endpoint("POST", _CLIENTS + "/{key_id:part}/rotate", keys.rotate_client, ADMIN, "access"),
    Endpoint("POST", _CLIENTS + "/{key_id:part}/disable", keys.disable_client, ADMIN, "access"),
    Endpoint("POST", _CLIENTS + "/{key_id:part}/enable", keys.enable_client, ADMIN, "access"),
    Endpoint("GET", _OURS + "/permissions/explain", keys.explain_permission, ANY, "access"),
    Endpoint("GET", _OURS + "/audit", audit.read_audit, ADMIN, "access"),
    Endpoint("GET", _OURS + "/gc", api.foresee_retention, ADMIN, "headrace"),
    Endpoint("POST", _OURS + "/gc", api.run_retention, ADMIN, "headrace"),
    Endpoint("POST", "/oauth2/token", oauth.create_token, OPEN, "access"),
    Endpoint("GET", "/oauth2/jwks", oauth.list_signing_keys, OPEN, "access"),
    Endpoint("GET", "/.well-known/oauth-authorization-server", oauth.describe_oauth, OPEN, "access"),
    Endpoint("GET", "/metrics", api.metrics, READ, "health", whole_server=True, scraped=True),
    Endpoint("GET", "/healthz", api.healthz, OPEN, "health"),
    Endpoint("GET", "/readyz", api.readyz, OPEN, "health"),
)

TEST_ROUTES = (
    Endpoint("GET", faults.PATH + "/faults", faults.list_faults, ADMIN, "testing"),
    Endpoint("POST", faults.PATH + "/faults", faults.add_fault, ADMIN, "testing"),
    Endpoint("DELETE", faults.PATH + "/faults", faults.clear_faults, ADMIN, "testing"),
    Endpoint("POST", faults.PATH + "/mark", faults.mark, ADMIN, "testing"),
    Endpoint("POST", faults.PATH + "/reset", faults.reset, ADMIN, "testing"),
)
"""They are there only if the setting ``test_faults`` is on (docs/testing.md)."""

_CHUNK_PATHS = ("/chunks/upserted", "/chunks/deleted", "/chunks")

_BYTES = {"schema": {"type": "string", "format": "binary"}}

_CHUNK_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
            "text/csv": _BYTES,
            "application/vnd.apache.parquet": _BYTES,
            "application/vnd.apache.arrow.stream": _BYTES,
            "application/x-ndjson": _BYTES,
            "application/octet-stream": _BYTES,
        },
    }
}

_TOKEN_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {
                        name: {"type": "string"}
                        for name in ("grant_type", "scope", "client_id", "client_secret")
                    },
                    "required": ["grant_type"],
                }
            }
        },
    }
}
_BODIES: dict[Callable[..., Any], dict[str, Any]] = {
    vendor.push_upserted: _CHUNK_BODY,
    vendor.push_deleted: _CHUNK_BODY,
    api.push_chunk: _CHUNK_BODY,
    uploads.create_upload: {"requestBody": {"required": False, "content": {uploads.MEDIA_TYPE: _BYTES}}},
    uploads.patch_upload: {"requestBody": {"required": True, "content": {uploads.MEDIA_TYPE: _BYTES}}},
    oauth.create_token: _TOKEN_BODY,
}

_ALSO: dict[Callable[..., Any], tuple[Any, ...]] = dict.fromkeys(
    (uploads.create_upload, uploads.find_upload, uploads.patch_upload, uploads.end_upload),
    (Depends(uploads.spoken),),
)
"""What else is asked of a request, once it is let in."""


class Part(Convertor[str]):
    """One segment of a path; a slash in it came encoded (table names have them)."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return value.replace("%", "%25").replace("/", "%2F")


@dataclass(frozen=True)
class Application:
    """ASGI. The services that it may call can be replaced by others of their kind."""

    outermost: ASGIApp
    app: FastAPI

    def use(self, services: Services) -> None:
        self.app.state.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.outermost(scope, receive, send)


def application(
    services: Services, limits: RequestLimits, pages: Callable[[FastAPI], None] | None = None
) -> Application:
    """The ASGI application: a value, made from the services it may call; ``pages`` adds those for people."""
    register_url_convertor("part", Part())
    app = FastAPI(
        title="Headrace",
        version=__version__,
        description="A self-hosted server that speaks the Data Push API.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        strict_content_type=False,
    )
    app.state.services = services
    errors.install(app)
    for route in (*ROUTES, *(TEST_ROUTES if services.rehearsal else ())):
        _add(app, route)
    _add_docs(app)
    _add_help(app)
    if pages:
        pages(app)
    inner: ASGIApp = uploads.Resumable(_limited(app, limits))
    if services.rehearsal:
        inner = faults.Faulty(inner, services.rehearsal.faults)
    policies = {"docs": docs_policy(_hash_of(_DOCS_SCRIPT)), "help": manual.POLICY}

    def note(entry: AuditEntry, hurry: bool) -> Callable[[], None]:
        services_now: Services = app.state.services
        return services_now.note(entry, hurry)

    def observe(seen: Observation) -> None:
        services_now: Services = app.state.services
        services_now.observe(seen)

    return Application(NormalPaths(Noting(Guard(inner, policies), note, observe)), app)


def _limited(app: FastAPI, limits: RequestLimits) -> FewUploads:
    small = SmallRequests(
        app, max_bytes=limits.json_bytes, max_depth=limits.json_depth, except_for=_brings_bytes
    )
    return FewUploads(small, most=limits.uploads, of=_brings_bytes)


def _brings_bytes(scope: Scope) -> bool:
    """Whether the request brings a chunk, or a part of one."""
    path: str = scope["path"]
    return path.endswith(_CHUNK_PATHS) or (
        scope["method"] in ("POST", "PATCH") and uploads.is_of_uploads(path)
    )


def _hash_of(script: str) -> str:
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _add(app: FastAPI, route: Endpoint) -> None:
    silent = route.needs == OPEN and not route.changes  # nothing to ask, nothing to note
    told = TOLD[route.handler]
    app.add_api_route(
        route.path,
        _rendering(route.handler),
        methods=[route.method],
        tags=[route.tag],
        operation_id=_operation_id(route),
        status_code=told.status,
        response_model=None,
        response_class=JSONResponse if told.answer is not None else Response,
        responses=responses(route.handler, route.path, route.method, has_key=route.needs != OPEN),
        dependencies=[*([] if silent else [Depends(guard(route))]), *_ALSO.get(route.handler, ())],
        openapi_extra=_BODIES.get(route.handler),
    )


def _operation_id(route: Endpoint) -> str:
    """One handler may serve several paths; the first of them has its name."""
    first = next(r for r in (*ROUTES, *TEST_ROUTES) if r.handler is route.handler)
    name = operation_id(route.handler)
    return name if first is route else f"{name}.{route.path.rpartition('/')[2]}"


def _rendering(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler with its answer made JSON in its own thread; the framework would walk through all of it."""
    if iscoroutinefunction(handler):
        return handler

    @wraps(handler)
    def rendered(*args: Any, **kwargs: Any) -> Response:
        answer = handler(*args, **kwargs)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    return rendered


def _add_docs(app: FastAPI) -> None:
    """The API's description and its pages, shipped with the server: nothing comes from another host."""
    page = _DOCS_PAGE.format(title=app.title, script=_DOCS_SCRIPT)

    def docs() -> HTMLResponse:
        return HTMLResponse(page)

    def asset(name: str) -> FileResponse:
        if name not in ("swagger-ui.css", "swagger-ui-bundle.js"):
            raise NotFound
        return FileResponse(Path(swagger_ui_path) / name)

    def openapi() -> dict[str, Any]:
        return describe(app, open_paths=[route.path for route in ROUTES if route.needs == OPEN])

    for path, handler in (("/docs", docs), ("/docs/{name:part}", asset), ("/openapi.json", openapi)):
        rule = guard(Endpoint("GET", path, handler, ANY, "docs"), by_header_or_basic)
        app.add_api_route(
            path, handler, include_in_schema=False, dependencies=[Depends(rule)], response_model=None
        )


def _add_help(app: FastAPI) -> None:
    index, file = manual.pages(manual.FOLDER)
    for path, handler in (("/help", index), ("/help/{path:path}", file)):
        rule = guard(Endpoint("GET", path, handler, OPEN, "docs"))
        app.add_api_route(
            path, handler, include_in_schema=False, dependencies=[Depends(rule)], response_model=None
        )


_DOCS_SCRIPT = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", validatorUrl: null})'

_DOCS_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}: the API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body></html>
"""
