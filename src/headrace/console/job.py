"""One job: how far it is, what it did, what was asked, and what can be done with it.

``again.py`` has what runs it again, ``undo.py`` what takes it back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Annotated

from anyio import to_thread
from fastapi import Form, Request, Response
from fastapi.responses import JSONResponse

from headrace.console.charts import Phase, timeline
from headrace.console.jobs import names_of_keys
from headrace.console.rendering import see
from headrace.console.sessions import ROOT
from headrace.console.showing import segment
from headrace.model import Chunk, ChunkState, ChunkType, Job, JobStatus, Permission
from headrace.permissions import effective
from headrace.retries import retryable
from headrace.schemas import Planned
from headrace.telling import rows_of
from headrace.web import wire
from headrace.web.context import Asking, Use
from headrace.web.ends import TAKING_BACK
from headrace.web.receiving import receive


@dataclass(frozen=True)
class Action:
    """A button: what it says, where its form goes, and what is asked before; '' asks nothing.

    ``opens``: a page that asks, and not a form.
    """

    label: str
    path: str
    asks: str = ""
    strong: bool = False
    opens: bool = False


@dataclass(frozen=True)
class JobPage:
    job: Job
    chunks: Sequence[Chunk]
    who: str
    phases: Sequence[Phase]
    planned: Sequence[Planned] | None
    actions: Sequence[Action]
    takes_chunks: bool
    request: str
    curl: str

    @property
    def goes_on(self) -> bool:
        """Nothing more happens to a job that has ended."""
        return not self.job.status.final

    @property
    def bytes(self) -> int:
        return sum(chunk.bytes for chunk in self.chunks)

    @property
    def staged(self) -> int:
        return sum(chunk.bytes for chunk in self.chunks if chunk.state is ChunkState.STAGED)

    @property
    def rows(self) -> tuple[int, int]:
        """Good ones and rejects, as far as the chunks are staged."""
        return rows_of(self.chunks)


def get_job(pool_id: str, job_id: str, request: Request, use: Use, key: Asking) -> JobPage:
    job = use.pushes.ledger_entry(pool_id, job_id)
    chunks = use.pushes.ledger_chunks(pool_id, job_id)
    sent = json.dumps(wire.request(job.spec, pool_id), indent=2, ensure_ascii=False)
    pushes = Permission.PUSH in effective(key)
    return JobPage(
        job,
        chunks,
        names_of_keys(use, key).get(job.created_by or "", "–"),
        timeline(job),
        use.schemas.of(job, chunks),
        actions_of(job, chunks) if pushes else (),
        pushes and job.status is JobStatus.NEW and job.deleted_at is None,
        sent,
        _as_curl(f"{request.url.scheme}://{request.url.netloc}", job, sent),
    )


def actions_of(job: Job, chunks: Sequence[Chunk]) -> list[Action]:
    """What may be done with a job as it stands. One line for each button."""
    at, found = path_of(job), []
    if job.status is JobStatus.NEW and job.deleted_at is None:
        found += [Action("Execute", f"{at}/execute", strong=True)] if chunks else []
    if _cancellable(job):
        found.append(Action("Cancel", f"{at}/cancel", asks="Cancel this job? Nothing of it is loaded."))
    if retryable(job):
        found.append(Action("Retry", f"{at}/retry", strong=True))
    if job.status is JobStatus.DONE and not (job.undone_at or job.undo_began_at):
        found.append(Action("Undo", f"{at}/undo", opens=True))
    found.append(Action("Clone", f"{at}/clone", opens=True))
    if job.deleted_at is None:
        found.append(Action("Delete", f"{at}/delete", asks=_DELETING[job.status]))
    return found


def _cancellable(job: Job) -> bool:
    waits = job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    return waits and job.cancel_asked_at is None and job.deleted_at is None


_DELETING = {
    JobStatus.NEW: "Delete this job and its chunks?",
    JobStatus.QUEUED: "Delete this job before it runs?",
    JobStatus.RUNNING: "Hide this job from clients? It goes on.",
    JobStatus.DONE: "Hide this job from clients? Its rows stay.",
    JobStatus.ERROR: "Hide this job from clients? The chunks that it keeps go.",
}


def path_of(job: Job) -> str:
    return f"{ROOT}/pools/{segment(job.pool_id)}/jobs/{segment(job.id)}"


# -- what is done ------------------------------------------------------------------------------------


def execute_job(pool_id: str, job_id: str, use: Use, order: Annotated[str, Form()] = "") -> Response:
    use.pushes.execute(pool_id, job_id, order.strip() or None)
    return see(path_of(use.pushes.get(pool_id, job_id)))


def delete_job(pool_id: str, job_id: str, use: Use) -> Response:
    job = use.pushes.get(pool_id, job_id)
    use.pushes.delete(pool_id, job_id)
    return see(path_of(job))


async def cancel_job(pool_id: str, job_id: str, use: Use) -> Response:
    """The page of the job says how it ended, or goes on until it has."""
    job = await to_thread.run_sync(use.cancels.cancel, pool_id, job_id, limiter=TAKING_BACK)
    return see(path_of(job))


async def push_chunk(pool_id: str, job_id: str, request: Request) -> Response:
    """A file from the page, streamed as every chunk is."""
    chunk = await receive(pool_id, job_id, ChunkType.UPSERT, request, None)
    return JSONResponse({"number": chunk.number, "bytes": chunk.bytes}, status_code=201)


# -- as a command ------------------------------------------------------------------------------------


def _as_curl(url: str, job: Job, sent: str) -> str:
    """The same push from a shell: create, send, execute."""
    jobs = f"{url}/api/v1/pools/{job.pool_id}/jobs"
    auth = '-H "Authorization: AppKey $HEADRACE_KEY"'
    execute = (
        f"$job/execute?duplicateRemovalColumn={segment(job.order_column)}"
        if job.order_column
        else "$job/execute"
    )
    insecure = " -k" if url.startswith("https") else ""
    return "\n".join(
        (
            f"job=$(curl -sSf{insecure} {auth} -H 'Content-Type: application/json' {jobs} \\",
            f"  -d {quote(sent)} \\",
            "  | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"id\"])')",
            f"curl -sSf{insecure} {auth} {jobs}/$job/chunks -F file=@FILE",
            f'curl -sSf{insecure} {auth} -X POST "{jobs}/{execute}"',
        )
    )
