"""``headrace pools``: what holds tables."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.commands.asking import ProfileName, client, confirmed
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.output import Format, Output, show, show_one

app = typer.Typer(help="Data pools: list, make, delete.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="name or id of the pool")]


@app.command("ls")
def ls(profile: ProfileName = None, output: Output = Format.TABLE) -> None:
    """The pools that your key may see."""
    with client(profile) as there:
        rows = [{"id": id, "name": name} for id, name in there.pools().items()]
    show(rows, ["id", "name"], output)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="a name for people")],
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a pool. Needs an administrator's key."""
    with client(profile) as there:
        made = there.create_pool(name)
    show_one({"id": made.id, "name": name}, output)


@app.command("show")
def show_(pool: Name, profile: ProfileName = None, output: Output = Format.TABLE) -> None:
    """One pool: its tables, and the last job."""
    with client(profile) as there:
        found = there.pool(pool)
        name, jobs = there.pools()[found.id], found.jobs(limit=1)
        tables = found.tables()
    last = {"last job": jobs[0]["id"], "status": jobs[0]["status"]} if jobs else {}
    show_one({"id": found.id, "name": name, "tables": tables, **last}, output)


@app.command()
def delete(
    pool: Name,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    profile: ProfileName = None,
) -> None:
    """Delete a pool with all of its tables, for good. Needs an administrator's key."""
    with chosen_pool(profile, pool) as found, client(profile) as there:
        names = ", ".join(found.tables()) or "none"
        confirmed(f"Delete the pool {pool} with all versions of its tables ({names})?", yes=yes)
        there.delete_pool(found.id)
