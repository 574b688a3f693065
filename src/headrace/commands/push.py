"""``headrace push``: files, or what comes from a pipe, into a table."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.commands import dialect
from headrace.commands.asking import Connection, PoolName, ProfileName
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.ending import Code, Stop, rejected, warn
from headrace.commands.output import Format, Output, plain, show, show_one

if TYPE_CHECKING:
    from headrace.client import Pool, Pushed

PATIENCE = 300.0


class Kind(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    NDJSON = "ndjson"
    ARROW = "arrow"


def push(
    files: Annotated[list[str], typer.Argument(help="paths or patterns; '-' is standard input")],
    table: Annotated[str, typer.Option(help="name of the table")],
    pool: PoolName = None,
    key: Annotated[list[str] | None, typer.Option(help="a key column; may be given several times")] = None,
    delta: Annotated[
        bool, typer.Option("--delta/--replace", help="update and add rows, or make the table anew")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="delete the rows with these keys")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would happen, change nothing")] = False,
    order_by: Annotated[
        str | None,
        typer.Option(help="of rows with one key the largest value here wins; default: the last row"),
    ] = None,
    connection: Connection = None,
    format: Annotated[Kind | None, typer.Option(help="kind of the files; default: by what they hold")] = None,
    separator: dialect.Separator = None,
    quote: dialect.Quote = None,
    charset: dialect.Charset = None,
    decimal: dialect.Decimal = None,
    thousands: dialect.Thousands = None,
    date_format: dialect.DateFormat = None,
    type: dialect.ColumnTypes = None,
    infer_types: Annotated[
        bool, typer.Option("--infer-types", help="guess the types of a CSV from all of its values")
    ] = False,
    allow_rejects: dialect.AllowRejects = None,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Push files to a table and wait until their rows are there.

    CSV, Parquet, NDJSON and Arrow, packed or not. An interrupted push goes on where it stopped, if the same
    command is given again.
    """
    if delete and not key:
        raise Stop("--delete needs the key columns: --key.", code=Code.USAGE)
    options = dialect.csv_options(
        separator=separator,
        quote=quote,
        charset=charset,
        decimal=decimal,
        thousands=thousands,
        date_format=date_format,
    )
    wanted = dialect.given(
        connectionId=connection,
        fileType=format.upper() if format else None,
        csvParsingOptions=options,
        tableSchema=dialect.schema(type, table),
        inferTypes=infer_types or None,
        maxRejectedRows=allow_rejects,
        order_by=order_by,
    )
    wanted |= {"table": table, "keys": key or [], "mode": "delta" if delta or delete else "replace"}
    with chosen_pool(profile, pool, PATIENCE) as there:
        data = _data(files)
        if dry_run:
            _show_outlook(there.dry_run(data, delete=delete, **wanted), output)
        else:
            _show_pushed(_pushed(there, data, wanted, delete=delete), output)


def _pushed(there: Pool, data: Any, wanted: dict[str, Any], *, delete: bool) -> Pushed:
    if not delete:
        return there.push(data, **wanted)
    return there.delete(
        data, **{name: value for name, value in wanted.items() if name not in ("mode", "order_by")}
    )


def _data(files: list[str]) -> Any:
    if "-" not in files:
        return files
    if len(files) > 1:
        raise Stop("standard input ('-') is pushed alone.", code=Code.USAGE)
    if sys.stdin.isatty():
        raise Stop("nothing comes from standard input.", code=Code.USAGE)
    return sys.stdin.buffer


def _show_pushed(done: Pushed, output: Format) -> None:
    for line in done.logs[:-1]:
        warn(line)
    if output is Format.TABLE:
        print(plain(done.logs[-1] if done.logs else f"{done.table}: done."))
        print(f"job {done.job_id}")
    else:
        answer = {"job": done.job_id, "table": done.table, **done.counts}
        show_one(answer if output is Format.CSV else {**answer, "logs": list(done.logs)}, output)
    if rows := done.counts.get("rejected", 0):
        rejected(done.job_id, rows)


def _show_outlook(outlook: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        show_one(outlook, output)
    else:
        show(_changes(outlook), ["table", "change", "column", "type", "column change", "was"], output)
    if output is Format.TABLE:
        for line in outlook["logs"]:
            print(plain(line))
    _end_as_the_job_would(outlook)


def _changes(outlook: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "table": table["name"],
            "change": table["change"],
            "column": column["name"],
            "type": column["type"],
            "column change": column["change"],
            "was": column["was"],
        }
        for table in outlook["tables"]
        for column in table["columns"]
    ]


def _end_as_the_job_would(outlook: dict[str, Any]) -> None:
    if outlook["status"] == "ERROR":
        raise Stop(f"the job would end in ERROR ({outlook['errorCode']}).")
    if rows := outlook["counts"]["rejected"]:
        raise Stop(f"rows that would be rejected: {rows}.", code=Code.REJECTS)
