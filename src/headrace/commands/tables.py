"""``headrace tables``: what is in a pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.commands.asking import Connection, PoolName, ProfileName
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.output import Format, Output, show, show_cells, show_one
from headrace.commands.saving import save

if TYPE_CHECKING:
    from headrace.client import Pool

app = typer.Typer(help="Tables of a pool: look at, sum up, export.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="name of the table")]

_COLUMNS_A_QUERY = 50
"""A profile of a wide table is several queries: each has its limit of time."""


class FileFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    NDJSON = "ndjson"
    ARROW = "arrow"


@app.command("ls")
def ls(pool: PoolName = None, profile: ProfileName = None, output: Output = Format.TABLE) -> None:
    """The tables of a pool."""
    with chosen_pool(profile, pool) as there:
        found = there.described_tables()
    rows = [{**table, "columns": len(table["columns"])} for table in found]
    show(found if output is Format.JSON else rows, ["name", "connection", "columns"], output)


@app.command("show")
def show_(
    table: Name,
    pool: PoolName = None,
    connection: Connection = None,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """One table: its rows, columns and types."""
    with chosen_pool(profile, pool) as there:
        found = there.table(table, connection).describe()
    if output is Format.JSON:
        show_one(found, output)
        return
    if output is Format.TABLE:
        show_one({"table": found["name"], "rows": found["rows"], "versions": len(found["versions"])}, output)
        print()
    show(found["columns"], ["name", "type", "length"], output)


@app.command()
def head(
    table: Name,
    pool: PoolName = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="so many rows")] = 10,
    connection: Connection = None,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Some rows of a table."""
    with chosen_pool(profile, pool) as there:
        found = there.query(f"SELECT * FROM {_named(table, connection)} LIMIT {rows}", rows)
    show_cells(found.rows, [column["name"] for column in found.columns], output)


@app.command("profile")
def profile_(
    table: Name,
    pool: PoolName = None,
    connection: Connection = None,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Each column of a table summed up: values, different ones (about), the least and the largest."""
    with chosen_pool(profile, pool) as there:
        columns = there.table(table, connection).describe()["columns"]
        rows = list(_profiled(there, _named(table, connection), columns))
    show(rows, ["column", "type", "rows", "empty", "distinct", "least", "largest"], output)


@app.command()
def export(
    table: Name,
    pool: PoolName = None,
    format: Annotated[FileFormat, typer.Option(help="kind of the file")] = FileFormat.CSV,
    to: Annotated[Path | None, typer.Option(help="file to write; default: standard output")] = None,
    connection: Connection = None,
    profile: ProfileName = None,
) -> None:
    """The whole table as a file."""
    with chosen_pool(profile, pool) as there:
        blocks = there.table(table, connection).export(format)
        save(blocks, to, binary=format in (FileFormat.PARQUET, FileFormat.ARROW))


@app.command()
def versions(
    table: Name,
    pool: PoolName = None,
    connection: Connection = None,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """The versions of a table, newest first, with the job that made each, or that an undo took back."""
    with chosen_pool(profile, pool) as there:
        found = there.table(table, connection).describe()["versions"]
    show(found, ["version", "at", "change", "job", "undo"], output)


# -- the SQL of it --------------------------------------------------------------------------------------


def _named(table: str, connection: str | None) -> str:
    name = _quoted(table)
    return f"{_quoted(connection)}.{name}" if connection else name


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _profiled(there: Pool, table: str, columns: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for at in range(0, len(columns), _COLUMNS_A_QUERY):
        some = columns[at : at + _COLUMNS_A_QUERY]
        summed = ", ".join(_sums(column["name"]) for column in some)
        [counted] = there.query(f"SELECT count(*), {summed} FROM {table}").rows
        rows, values = counted[0], counted[1:]
        for number, column in enumerate(some):
            filled, distinct, least, largest = values[4 * number : 4 * number + 4]
            yield {
                "column": column["name"],
                "type": column["type"],
                "rows": rows,
                "empty": rows - filled,
                "distinct": distinct,
                "least": least,
                "largest": largest,
            }


def _sums(column: str) -> str:
    name = _quoted(column)
    return f"count({name}), approx_count_distinct({name}), min({name}), max({name})"
