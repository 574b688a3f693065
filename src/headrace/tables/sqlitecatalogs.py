"""Catalogs as files of SQLite, each beside its pool's data."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb

from headrace.conversion import literal
from headrace.errors import Busy
from headrace.tables.catalogcopy import State, copy_catalog, state_of
from headrace.tables.catalogs import Copying

_MOST_COLUMNS = 1900
"""SQLite takes 2,000."""


@dataclass(frozen=True)
class SqliteCatalog:
    path: Path

    def identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def state(self) -> State | None:
        return state_of(self.path)

    def copying(self) -> Copying:
        return partial(_copy, self.path)

    def attach(self) -> str:
        return literal(f"ducklake:sqlite:{self.path}")

    def options(self) -> str:
        return "META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000"  # else a reader locks the pool

    def books(self, alias: str) -> str:
        return f"__ducklake_metadata_{alias}"

    def asking(self, alias: str, query: str) -> str:
        return f"SELECT * FROM sqlite_query({literal(self.books(alias))}, {literal(query)})"

    @property
    def inlined_deletes(self) -> str:
        return "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'ducklake_inlined_delete_*'"

    def has_room(self, columns: Sequence[str]) -> bool:
        return len(columns) <= _MOST_COLUMNS

    def tidy(self, cursor: duckdb.DuckDBPyConnection, alias: str) -> None:
        # times are texts here, and the engine compares them with one of another form
        cursor.execute(
            f"UPDATE {self.books(alias)}.ducklake_files_scheduled_for_deletion "
            "SET schedule_start = replace(schedule_start::VARCHAR, ' ', 'T')"
        )

    def drop(self) -> None:
        pass  # it lies in the folder of its pool, which goes


@dataclass(frozen=True)
class SqliteCatalogs:
    """``root`` has a folder for each pool."""

    root: Path
    extension: str = "sqlite_scanner"

    def set_up(self, engine: duckdb.DuckDBPyConnection) -> None:
        pass

    def of(self, pool_id: str) -> SqliteCatalog:
        return SqliteCatalog(self.root / pool_id / "catalog.sqlite")

    def any(self) -> bool:
        """Whether any pool has one."""
        return any(self.root.glob("*/catalog.sqlite"))

    def close(self) -> None:
        pass


def _copy(path: Path, target: Path) -> frozenset[str]:
    try:
        return copy_catalog(path, target)
    except sqlite3.OperationalError as error:
        raise Busy from error
