"""``headrace jobs``: what was pushed, and what became of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.commands.asking import PoolName, ProfileName
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.ending import Code, Stop, rejected, rejects_of
from headrace.commands.output import Format, Output, plain, show, show_one

if TYPE_CHECKING:
    from headrace.client import Pool

app = typer.Typer(help="Push jobs: list, look at, follow.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="the id of a job, as 'jobs ls' shows it")]

_COLUMNS = ("id", "table", "type", "status", "rows", "rejected", "finished", "error")


@app.command("ls")
def ls(
    pool: PoolName = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="so many, the newest first")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="pass over so many")] = 0,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """The jobs of a pool, newest first."""
    with chosen_pool(profile, pool) as there:
        found = there.jobs(limit=limit, offset=offset)
    show(found if output is Format.JSON else map(_line, found), _COLUMNS, output)


@app.command("show")
def show_(
    job: JobId, pool: PoolName = None, profile: ProfileName = None, output: Output = Format.TABLE
) -> None:
    """One job: its counts, phases and problems."""
    with chosen_pool(profile, pool) as there:
        found = there.job(job)
    show_one(found if output is Format.JSON else _told(found), output)


@app.command()
def logs(job: JobId, pool: PoolName = None, profile: ProfileName = None) -> None:
    """What a job has to say, line by line."""
    with chosen_pool(profile, pool) as there:
        lines = there.job(job)["logs"]
    for line in lines:
        print(plain(line))


@app.command()
def watch(
    job: JobId, pool: PoolName = None, profile: ProfileName = None, output: Output = Format.TABLE
) -> None:
    """Follow a job until it has ended. The exit code is 0 if it is DONE, 3 with rejects, 1 in ERROR."""
    with chosen_pool(profile, pool) as there:
        found = followed(there, job)
    show_one(found if output is Format.JSON else _told(found), output)
    end_as(found)


# -- what ends ------------------------------------------------------------------------------------------


def followed(there: Pool, job_id: str) -> dict[str, Any]:
    """The job at its end; meanwhile each state that it is seen in stands on stderr, once."""
    seen = None
    for job in there.watch(job_id):
        if job["status"] != seen:
            print(f"{job['status']}", file=sys.stderr, flush=True)
            seen = job["status"]
    return job


def end_as(job: dict[str, Any]) -> None:
    """The exit code of a job that has ended."""
    if job["status"] == "ERROR":
        first = "\n".join(f"  {line}" for line in job["logs"])
        then = rejects_of(job["id"]) if job["rejectsBy"] else None
        raise Stop(f"the job ended in ERROR ({job['errorCode']}):\n{first}", code=Code.FAILED, then=then)
    if rows := (job["counts"] or {}).get("rejected", 0):
        rejected(job["id"], rows)


# -- how it is shown ------------------------------------------------------------------------------------


def _line(job: dict[str, Any]) -> dict[str, Any]:
    counts = job["counts"] or {}
    return {
        "id": job["id"],
        "table": job["targetName"],
        "type": job["type"],
        "status": "deleted" if job["deletedAt"] and job["status"] == "NEW" else job["status"],
        "rows": counts.get("rowsIn"),
        "rejected": counts.get("rejected"),
        "finished": job["finishedAt"],
        "error": job["errorCode"],
    }


def _told(job: dict[str, Any]) -> dict[str, Any]:
    return {
        **_line(job),
        "keys": job["keys"],
        "created": job["createdAt"],
        "chunks": len(job["chunks"]),
        **(job["counts"] or {}),
        "milliseconds": job["phases"],
        "rejects by reason": [
            f"{r['rows']} {r['code']} {r['column'] or ''}".strip() for r in job["rejectsBy"]
        ],
        "cut": [f"{c['rows']} of {c['column']} to {c['length']}" for c in job["cuts"]],
        "replayed by": job["replayedBy"],
        "logs": job["logs"],
    }
