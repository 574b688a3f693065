"""How far a push has come: a bar on a terminal and in a notebook, or whatever the caller makes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int], None]
"""Told the bytes of each part that has arrived."""


@contextmanager
def progress_bar(title: str, own: Progress | None) -> Iterator[Progress]:
    if own is not None or not _watched():
        yield own or _silent
        return
    from rich import progress  # noqa: PLC0415  only for eyes

    words = progress.TextColumn("{task.description}")
    columns = progress.SpinnerColumn(), words, progress.DownloadColumn(), progress.TransferSpeedColumn()
    with progress.Progress(*columns, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda arrived: bar.advance(task, arrived)


def _silent(_arrived: int) -> None:
    pass


def _watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
