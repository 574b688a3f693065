"""Handlers of the vendor's API. They translate: parse, call one function, render."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from headrace.errors import InvalidRequest
from headrace.model import CHANGE_DATE, ChunkType, Permission, fold
from headrace.pushes import Arrival
from headrace.web import jobs, wire
from headrace.web.context import Asking, Use, the_services
from headrace.web.multipart import body_of

# -- push jobs -----------------------------------------------------------------------------------------


def create_job(pool_id: str, sent: wire.DataPushJob, use: Use, key: Asking) -> dict[str, Any]:
    return wire.job(use.pushes.create(pool_id, wire.to_spec(sent), key))


def list_jobs(pool_id: str, use: Use) -> list[dict[str, Any]]:
    return [wire.job(job) for job in use.pushes.jobs(pool_id)]


def get_job(pool_id: str, job_id: str, use: Use) -> dict[str, Any]:
    return wire.job(use.pushes.get(pool_id, job_id))


async def execute_job(
    pool_id: str,
    job_id: str,
    use: Use,
    duplicateRemovalColumn: str | None = Query(None),
    dryRun: bool = Query(False, description="ours: say what it would do, and do nothing"),
) -> Response:
    if dryRun:
        return await jobs.preview(use, pool_id, job_id, duplicateRemovalColumn)
    await run_in_threadpool(use.pushes.execute, pool_id, job_id, duplicateRemovalColumn)
    return Response()


def delete_job(pool_id: str, job_id: str, use: Use) -> Response:
    use.pushes.delete(pool_id, job_id)
    return Response()


def list_chunks(pool_id: str, job_id: str, use: Use) -> list[dict[str, Any]]:
    return [wire.chunk(chunk) for chunk in use.pushes.chunk_list(pool_id, job_id)]


async def push_upserted(pool_id: str, job_id: str, request: Request) -> Response:
    await _receive(pool_id, job_id, ChunkType.UPSERT, request)
    return Response()


async def push_deleted(pool_id: str, job_id: str, request: Request) -> Response:
    await _receive(pool_id, job_id, ChunkType.DELETE, request)
    return Response()


async def _receive(pool_id: str, job_id: str, type: ChunkType, request: Request) -> None:
    """The one streaming edge: what arrives is written at once, in this thread; all else runs beside it."""
    pushes = the_services(request).pushes
    length = request.headers.get("content-length")
    arrival = await run_in_threadpool(
        pushes.begin_chunk, pool_id, job_id, type, int(length) if length else None
    )
    try:
        says_csv = await _read_body(request, arrival)
    except BaseException:
        await run_in_threadpool(arrival.incoming.discard)
        raise
    await run_in_threadpool(partial(pushes.add_chunk, arrival, said_to_be_csv=says_csv))


async def _read_body(request: Request, arrival: Arrival) -> bool:
    """Answers whether the client calls the chunk CSV."""
    body = body_of(request.headers.get("content-type", ""), arrival.write)
    try:
        async for data in request.stream():
            body.feed(data)
    except ClientDisconnect as error:
        raise InvalidRequest("The client went away in the middle of the chunk.") from error
    body.end()
    return body.says_csv


# -- what clients call around a push -------------------------------------------------------------------


def cloud(key: Asking) -> dict[str, Any]:
    return {"id": key.id, "name": key.name, "email": None, "teamDomain": "headrace"}


def permissions(key: Asking) -> list[dict[str, Any]]:
    granted = {
        Permission.PUSH: ["USE_DATA_PUSH_API", "EDIT_ALL_DATA_POOLS"],
        Permission.READ: ["VIEW_ALL_DATA_POOLS"],
        Permission.ADMIN: ["CREATE_DATA_POOL", "EDIT_ALL_DATA_POOLS", "USE_DATA_PUSH_API"],
    }
    words = sorted({word for permission in key.permissions for word in granted[permission]})
    return [{"serviceName": "event-collection", "permissions": words}]


def team() -> dict[str, Any]:
    return {
        "id": "headrace",
        "name": "Headrace",
        "domain": "headrace",
        "trackingEnabled": False,
        "unlimitedDataPushJobSubmissions": True,
    }


def list_pools(
    use: Use, key: Asking, poolIds: Annotated[list[str] | None, Query()] = None
) -> list[dict[str, Any]]:
    return [wire.pool(p) for p in use.pools.list(key) if not poolIds or p.id in poolIds]


def paged_pools(
    use: Use, key: Asking, limit: int = Query(100, ge=1, le=1000), page: int = Query(0, ge=0)
) -> dict[str, Any]:
    pools = use.pools.list(key)
    content = pools[page * limit : (page + 1) * limit]
    return {"pageNumber": page, "totalCount": len(pools), "content": [wire.pool(p) for p in content]}


def create_pool(sent: wire.DataPool, use: Use) -> dict[str, Any]:
    return wire.pool(use.pools.create(sent.name or "", sent.id, wire.attributes(sent)))


def get_pool(pool_id: str, use: Use) -> dict[str, Any]:
    return wire.pool(use.pools.get(pool_id))


def update_pool(pool_id: str, sent: wire.DataPool, use: Use) -> dict[str, Any]:
    return wire.pool(use.pools.update(pool_id, sent.name, wire.attributes(sent)))


def delete_pool(pool_id: str, use: Use) -> Response:
    use.pools.delete(pool_id)
    return Response()


def list_connections(pool_id: str, use: Use) -> list[dict[str, Any]]:
    return [wire.connection(c) for c in use.pools.connections(pool_id)]


def create_connection(pool_id: str, sent: wire.DataSource, use: Use) -> dict[str, Any]:
    return wire.connection(use.pools.add_connection(pool_id, sent.name or "", sent.id, wire.attributes(sent)))


def get_connection(pool_id: str, connection_id: str, use: Use) -> dict[str, Any]:
    return wire.connection(use.pools.connection(pool_id, connection_id))


def delete_connection(pool_id: str, connection_id: str, use: Use) -> Response:
    use.pools.delete_connection(pool_id, connection_id)
    return Response()


def search_tables(pool_id: str, connection_id: str, use: Use, searchString: str = "") -> dict[str, Any]:
    use.pools.connection(pool_id, connection_id)
    schema = wire.schema_name(pool_id, connection_id)
    found = [
        {"dataSourceId": connection_id, "name": t.ref.name, "alias": None, "schema": schema}
        for t in use.pools.all_tables(pool_id)
        if t.ref.connection_id == connection_id and fold(searchString) in fold(t.ref.name)
    ]
    return {"availableTables": found, "lookupSuccessful": True, "message": None}


def list_tables(pool_id: str, use: Use) -> list[dict[str, Any]]:
    names = {c.id: c.name for c in use.pools.connections(pool_id)}
    return [
        wire.table(pool_id, t.ref, names.get(t.ref.connection_id or ""))
        for t in use.pools.all_tables(pool_id)
    ]


def list_columns(
    pool_id: str,
    use: Use,
    tableName: str,
    schemaName: str | None = None,
) -> list[dict[str, Any]]:
    """``schemaName`` carries the id of the data connection; it is missing for global tables."""
    connection = (schemaName or "").removeprefix(f"{pool_id}_")
    table = use.pools.find_table(pool_id, tableName, connection if connection not in ("", pool_id) else None)
    return wire.columns(table, CHANGE_DATE)


def nothing(pool_id: str, use: Use) -> list[object]:
    """What a pool of the original may have and a pool of Headrace never has, for clients that must look."""
    use.pools.get(pool_id)
    return []
