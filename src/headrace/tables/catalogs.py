"""The port to where the catalogs of lakes are: a file beside the data, or a schema of a database.

A catalog is read and written by the engine, which attaches it; what its own database answers is asked in that
database's SQL, and what differs there is told here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Protocol

import duckdb

Copying = Callable[[Path], frozenset[str]]
"""Puts a copy, a file of SQLite, into the place of a path; answers the names of the inlined tables in it.

To be called in a process that opens the catalog in no other way, and picklable. Raises Busy.
"""


class Catalog(Protocol):
    """That of one lake. Every method may raise Busy."""

    def identity(self) -> Hashable | None:
        """Of the catalog as it is now; None: there is none. One that is made anew is another."""

    def state(self) -> Hashable | None:
        """The same as long as nothing was committed. None: no state can be told just now."""

    def copying(self) -> Copying: ...

    def attach(self) -> str:
        """What stands after ATTACH: the place as a literal."""

    def options(self) -> str:
        """What else belongs into the brackets of ATTACH."""

    def books(self, alias: str) -> str:
        """What stands before the name of one of its tables in the engine's SQL."""

    def asking(self, alias: str, query: str) -> str:
        """The engine's SQL that lets the database of the catalog answer a query."""

    @property
    def inlined_deletes(self) -> str:
        """The query for the names of the tables that hold deletions."""

    def has_room(self, columns: Sequence[str]) -> bool:
        """Whether it can have a table with these columns, for rows that are kept in it."""

    def tidy(self, cursor: duckdb.DuckDBPyConnection, alias: str) -> None:
        """Before files are swept by their age."""

    def drop(self) -> None:
        """May be repeated."""


class Catalogs(Protocol):
    @property
    def extension(self) -> str:
        """The engine's, by which it reaches them."""

    def set_up(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Once, with the extension loaded."""

    def of(self, pool_id: str) -> Catalog: ...

    def close(self) -> None: ...
