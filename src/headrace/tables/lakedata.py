"""The port to where the Parquet files of lakes are: a folder for each, or a prefix in a store of objects.

Files are read and written by the engine, which knows their names: strings, all of which begin with the
``place`` of their lake. What of it must survive a crash, and how, is told here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import duckdb

ATTEMPTS = "up"
"""The folder of what loads and undos add: below it a folder for each of their tries."""

COMPACTED = "compact"


class Served(Protocol):
    """Files of one lake, for who may open none.

    Each method raises FileNotFoundError, and StorageUnreachable.
    """

    place: str
    """As the engine of such a child names it; ends with a slash."""

    def size(self, path: str) -> int:
        """Bytes of a file, by its path below the place."""

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Fewer only at its end."""


class LakeData(Protocol):
    """That of one lake. Where it is a store, every method may raise StorageUnreachable."""

    @property
    def place(self) -> str:
        """Ends with a slash."""

    @property
    def folder(self) -> Path | None:
        """On a disk of this machine; None: it is in a store."""

    @property
    def served(self) -> Served | None:
        """Who may open no file asks for them here; None: it reads the folder."""

    def make(self) -> None:
        """Before the first file comes. May be repeated."""

    def make_folder(self, path: str) -> str:
        """Before a file comes into it; answers its name. May be repeated."""

    def take(self, source: str, path: str, checksum: int | None = None) -> None:
        """A staged file, or one of the lake, has this name as well: neither can be changed by the other.

        ``checksum``: its CRC-32, if that is known.
        """

    def written(self) -> AbstractContextManager[None]:
        """What the engine writes meanwhile survives; to be closed before the commit."""

    def settle(self, path: str) -> None:
        """A file, or all in a folder, that we wrote: it survives, and is no orphan for long."""

    def remove(self, path: str) -> None:
        """A file, or a folder with all in it. What is not there is no error."""

    def attempts(self, job_id: str) -> Collection[str]:
        """The folders of all tries to load a job, the one that was committed among them."""

    def check(self, files: Collection[str]) -> None:
        """Whether they are the bytes that were written, before their rows count. Raises TableDamaged.

        Those that this process has compared are not read again. A store looks after its bytes by itself.
        """

    def tidy(self, needed: Callable[[], Collection[str]]) -> None:
        """After files went; ``needed`` tells the files that any version of any table needs."""

    def drop(self) -> None:
        """All of it. May be repeated."""


class LakesData(Protocol):
    @property
    def extensions(self) -> Collection[str]:
        """The engine's, by which it reaches them."""

    def set_up(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Once, with the extensions loaded."""

    def of(self, pool_id: str) -> LakeData: ...

    def holds(self, place: str) -> bool:
        """Whether a lake's place may be one of these."""

    def pools(self) -> Collection[str]:
        """Whose data are in the store. Raises StorageUnreachable."""

    def bytes(self, pool_id: str) -> int:
        """Those of a pool that are in the store. Raises StorageUnreachable."""

    def is_away(self, error: duckdb.Error) -> bool:
        """Whether the engine says that it did not reach them."""
