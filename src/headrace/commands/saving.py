"""Answers that are files: to a file, or to standard output as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from headrace.commands.ending import Code, Stop


def save(blocks: Iterator[bytes], to: Path | None, *, binary: bool = False) -> None:
    """A file wholly or not at all; without a name to standard output, as it comes."""
    if to is None:
        if binary and sys.stdout.isatty():
            raise Stop("that is no text: name a file with --to, or use a pipe.", code=Code.USAGE)
        for block in blocks:
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        return
    unfinished = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            file.writelines(blocks)
        unfinished.replace(to)
    finally:
        unfinished.unlink(missing_ok=True)
