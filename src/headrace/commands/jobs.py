"""``headrace jobs``: what was pushed, what became of it, and how it is called off, run again, taken back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.commands import dialect
from headrace.commands.asking import PoolName, ProfileName, confirmed
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.ending import Code, Stop, rejected, rejects_of, warn
from headrace.commands.output import Format, Output, plain, show, show_one

if TYPE_CHECKING:
    from headrace.client import Pool

app = typer.Typer(help="Push jobs: list, look at, follow, cancel, retry, undo.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="the id of a job, as 'jobs ls' shows it")]

_TAKEN_BACK = ("name", "connection", "change", "removed", "restored", "rows")
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


@app.command()
def cancel(
    job: JobId, pool: PoolName = None, profile: ProfileName = None, output: Output = Format.TABLE
) -> None:
    """Call off a job that waits or runs, before its commit. The exit code is 0 if that came in time."""
    with chosen_pool(profile, pool) as there:
        found = there.cancel(job)
        if found["status"] != "ERROR":
            found = followed(there, job)
    show_one(found if output is Format.JSON else _told(found), output)
    if found["errorCode"] != "cancelled":
        raise Stop(f"the job had ended already: {found['errorCode'] or found['status']}.")


@app.command()
def retry(
    job: JobId,
    pool: PoolName = None,
    separator: dialect.Separator = None,
    quote: dialect.Quote = None,
    charset: dialect.Charset = None,
    decimal: dialect.Decimal = None,
    thousands: dialect.Thousands = None,
    date_format: dialect.DateFormat = None,
    type: dialect.ColumnTypes = None,
    allow_rejects: dialect.AllowRejects = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="until the new job has ended")] = True,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Run a job in ERROR again, once, with the chunks that it has sent; what is not said stays as it was."""
    options = dialect.csv_options(
        separator=separator,
        quote=quote,
        charset=charset,
        decimal=decimal,
        thousands=thousands,
        date_format=date_format,
    )
    with chosen_pool(profile, pool) as there:
        columns = dialect.corrected(there.job(job)["tableSchema"], type) if type else None
        changes = dialect.given(csvParsingOptions=options, tableSchema=columns, maxRejectedRows=allow_rejects)
        found = there.retry(job, **changes)
        if wait:
            found = followed(there, found["id"])
    show_one(found if output is Format.JSON else _told(found), output)
    end_as(found)


@app.command()
def undo(
    job: JobId,
    pool: PoolName = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would happen, change nothing")] = False,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Take back what the last job of its tables did: they become what they were before it."""
    with chosen_pool(profile, pool) as there:
        if not dry_run:
            if not yes:
                _say_before(there.undo(job, preview=True))
            confirmed("Undo this job?", yes=yes)
        found = there.undo(job, preview=dry_run)
    if output is Format.JSON:
        show_one(found, output)
    else:
        show(found["tables"], _TAKEN_BACK, output)


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


def _say_before(undoing: dict[str, Any]) -> None:
    """What a person should know before they say yes, on stderr as the question is."""
    for table in undoing["tables"]:
        name, removed, restored = table["name"], table["removed"], table["restored"]
        if table["change"] == "dropped":
            warn(f"the table {name} would go, with its {removed} rows; this job made it.")
        else:
            warn(f"{name}: {removed} rows would go, {restored} come back; then it has {table['rows']}.")


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
        "retried by": job["retriedBy"],
        "may be retried until": job["retryUntil"],
        "undone": job["undoneAt"],
        "logs": job["logs"],
    }
