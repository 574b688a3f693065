"""What the engine writes into a lake's data folder, it does not sync. So we do, before each commit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.durable import sync

OURS = ("up", "compact")
"""Folders of the data folder in which we write, not the engine."""


@contextmanager
def synced(data: Path) -> Iterator[None]:
    """Sync all files that the engine writes meanwhile; to be closed before the commit."""
    before = _files(data)
    yield
    sync_files(_files(data) - before, data)


def sync_files(files: Iterable[Path], data: Path) -> None:
    """Sync files and every folder between them and the folder of the pool."""
    folders = {data, data.parent}
    for file in files:
        sync(file)
        os.utime(file)  # a file that was staged long ago would look like an orphan to a sweep by age
        folders.update(folder for folder in file.parents if folder.is_relative_to(data))
    for folder in folders:
        sync(folder)


def _files(data: Path) -> set[Path]:
    folders = (entry for entry in data.iterdir() if entry.is_dir() and entry.name not in OURS)
    return {path for folder in folders for path in folder.rglob("*.parquet")}
