"""``headrace backup`` and ``headrace restore``: the data folder, as of one moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from headrace.commands.ending import Stop
from headrace.commands.output import Format, Output, show_one
from headrace.commands.settled import DataDir, settled

app = typer.Typer()


@app.command()
def backup(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="a new folder for the backup")],
    data_dir: DataDir = None,
    link: Annotated[
        bool, typer.Option("--link", help="hard links for Parquet files: no room, same file system only")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Copy the data folder, also of a server that runs, as of one moment.

    The server stands still while its catalogs are copied, then goes on; clients notice no more than that. The
    backup holds all data and what signs tokens: keep it as closed as the folder itself.
    """
    from headrace import backups  # noqa: PLC0415  slow to import
    from headrace.settings import Engine  # noqa: PLC0415  slow to import

    settings = settled(data_dir=data_dir)
    if not isinstance(settings.database, Path):
        raise Stop("the metadata are in PostgreSQL: stop the server, then copy both.", then="pg_dump")
    if settings.engine is not Engine.LAKE:
        raise Stop("the tables are in Iceberg: stop the server, then copy its folder and the warehouse.")
    folder = settings.data_dir
    with _private():
        made = backups.make(folder, to, link=link, told=lambda line: print(line, file=sys.stderr))
    show_one({"backup": str(to), **asdict(made)}, output)


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(metavar="DIR", help="a folder that 'headrace backup' has made")],
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a data folder of a backup, in any place that is free; then start a server on it."""
    from headrace import backups  # noqa: PLC0415

    folder = settled(data_dir=data_dir).data_dir
    with _private():
        restored = backups.restore(backup, folder)
    show_one({"folder": str(folder), **asdict(restored)}, output)
    if output is Format.TABLE:
        print(f"Next: headrace serve --data-dir {folder}", file=sys.stderr)


@contextmanager
def _private() -> Iterator[None]:
    """What is made is readable by its owner alone, and what fails is told."""
    from headrace.backups import NotWhole  # noqa: PLC0415

    os.umask(0o077)
    try:
        yield
    except NotWhole as error:
        raise Stop(str(error), then="headrace doctor") from error
