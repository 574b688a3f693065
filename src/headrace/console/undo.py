"""Taking a job back: first what that would do, then, if a person says so, the same."""

from __future__ import annotations

from dataclasses import dataclass

from anyio import to_thread
from fastapi import Response

from headrace.console.job import path_of
from headrace.console.rendering import see
from headrace.model import Job, Undoing
from headrace.web.context import Services, Use
from headrace.web.ends import TAKING_BACK


@dataclass(frozen=True)
class UndoPage:
    job: Job
    path: str
    undoing: Undoing


async def preview_undo(pool_id: str, job_id: str, use: Use) -> UndoPage:
    """What undoing would do now. That it cannot be done is a page, too."""
    return await to_thread.run_sync(_preview, use, pool_id, job_id, limiter=TAKING_BACK)


def _preview(use: Services, pool_id: str, job_id: str) -> UndoPage:
    undoing = use.undos.preview(pool_id, job_id)
    job = use.pushes.ledger_entry(pool_id, job_id)
    return UndoPage(job, path_of(job), undoing)


async def undo_job(pool_id: str, job_id: str, use: Use) -> Response:
    """The page of the job says that it is undone."""
    return await to_thread.run_sync(_undo, use, pool_id, job_id, limiter=TAKING_BACK)


def _undo(use: Services, pool_id: str, job_id: str) -> Response:
    use.undos.undo(pool_id, job_id)
    return see(path_of(use.pushes.ledger_entry(pool_id, job_id)))
