"""Handlers of what comes after an execute: call it off, run it again, take it back."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi.responses import JSONResponse

from headrace.model import JobStatus, Undoing, UndoneTable
from headrace.retries import changing
from headrace.web import wire
from headrace.web.api import whole_job
from headrace.web.context import Asking, IdempotencyKey, Services, Use

TAKING_BACK = CapacityLimiter(4)
"""These wait for loads, in threads of their own number: they must not stand in the way of a push."""


async def cancel_job(pool_id: str, job_id: str, use: Use) -> JSONResponse:
    """Call off a job that waits or runs: it is in ERROR then; 202 while it still runs."""
    cancelled = partial(_cancelled, use, pool_id, job_id)
    return await to_thread.run_sync(cancelled, limiter=TAKING_BACK)


def _cancelled(use: Services, pool_id: str, job_id: str) -> JSONResponse:
    job = use.cancels.cancel(pool_id, job_id)
    return JSONResponse(whole_job(use, job), status_code=200 if job.status is JobStatus.ERROR else 202)


def retry_job(
    pool_id: str, job_id: str, use: Use, key: Asking, sent: wire.Changes | None = None
) -> JSONResponse:
    """Run a job in ERROR again, once, with its chunks and other options if need be: the new one is QUEUED."""
    job = use.retries.retry(pool_id, job_id, changing(wire.to_changes(sent)), key)
    return JSONResponse(whole_job(use, job), status_code=201)


def clone_job(
    pool_id: str, job_id: str, use: Use, key: Asking, sent: wire.Changes | None = None
) -> JSONResponse:
    """A NEW job like this one, with other options if need be, and without chunks."""
    job = use.retries.clone(pool_id, job_id, changing(wire.to_changes(sent)), key)
    return JSONResponse(whole_job(use, job), status_code=201)


async def undo_job(
    pool_id: str, job_id: str, use: Use, dryRun: bool = False, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Take back what the last job of its tables did; with ``dryRun`` say what that would do."""
    undos = use.undos
    act = partial(undos.preview, pool_id, job_id)
    if not dryRun:
        act = partial(undos.undo, pool_id, job_id, idempotency_key)
    return JSONResponse(_undoing(await to_thread.run_sync(act, limiter=TAKING_BACK)))


def _undoing(undoing: Undoing) -> dict[str, Any]:
    return {
        "job": undoing.job_id,
        "at": undoing.at.isoformat(),
        "tables": [_table(table) for table in undoing.tables],
    }


def _table(table: UndoneTable) -> dict[str, Any]:
    return {
        "name": table.ref.name,
        "connection": table.ref.connection_id,
        "change": "dropped" if table.dropped else "restored",
        "removed": table.removed,
        "restored": table.restored,
        "rows": table.rows,
    }
