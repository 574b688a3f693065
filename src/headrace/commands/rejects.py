"""``headrace rejects``: rows that could not be stored, and how they get in after all."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from headrace.commands import dialect
from headrace.commands.asking import PoolName, ProfileName
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.jobs import JobId, end_as, followed
from headrace.commands.output import Format, Output, show, show_one
from headrace.commands.saving import save

app = typer.Typer(help="Rows that could not be stored.", no_args_is_help=True)

_COLUMNS = ("chunk", "line", "column", "value", "expected", "hint", "marked")


@app.command("show")
def show_(
    job: JobId,
    pool: PoolName = None,
    limit: Annotated[int, typer.Option(min=1, help="so many, the first ones")] = 100,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """The rejects of a job: where each is, what was found and expected, the likely fix."""
    with chosen_pool(profile, pool) as there:
        rows = list(islice(there.reject_rows(job, min(limit, 10_000)), limit))
    show(rows, _COLUMNS, output)


@app.command()
def download(
    job: JobId,
    pool: PoolName = None,
    to: Annotated[Path | None, typer.Option(help="file to write; default: standard output")] = None,
    profile: ProfileName = None,
) -> None:
    """All rejects of a job as a CSV to correct and push: their rows as they were sent, and the reasons."""
    with chosen_pool(profile, pool) as there:
        save(there.rejects_as_csv(job), to)


@app.command()
def replay(
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
    leave_unreadable: Annotated[
        bool, typer.Option("--leave-unreadable", help="leave rows behind that cannot be read even so")
    ] = False,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Send the rejects of a DONE job again, once, with corrected options, and wait until they are there."""
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
        corrections = dialect.given(
            csvParsingOptions=options,
            tableSchema=columns,
            maxRejectedRows=allow_rejects,
            leaveUnreadable=leave_unreadable or None,
        )
        ended = followed(there, there.replay(job, **corrections))
    told = {"job": ended["id"], "status": ended["status"], **(ended["counts"] or {})}
    show_one(ended if output is Format.JSON else told, output)
    end_as(ended)
