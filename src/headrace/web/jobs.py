"""Handlers of our own API around a push: create, try, execute, and what becomes of bad rows."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from headrace.rejected import ToldReject
from headrace.tables import TableDiff
from headrace.telling import ColumnChange, Outlook, column_changes
from headrace.web import wire
from headrace.web.api import shown_counts, shown_cuts, shown_reasons, whole_job
from headrace.web.context import Asking, IdempotencyKey, Offset, Services, Use
from headrace.web.noting import Note

TRYING = CapacityLimiter(2)
"""Dry runs wait in threads of their own number: they must not stand in the way of a push."""

_LINES_A_BLOCK = 500
_LONGEST_RAW = 2000
_USUAL_PAGE = 1000


class RejectFormat(StrEnum):
    JSON = "json"
    CSV = "csv"


def create_job(
    pool_id: str,
    sent: wire.DataPushJob,
    use: Use,
    key: Asking,
    note: Note,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """A NEW job."""
    job = use.pushes.create(pool_id, wire.to_spec(sent), key, idempotency_key)
    note.job_id = job.id
    return JSONResponse(whole_job(use, job), status_code=201)


async def execute_job(
    pool_id: str,
    job_id: str,
    use: Use,
    duplicateRemovalColumn: str | None = None,
    dryRun: bool = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue the job; or, with ``dryRun``, say what that would do, while it stays NEW."""
    if dryRun:
        return await preview(use, pool_id, job_id, duplicateRemovalColumn)
    return await run_in_threadpool(_executed, use, pool_id, job_id, duplicateRemovalColumn, idempotency_key)


def _executed(use: Services, pool_id: str, job_id: str, order: str | None, key: str | None) -> Response:
    use.pushes.execute(pool_id, job_id, order, key)
    return JSONResponse(whole_job(use, use.pushes.ledger_entry(pool_id, job_id)), status_code=202)


async def preview(use: Services, pool_id: str, job_id: str, order_column: str | None) -> Response:
    foresee = partial(use.pushes.preview, pool_id, job_id, order_column)
    return JSONResponse(_outlook(await to_thread.run_sync(foresee, limiter=TRYING)))


def get_rejects(
    pool_id: str,
    job_id: str,
    use: Use,
    format: RejectFormat = RejectFormat.JSON,
    limit: int | None = Query(None, ge=1, le=100_000),
    offset: Offset = 0,
    raw: str | None = Query(None, pattern="^full$", description="full: each row whole, however long"),
) -> Response:
    """The rows that could not be stored, by chunk and line; as CSV all of them unless there is a limit."""
    if format is RejectFormat.CSV:
        lines = use.pushes.rejects_as_csv(pool_id, job_id, limit=limit, offset=offset)
        name = {"Content-Disposition": f'attachment; filename="rejects-{job_id}.csv"'}
        return StreamingResponse(_blocks(lines), media_type="text/csv; charset=utf-8", headers=name)
    found = use.pushes.rejects_of(pool_id, job_id, limit=limit or _USUAL_PAGE, offset=offset)
    longest = None if raw else _LONGEST_RAW
    return JSONResponse([_reject(told, longest) for told in found])


def _blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Many lines at once: each block is handed from thread to thread."""
    while block := b"".join(islice(lines, _LINES_A_BLOCK)):
        yield block


def replay_rejects(
    pool_id: str, job_id: str, use: Use, key: Asking, sent: wire.Replay | None = None
) -> JSONResponse:
    """Send the rejects of a DONE job again, once, as a job of their own: it is QUEUED."""
    job = use.replays.replay(
        pool_id, job_id, wire.to_corrections(sent or wire.Replay.model_validate({})), key
    )
    return JSONResponse(whole_job(use, job), status_code=201)


def _reject(told: ToldReject, longest: int | None) -> dict[str, Any]:
    reject = told.reject
    return {
        "chunk": told.chunk.number,
        "line": reject.line,
        "byteOffset": reject.byte_offset,
        "column": reject.column,
        "value": reject.value,
        "expected": reject.expected,
        "code": reject.code,
        "message": told.message,
        "marked": told.marked,
        "hint": told.hint,
        "raw": reject.raw and reject.raw[:longest],
    }


def _outlook(outlook: Outlook) -> dict[str, Any]:
    return {
        "status": outlook.status,
        "errorCode": outlook.error_code,
        "counts": shown_counts(outlook.counts),
        "tables": [_table(diff, outlook) for diff in outlook.tables],
        "cuts": shown_cuts(outlook.cuts),
        "rejectsBy": shown_reasons(outlook.rejected_by),
        "logs": list(outlook.logs),
    }


def _table(diff: TableDiff, outlook: Outlook) -> dict[str, Any]:
    return {
        "name": diff.ref.name,
        "connection": diff.ref.connection_id,
        "change": diff.change,
        "columns": [_column(change) for change in column_changes(diff, outlook.columns)],
    }


def _column(change: ColumnChange) -> dict[str, Any]:
    return {
        "name": change.column.name,
        "type": str(change.column.type),
        "length": change.column.length,
        "change": change.change,
        "was": str(change.before.type) if change.before else None,
    }
