"""``headrace doctor``: what is wrong on the machine of the server, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from headrace.commands.ending import Code, Stop, this_command
from headrace.commands.output import Format, Output, show
from headrace.commands.settled import DataDir, settled


def doctor(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="address of the server")] = None,
    port: Annotated[int | None, typer.Option(help="port of the server")] = None,
    tls: Annotated[bool | None, typer.Option("--tls/--no-tls", help="whether it is to serve HTTPS")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Look what keeps the server from working here, or its clients from reaching it, and what to do.

    Settings, folder, disk, port, TLS, clock, engine and confinement. It runs on the machine of the server,
    beside one that runs or not, and changes nothing. The exit code is 1 if there is a fault.
    """
    from headrace.diagnosis import State, examine  # noqa: PLC0415  slow to import

    settings = settled(data_dir=data_dir, host=host, port=port, tls=tls)
    found = list(examine(settings))
    show([asdict(finding) for finding in found], ["check", "state", "found", "advice"], output)
    if faults := sum(finding.state is State.FAULT for finding in found):
        raise Stop(f"{faults} faults: do what the advice says.", code=Code.FAILED, then=this_command())
