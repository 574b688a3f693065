"""The server's settings, for commands that work on its machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.commands.ending import Code, Stop

if TYPE_CHECKING:
    from headrace.settings import Settings

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="folder of the server")]


def settled(**given: Any) -> Settings:
    """What is given comes before the environment. Raises Stop with a line for each fault."""
    from pydantic import ValidationError  # noqa: PLC0415  slow to import

    from headrace.settings import Settings  # noqa: PLC0415

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Stop("\n".join(faults), code=Code.USAGE) from error
