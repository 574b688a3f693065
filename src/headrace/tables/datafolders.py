"""Data of lakes in folders, each beside its catalog.

What the engine writes there, it does not sync, nor does it notice when the disk changes it. So we sync it and
take its checksums, before each commit. Files are linked, not moved: a failed load finds them again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from headrace.durable import sync
from headrace.tables.lakedata import ATTEMPTS, COMPACTED
from headrace.tables.sums import Sums

_OURS = (ATTEMPTS, COMPACTED)
"""Folders in which we write, not the engine."""


@dataclass(frozen=True)
class DataFolder:
    folder: Path
    sums: Sums = field(repr=False, compare=False)

    @property
    def place(self) -> str:
        return f"{self.folder}/"

    @property
    def served(self) -> None:
        return None

    def make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def make_folder(self, path: str) -> str:
        Path(path).mkdir(parents=True, exist_ok=True)
        return path

    def take(self, source: str, path: str, checksum: int | None = None) -> None:
        os.link(source, path)
        if checksum is not None:
            self.sums.expect(Path(path), checksum)

    def check(self, files: Collection[str]) -> None:
        self.sums.check(map(Path, files))

    @contextmanager
    def written(self) -> Iterator[None]:
        before = self._files()
        yield
        self._sync(self._files() - before)

    def settle(self, path: str) -> None:
        found = Path(path)
        self._sync([found] if found.is_file() else found.rglob("*.parquet"))

    def remove(self, path: str) -> None:
        self.sums.forget_expected(Path(path))
        if Path(path).is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)

    def attempts(self, job_id: str) -> Collection[str]:
        return [str(path) for path in (self.folder / ATTEMPTS).glob(f"{job_id}-*")]

    def tidy(self, needed: Callable[[], Collection[str]]) -> None:
        """Take away empty folders, of loads whose files were compacted; nothing is loaded meanwhile."""
        self.sums.keep_only(list(map(Path, needed())))
        top = self.folder / ATTEMPTS
        for folder, _, _ in os.walk(top, topdown=False):
            if folder != str(top):
                with suppress(OSError):  # not empty
                    Path(folder).rmdir()

    def drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> set[Path]:
        folders = (entry for entry in self.folder.iterdir() if entry.is_dir() and entry.name not in _OURS)
        return {path for folder in folders for path in folder.rglob("*.parquet")}

    def _sync(self, files: Iterable[Path]) -> None:
        """Files, and every folder between them and the folder of the pool."""
        files, folders = list(files), {self.folder, self.folder.parent}
        for file in files:
            sync(file)
            os.utime(file)  # a file that was staged long ago would look like an orphan to a sweep by age
            folders.update(folder for folder in file.parents if folder.is_relative_to(self.folder))
        for folder in folders:
            sync(folder)
        self.sums.note(files)


@dataclass(frozen=True)
class DataFolders:
    """``root`` has a folder for each pool."""

    root: Path
    extensions: Collection[str] = ()
    _sums: dict[str, Sums] = field(default_factory=dict)
    """What was compared need not be again, whoever asks."""

    def set_up(self, engine: duckdb.DuckDBPyConnection) -> None:
        pass

    def of(self, pool_id: str) -> DataFolder:
        folder = self.root / pool_id / "data"
        if pool_id not in self._sums:
            self._sums[pool_id] = Sums(folder)
        return DataFolder(folder, self._sums[pool_id])

    def holds(self, place: str) -> bool:
        return "://" not in place

    def pools(self) -> Collection[str]:
        return ()

    def bytes(self, pool_id: str) -> int:  # noqa: ARG002
        return 0

    def is_away(self, error: duckdb.Error) -> bool:  # noqa: ARG002
        return False
