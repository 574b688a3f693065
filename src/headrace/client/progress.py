"""How far a push has come: a bar on a terminal and in a notebook, or whatever the caller makes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int], None]
"""Told the bytes of each part that has arrived."""


@contextmanager
def progress_bar(title: str, own: Progress | None, total: int | None = None) -> Iterator[Progress]:
    """``total``: bytes that will come, as far as it is known."""
    if own is not None or not _watched():
        yield own or _silent
        return
    from rich import progress  # noqa: PLC0415  only for eyes
    from rich.console import Console  # noqa: PLC0415

    words = progress.TextColumn("{task.description}", markup=False)
    columns = progress.SpinnerColumn(), words, progress.DownloadColumn(), progress.TransferSpeedColumn()
    # what is asked for goes to stdout, and into a pipe
    with progress.Progress(*columns, transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda arrived: bar.advance(task, arrived)


def _silent(_arrived: int) -> None:
    pass


def _watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
