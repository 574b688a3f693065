"""The command line."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, cast

import structlog
import typer
from pydantic import ValidationError

from headrace import __version__, keys_cli
from headrace.settings import Settings

app = typer.Typer(help="Headrace: a self-hosted server that speaks the Data Push API.", no_args_is_help=True)
app.add_typer(keys_cli.app, name="keys")


@app.callback()
def main() -> None:
    """Every setting has an environment variable, HEADRACE_<NAME>; options come before it."""


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
) -> None:
    """Run the server until SIGTERM; prints one line with its URL when it is ready."""
    given: dict[str, Any] = {"data_dir": data_dir, "host": host, "port": port, "tls": tls}
    _log_to_stderr()
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        _fail("\n".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()), code=2)
    from headrace import server  # noqa: PLC0415  slow to import, and 'version' needs none of it

    try:
        server.run(settings, lambda line: print(line, flush=True))
    except server.CannotStart as error:
        _fail(str(error), code=1)


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
    )


class _Stderr:
    """Where the log goes. That it cannot be written, on a full disk say, must not stop the work."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def _fail(message: str, *, code: int) -> NoReturn:
    typer.echo(f"headrace: {message}", err=True)
    raise typer.Exit(code)
