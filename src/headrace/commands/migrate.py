"""``headrace migrate``: from a data folder into a database and a store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headrace.commands.ending import Stop
from headrace.commands.output import plain
from headrace.commands.settled import DataDir, settled


def migrate(
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and how much of it")] = False,
) -> None:
    """Move a data folder into the database of HEADRACE_DATABASE_URL, and the store of HEADRACE_STORAGE_URL.

    The server must be stopped. What is interrupted goes on with the next call; nothing of the folder is
    changed before all has been compared. With HEADRACE_ENGINE spark it moves tables of the lake into Iceberg
    instead, without their older versions.
    """
    from headrace import folders, house  # noqa: PLC0415  slow to import
    from headrace.moving import Different  # noqa: PLC0415

    settings = settled(data_dir=data_dir)
    try:
        if dry_run:
            for amount in house.foreseen(settings):
                size = "" if amount.bytes is None else f", {amount.bytes} bytes"
                print(plain(f"{amount.what}: {amount.count}{size}"))
        else:
            house.move(settings, lambda line: print(plain(line), file=sys.stderr, flush=True))
            print("All has moved. Next: headrace serve, with the same settings")
    except (folders.CannotStart, Different) as error:
        raise Stop(str(error)) from error
