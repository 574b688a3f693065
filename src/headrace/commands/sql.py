"""``headrace sql``: one SELECT over the tables of a pool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.commands.asking import PoolName, ProfileName
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.ending import Code, Stop, warn
from headrace.commands.output import Format, Output, show_cells


def sql(
    text: Annotated[str | None, typer.Argument(help="one SELECT; '-' reads it from standard input")] = None,
    pool: PoolName = None,
    file: Annotated[Path | None, typer.Option(help="read it from this file")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="at most so many rows; the server has a limit, too")
    ] = None,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Run one SELECT over the tables of a pool, and over 'rejects'."""
    query = _query(text, file)
    with chosen_pool(profile, pool) as there:
        found = there.query(query, limit)
    show_cells(found.rows, [column["name"] for column in found.columns], output)
    if found.truncated:
        warn(
            f"there are more rows than these {len(found.rows)}: 'headrace tables export' has all of a table."
        )


def _query(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise Stop("give the SELECT, '-' for standard input, or --file.", code=Code.USAGE)
    if file is not None:
        return file.read_text(encoding="utf-8")
    return sys.stdin.read() if text == "-" else str(text)
