"""Handlers of our own API. They translate: parse, call one function, render."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import uuid4

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from headrace.errors import Draining, NotFound
from headrace.model import CHANGE_DATE, Chunk, ChunkType, Counts, Cut, Job, Key, RejectCount, Table, Version
from headrace.retention import Kind
from headrace.schemas import Planned
from headrace.tables import Answer, ExportFormat
from headrace.telling import cuts_of, rejected_by
from headrace.web import wire
from headrace.web.context import Asking, IdempotencyKey, Offset, Services, Use
from headrace.web.receiving import receive

MEDIA_TYPES = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.NDJSON: "application/x-ndjson",
    ExportFormat.ARROW: "application/vnd.apache.arrow.stream",
}

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

READING = CapacityLimiter(8)
"""Queries and exports wait in threads of their own number: they must not stand in the way of a push."""

UPKEEP = CapacityLimiter(1)
"""One pool after the other: it takes the disk and the memory of loads."""

_LOOK_AGAIN_S = 0.05

_QUERY_ID = "X-Query-Id"


class Query_(BaseModel):  # noqa: N801  the word is FastAPI's, too
    """One SELECT over the tables of the pool."""

    sql: str = Field(description='one SELECT; tables of a data connection are "<connectionId>"."<table>"')
    maxRows: int | None = Field(None, ge=1)
    timeoutSeconds: float | None = Field(None, gt=0)
    queryId: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]{1,64}$", description="a name of your own, to cancel the query by"
    )


# -- jobs ----------------------------------------------------------------------------------------------


def list_jobs(
    pool_id: str,
    use: Use,
    key: Asking,
    limit: int = Query(100, ge=1, le=1000),
    offset: Offset = 0,
) -> list[dict[str, Any]]:
    """All jobs of the pool ever, newest first; also those that clients have deleted."""
    return [shown_job(job, ()) for job in use.pushes.ledger(pool_id, key, limit=limit, offset=offset)]


def get_job(pool_id: str, job_id: str, use: Use) -> dict[str, Any]:
    """One job with its chunks, counts, phases and logs, and with its schema until it runs."""
    return whole_job(use, use.pushes.ledger_entry(pool_id, job_id))


def put_schema(pool_id: str, job_id: str, sent: wire.TableTransport, use: Use) -> dict[str, Any]:
    """Declare the columns of a NEW job anew; its chunks are staged again."""
    return whole_job(use, use.schemas.correct(pool_id, job_id, wire.declared(sent)))


def whole_job(use: Services, job: Job) -> dict[str, Any]:
    chunks = use.pushes.metadata.chunks.list(job.id)
    return {**shown_job(job, chunks), "schema": _schema(use.schemas.of(job, chunks))}


def _schema(planned: Sequence[Planned] | None) -> list[dict[str, Any]] | None:
    if planned is None:
        return None
    return [
        {"name": p.column.name, "type": str(p.column.type), "length": p.column.length, "source": p.source}
        for p in planned
    ]


async def push_chunk(
    pool_id: str,
    job_id: str,
    request: Request,
    type: Literal["upsert", "delete"] = "upsert",
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """A chunk of any kind that is known, multipart or the bytes as they are."""
    chunk = await receive(pool_id, job_id, ChunkType(type.upper()), request, idempotency_key)
    return JSONResponse(_chunk(chunk), status_code=201)


def shown_job(job: Job, chunks: Any) -> dict[str, Any]:
    return {
        **wire.job(job),
        "pool": job.pool_id,
        "status": job.status,
        "order": job.order_column,
        "counts": shown_counts(job.counts),
        "errorCode": job.error_code,
        "phases": _phases(job, chunks),
        "createdAt": _iso(job.created_at),
        "queuedAt": _iso(job.queued_at),
        "startedAt": _iso(job.started_at),
        "finishedAt": _iso(job.finished_at),
        "deletedAt": _iso(job.deleted_at),
        "changeDate": _iso(job.change_date),
        "maxRejectedRows": job.spec.max_rejected_rows,
        "maxRejectedShare": job.spec.max_rejected_share,
        "strictLengths": job.spec.strict_lengths,
        "cuts": shown_cuts(cuts_of(chunks)),
        "rejectsBy": shown_reasons(rejected_by(chunks)),
        "replayedBy": job.replayed_by,
        "retriedBy": job.retried_by,
        "retryUntil": _iso(job.chunks_until),
        "cancelAskedAt": _iso(job.cancel_asked_at),
        "undoneAt": _iso(job.undone_at),
        "chunks": [_chunk(chunk) for chunk in chunks],
    }


def _phases(job: Job, chunks: Any) -> dict[str, int]:
    """Milliseconds. Staging runs while the client is still sending; ``execute`` is what it waits for."""
    phases = {"staging": sum(c.staging_ms or 0 for c in chunks), **job.phases_ms}
    if job.finished_at and job.queued_at:
        phases["execute"] = round((job.finished_at - job.queued_at).total_seconds() * 1000)
    return phases


def shown_counts(counts: Counts | None) -> dict[str, int] | None:
    if counts is None:
        return None
    return {
        "rowsIn": counts.rows_in,
        "inserted": counts.inserted,
        "updated": counts.updated,
        "deleted": counts.deleted,
        "notFound": counts.not_found,
        "duplicates": counts.duplicates,
        "rejected": counts.rejected,
        "notLoaded": counts.not_loaded,
    }


def shown_cuts(cuts: Iterable[Cut]) -> list[dict[str, Any]]:
    return [{"column": c.column, "length": c.length, "rows": c.rows, "longest": c.longest} for c in cuts]


def shown_reasons(counts: Iterable[RejectCount]) -> list[dict[str, Any]]:
    return [{"code": c.code, "column": c.column, "rows": c.rows} for c in counts]


def _chunk(chunk: Chunk) -> dict[str, Any]:
    report = chunk.report
    return {
        "id": chunk.id,
        "number": chunk.number,
        "type": chunk.type,
        "fileType": chunk.file_type,
        "state": chunk.state,
        "bytes": chunk.bytes,
        "sha256": chunk.sha256,
        "receivedAt": _iso(chunk.received_at),
        "stagingMs": chunk.staging_ms,
        "rows": report.rows if report else None,
        "rejected": report.rejected if report else None,
        "cuts": shown_cuts(report.cuts) if report else None,
        "columns": [{"name": c.name, "type": str(c.type)} for c in report.columns] if report else None,
        "problem": chunk.problem,
    }


# -- tables --------------------------------------------------------------------------------------------


async def run_query(
    pool_id: str, sent: Query_, use: Use, key: Asking, request: Request, response: Response
) -> dict[str, Any]:
    """One SELECT. It ends when the client goes away, or when it is cancelled by its ``queryId``."""
    query_id = response.headers[_QUERY_ID] = sent.queryId or uuid4().hex
    return shown_answer(await answer_of(pool_id, sent, use, key, request, query_id))


async def answer_of(
    pool_id: str, sent: Query_, use: Services, key: Key, request: Request, query_id: str | None = None
) -> Answer:
    """The rows of a query that ends when its client goes away."""
    query_id = query_id or uuid4().hex
    query = partial(use.pools.query, pool_id, key, sent.sql, sent.maxRows, sent.timeoutSeconds, query_id)
    gone = asyncio.create_task(_when_gone(request, partial(use.pools.cancel_query, pool_id, query_id)))
    try:
        return await to_thread.run_sync(query, limiter=READING)
    finally:
        gone.cancel()


def shown_answer(answer: Answer) -> dict[str, Any]:
    return {
        "columns": [{"name": name, "type": type} for name, type in answer.columns],
        "rows": answer.rows,
        "truncated": answer.truncated,
        "milliseconds": answer.milliseconds,
    }


async def _when_gone(request: Request, cancel: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    while True:  # it may have to begin yet; when it has ended, who waits for it ends this
        with suppress(NotFound):
            await to_thread.run_sync(cancel)
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def cancel_query(pool_id: str, query_id: str, use: Use) -> Response:
    """The query answers its own request with 409, query-cancelled."""
    use.pools.cancel_query(pool_id, query_id)
    return Response(status_code=204)


def list_tables(pool_id: str, use: Use, key: Asking) -> list[dict[str, Any]]:
    return [_table(table) for table in use.pools.all_tables(pool_id, key)]


def get_table(pool_id: str, name: str, use: Use, connection: str | None = None) -> dict[str, Any]:
    """A table: columns, rows, versions. ``connection``: the data connection it belongs to, if any."""
    table, versions = use.pools.table(pool_id, name, connection)
    return {**_table(table), "rows": table.rows, "versions": [_version(v) for v in versions]}


async def maintain_pool(pool_id: str, use: Use) -> JSONResponse:
    """Look after every table of the pool now, as the server does by itself now and then."""
    tables = await to_thread.run_sync(use.pools.maintain, pool_id, limiter=UPKEEP)
    return JSONResponse([_table(table) for table in tables])


async def export_table(
    pool_id: str,
    name: str,
    use: Use,
    connection: str | None = None,
    format: ExportFormat = ExportFormat.CSV,
) -> StreamingResponse:
    """The whole table as a file, streamed."""
    begin = partial(use.pools.export, pool_id, name, connection, format)
    rows = await to_thread.run_sync(begin, limiter=READING)
    first = await _next(rows)  # an error must show before the status is sent
    return StreamingResponse(_streamed(first, rows), media_type=MEDIA_TYPES[format])


async def _streamed(data: bytes, rest: Generator[bytes]) -> AsyncIterator[bytes]:
    try:
        while data:
            yield data
            data = await _next(rest)
    finally:
        with CancelScope(shield=True):  # a client that goes away must not leave the work running
            await to_thread.run_sync(rest.close, limiter=READING)


async def _next(rows: Generator[bytes]) -> bytes:
    return await to_thread.run_sync(next, rows, b"", limiter=READING)


def _table(table: Table) -> dict[str, Any]:
    columns = [{"name": c.name, "type": str(c.type), "length": c.length} for c in table.columns]
    return {
        "name": table.ref.name,
        "connection": table.ref.connection_id,
        "columns": [*columns, {"name": CHANGE_DATE, "type": "DATETIME", "length": None}],
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "at": _iso(version.at),
        "job": version.job_id,
        "change": version.changes,
        "undo": version.undo,
    }


# -- what is old ---------------------------------------------------------------------------------------


async def foresee_retention(use: Use) -> JSONResponse:
    """What is old enough to go now: how many of each kind."""
    return _gone(await to_thread.run_sync(use.retention.foreseen, limiter=UPKEEP))


async def run_retention(use: Use) -> JSONResponse:
    """Let go of it now, as the server does by itself every hour; how many of each kind went."""
    return _gone(await to_thread.run_sync(use.retention.sweep, limiter=UPKEEP))


def _gone(found: Mapping[Kind, int]) -> JSONResponse:
    return JSONResponse([{"kind": kind, "count": count} for kind, count in found.items()])


# -- health --------------------------------------------------------------------------------------------


async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


def readyz(use: Use) -> dict[str, Any]:
    """It can work: the metadata answer and it is not going down; and what the system does to hold SQL in."""
    if not use.ready():
        raise Draining
    return {"status": "ready", "sqlConfinement": list(use.confinement)}


def metrics(use: Use) -> Response:
    """How the server does, for Prometheus: docs/metrics.md."""
    return Response(use.metrics(), media_type=METRICS_TYPE)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
