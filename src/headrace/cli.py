"""The command line: all commands in one list. What each does stands in ``commands/``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace import __version__
from headrace.commands import (
    backup,
    doctor,
    gc,
    jobs,
    keys,
    login,
    maintain,
    migrate,
    pools,
    push,
    rejects,
    sql,
    tables,
)
from headrace.commands.ending import Commands, Stop
from headrace.commands.settled import settled

if TYPE_CHECKING:
    from headrace.settings import Settings

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show the values of variables, and a key is one
)


@app.callback()
def main() -> None:
    """Headrace: a self-hosted server that speaks the Data Push API, and what a person needs around it.

    Every setting of the server has an environment variable, HEADRACE_<NAME>; options come before it. The
    other commands ask the server of HEADRACE_URL with the key of HEADRACE_KEY, or the one that 'headrace
    login' has stored.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some rows were rejected.
    """


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def serve(
    data_dir: Annotated[
        Path | None, typer.Option(help="folder that holds everything the server keeps")
    ] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on; 0 takes a free one")] = None,
    tls: Annotated[
        bool | None, typer.Option("--tls/--no-tls", help="serve HTTPS, self-signed by default")
    ] = None,
    worker: Annotated[
        bool | None, typer.Option("--worker/--no-worker", help="stage and load here, or leave it to workers")
    ] = None,
) -> None:
    """Run the server until SIGTERM; prints one line with its URL when it is ready."""
    settings = settled(data_dir=data_dir, host=host, port=port, tls=tls, worker=worker)
    _until_sigterm("run", settings)


@app.command("worker")
def work(
    data_dir: Annotated[Path | None, typer.Option(help="folder of the servers that it works for")] = None,
) -> None:
    """Stage and load what the servers of a database receive, until SIGTERM; prints a line when it is ready.

    Any number of servers and workers share one data folder and the database of HEADRACE_DATABASE_URL.
    """
    _until_sigterm("work", settled(data_dir=data_dir))


def _until_sigterm(what: str, settings: Settings) -> None:
    from headrace import folders, logs, server  # noqa: PLC0415  slow to import, and most commands need none of it

    logs.configure(settings.log_format, settings.log_level)

    try:
        getattr(server, what)(settings, lambda line: print(line, flush=True))
    except folders.CannotStart as error:
        raise Stop(str(error)) from error


app.command("push")(push.push)
app.add_typer(jobs.app, name="jobs")
app.add_typer(rejects.app, name="rejects")
app.add_typer(pools.app, name="pools")
app.add_typer(tables.app, name="tables")
app.command("sql")(sql.sql)
app.add_typer(login.app)
app.add_typer(keys.app, name="keys")
app.command("doctor")(doctor.doctor)
app.command("maintain")(maintain.maintain)
app.command("gc")(gc.gc)
app.add_typer(backup.app)
app.command("migrate")(migrate.migrate)
