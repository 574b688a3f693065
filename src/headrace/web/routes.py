"""Every route of the server, in one list, each with the permission it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from swagger_ui_bundle import swagger_ui_path

from headrace import __version__
from headrace.errors import NotFound
from headrace.model import Permission
from headrace.web import api, errors, jobs, vendor
from headrace.web.context import Services, needs
from headrace.web.limits import SmallRequests
from headrace.web.paths import NormalPaths

PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN
OPEN = "open"
"""No key: only what tells whether the server lives."""

ANY = "any key"


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    handler: Callable[..., Any]
    needs: Permission | str
    tag: str


_JOBS = "/integration/api/v1/data-push/{pool_id:part}/jobs"
_POOLS = "/integration/api/pools"
_OURS = "/api/v1"
_OUR_JOBS = _OURS + "/pools/{pool_id:part}/jobs"
_TABLE = _OURS + "/pools/{pool_id:part}/tables/{name:part}"

ROUTES = (
    Endpoint("POST", _JOBS, vendor.create_job, PUSH, "data push"),
    Endpoint("GET", _JOBS, vendor.list_jobs, READ, "data push"),
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
    Endpoint("GET", _POOLS + "/{pool_id:part}", vendor.get_pool, READ, "around a push"),
    Endpoint("PUT", _POOLS + "/{pool_id:part}", vendor.update_pool, ADMIN, "around a push"),
    Endpoint("DELETE", _POOLS + "/{pool_id:part}", vendor.delete_pool, ADMIN, "around a push"),
    Endpoint("GET", _POOLS + "/{pool_id:part}/data-sources", vendor.list_connections, READ, "around a push"),
    Endpoint(
        "POST", _POOLS + "/{pool_id:part}/data-sources", vendor.create_connection, ADMIN, "around a push"
    ),
    Endpoint(
        "GET",
        _POOLS + "/{pool_id:part}/data-sources/{connection_id:part}",
        vendor.get_connection,
        READ,
        "around a push",
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
    ),
    Endpoint("GET", _POOLS + "/{pool_id:part}/tables", vendor.list_tables, READ, "around a push"),
    Endpoint("GET", _POOLS + "/{pool_id:part}/columns", vendor.list_columns, READ, "around a push"),
    Endpoint("GET", _POOLS + "/{pool_id:part}/data-models", vendor.nothing, READ, "around a push"),
    Endpoint("GET", _POOLS + "/{pool_id:part}/jobs", vendor.nothing, READ, "around a push"),
    Endpoint("GET", _POOLS + "/{pool_id:part}/variables", vendor.nothing, READ, "around a push"),
    Endpoint("GET", _OUR_JOBS, api.list_jobs, READ, "headrace"),
    Endpoint("POST", _OUR_JOBS, jobs.create_job, PUSH, "headrace"),
    Endpoint("GET", _OUR_JOBS + "/{job_id:part}", api.get_job, READ, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/execute", jobs.execute_job, PUSH, "headrace"),
    Endpoint("GET", _OUR_JOBS + "/{job_id:part}/rejects", jobs.get_rejects, READ, "headrace"),
    Endpoint("POST", _OUR_JOBS + "/{job_id:part}/rejects/replay", jobs.replay_rejects, PUSH, "headrace"),
    Endpoint("POST", _OURS + "/pools/{pool_id:part}/sql", api.run_query, READ, "headrace"),
    Endpoint("GET", _OURS + "/pools/{pool_id:part}/tables", api.list_tables, READ, "headrace"),
    Endpoint("GET", _TABLE, api.get_table, READ, "headrace"),
    Endpoint("GET", _TABLE + "/export", api.export_table, READ, "headrace"),
    Endpoint("GET", _OURS + "/keys", api.list_keys, ADMIN, "headrace"),
    Endpoint("POST", _OURS + "/keys", api.create_key, ADMIN, "headrace"),
    Endpoint("DELETE", _OURS + "/keys/{key_id:part}", api.revoke_key, ADMIN, "headrace"),
    Endpoint("GET", "/healthz", api.healthz, OPEN, "health"),
    Endpoint("GET", "/readyz", api.readyz, OPEN, "health"),
)

_UPLOADS = (vendor.push_upserted, vendor.push_deleted)
_UPLOAD_PATHS = ("/chunks/upserted", "/chunks/deleted")

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
            "text/csv": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class Part(Convertor[str]):
    """One segment of a path; a slash in it came encoded (table names have them)."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return value.replace("%", "%25").replace("/", "%2F")


def application(services: Services, *, max_json_bytes: int) -> Any:
    """The ASGI application: a value, made from the services it may call."""
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
    for route in ROUTES:
        _add(app, route)
    _add_docs(app)
    return NormalPaths(SmallRequests(app, max_bytes=max_json_bytes, except_for=_UPLOAD_PATHS))


def _add(app: FastAPI, route: Endpoint) -> None:
    permission = route.needs if isinstance(route.needs, Permission) else None
    app.add_api_route(
        route.path,
        _rendering(route.handler),
        methods=[route.method],
        tags=[route.tag],
        response_model=None,
        dependencies=[] if route.needs == OPEN else [Depends(needs(permission))],
        openapi_extra=_CHUNK_BODY if route.handler in _UPLOADS else None,
    )


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
    page = _DOCS_PAGE.format(title=app.title)
    rule = [Depends(needs(None, basic=True))]

    def docs() -> HTMLResponse:
        return HTMLResponse(page)

    def asset(name: str) -> FileResponse:
        if name not in ("swagger-ui.css", "swagger-ui-bundle.js"):
            raise NotFound
        return FileResponse(Path(swagger_ui_path) / name)

    def openapi() -> dict[str, Any]:
        return app.openapi()

    for path, handler in (("/docs", docs), ("/docs/{name:part}", asset), ("/openapi.json", openapi)):
        app.add_api_route(path, handler, include_in_schema=False, dependencies=rule, response_model=None)


_DOCS_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}: the API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "/openapi.json", dom_id: "#ui", validatorUrl: null}})</script>
</body></html>
"""
