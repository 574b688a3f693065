"""The port to where tables live.

An engine sees only staged Parquet files with a known schema: every file has the columns of
``Load.columns`` (or fewer: what it lacks is NULL) in exactly those types, and no key twice unless the
load allows it. What each method may raise stands at the method; everything is all-or-nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from headrace.model import Column, Job, JobType, Receipt, Table, TableRef, Undoing, UpsertStrategy, Version


class ExportFormat(StrEnum):
    CSV = "csv"  # with a header; NULL is empty, the empty string is ""
    PARQUET = "parquet"
    NDJSON = "ndjson"  # one object a line; infinite floats and NaN are strings
    ARROW = "arrow"  # the IPC stream


@dataclass(frozen=True)
class Load:
    """One job's change to its tables, ready to be committed.

    ``upserts`` and ``deletes`` are staged files; a delete file's rows count only by their keys.
    ``makes_table``: a DELTA makes the table if there is none (one of deletes alone does not).
    ``unique`` says that no key stands twice in them. ``still_mine`` is asked right before the commit
    and raises when another worker has taken the job over. ``checksums``: those that are known of the files.
    """

    job_id: str
    fence: int
    type: JobType
    targets: tuple[TableRef, ...]
    columns: tuple[Column, ...]
    makes_table: bool
    upserts: tuple[Path, ...]
    upsert_rows: int
    deletes: tuple[Path, ...]
    delete_rows: int
    keys: tuple[str, ...]
    unique: bool
    strategy: UpsertStrategy | None
    duplicates: int
    change_date: datetime
    still_mine: Callable[[], None]
    checksums: Mapping[Path, int] = field(default_factory=dict)
    dated: bool = False
    """A REPLACE whose files have the change date of each row: a table that moves. The lake takes none."""


class TableChange(StrEnum):
    CREATED = "created"
    REPLACED = "replaced"
    KEPT = "kept"  # it takes rows, and columns
    NONE = "none"  # there is no table, and there will be none


@dataclass(frozen=True)
class TableDiff:
    """A table before a load and its columns after it; None: there is no such table."""

    ref: TableRef
    before: Table | None
    after: tuple[Column, ...] | None
    replaces: bool = False

    @property
    def change(self) -> TableChange:
        if self.replaces:
            return TableChange.REPLACED
        if self.before is None:
            return TableChange.CREATED if self.after is not None else TableChange.NONE
        return TableChange.KEPT


@dataclass(frozen=True)
class Preview:
    """What a load would do: its receipt, and what would become of each of its targets."""

    receipt: Receipt
    tables: tuple[TableDiff, ...]


@dataclass(frozen=True)
class Chores:
    """What a pool needs so that its loads and queries stay cheap.

    ``tables`` have too many small files, or too many deleted rows; ``old_versions``: so many have become old
    that loads feel it.
    """

    tables: tuple[TableRef, ...] = ()
    old_versions: bool = False


@dataclass(frozen=True)
class Answer:
    """Rows of a query, fit for JSON; ``truncated`` when there were more than asked for.

    ``columns`` are pairs of name and engine type; a name may occur twice.
    """

    columns: tuple[tuple[str, str], ...]
    rows: list[list[object]]
    truncated: bool
    milliseconds: int


@dataclass(frozen=True)
class StoredTable:
    """What a table takes: ``files`` and ``bytes`` now, ``old_bytes`` for its old versions alone.

    ``upkeep_at``: when upkeep last changed its files, as far as the versions that are kept tell.
    """

    ref: TableRef
    files: int
    bytes: int
    old_bytes: int
    upkeep_at: datetime | None


@dataclass(frozen=True)
class Stored:
    """What a pool takes on the disk, and how many versions it keeps."""

    versions: int
    tables: tuple[StoredTable, ...]


class Reader(Protocol):
    """Users' reading, kept away from the loading."""

    def query(
        self,
        pool_id: str,
        tables: Sequence[TableRef],
        sql: str,
        *,
        max_rows: int,
        seconds: float,
        query_id: str | None = None,
        rejects: bool = False,
    ) -> Answer:
        """One SELECT over these tables of the pool, and over its ``rejects`` if so.

        Raises QueryRefused, QueryTooLong, QueryCancelled, Conflict.
        """

    def cancel(self, pool_id: str, query_id: str) -> None:
        """End a query of the pool that waits or runs. Raises NotFound."""

    def export(self, pool_id: str, table: Table, format: ExportFormat) -> Generator[bytes]:
        """A whole table as a file, streamed. Close the iterator to end it early."""


class TableEngine(Protocol):
    """Where the tables of all pools live."""

    @property
    def reader(self) -> Reader:
        """Users' reading."""

    def open_pool(self, pool_id: str) -> None:
        """Make place for a new pool, so that its first load need not. May be repeated."""

    def tables(self, pool_id: str) -> Sequence[Table]:
        """All tables of the pool now, without row counts; a pool never loaded has none."""

    def find(self, pool_id: str, ref: TableRef) -> Table | None:
        """One table, however its name is spelled, without its row count."""

    def table(self, pool_id: str, ref: TableRef) -> Table | None:
        """One table with its row count."""

    def load(self, pool_id: str, load: Load) -> Receipt:
        """Commit a load as one snapshot. Raises SchemaMismatch, TooHungry.

        Not to be repeated blindly after a crash: ask ``receipt`` first.
        """

    def preview(self, pool_id: str, load: Load) -> Preview:
        """What ``load`` would do now, with no trace of it. Raises what ``load`` raises, and Busy.

        Loads of the pool wait meanwhile. May be repeated.
        """

    def receipt(self, pool_id: str, job_id: str) -> Receipt | None:
        """The receipt of a job that was committed, however the process ended; None: it was not."""

    def undo(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        """Take a committed job back, in all of its tables, as one snapshot. Raises NotUndoable.

        Once it has been done, this answers what was done then. Nothing may load these tables meanwhile.
        """

    def preview_undo(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        """What ``undo`` would do now. Raises what ``undo`` raises, and Busy. May be repeated."""

    def undoing(self, pool_id: str, job_id: str) -> Undoing | None:
        """What undoing a job did, however the process ended; None: it was not undone."""

    def named_jobs(self, pool_id: str) -> Collection[str]:
        """The jobs that the kept versions of the pool's tables name: they may be looked at, and undone."""

    def forget_jobs(self, pool_id: str, job_ids: Collection[str]) -> int:
        """Drop the receipts of jobs that nobody will ask for again; answers how many. May be repeated."""

    def versions(self, pool_id: str, ref: TableRef) -> Sequence[Version]:
        """The snapshots in which the table changed, newest first."""

    def stored(self, pool_id: str) -> Stored:
        """What the tables of the pool take. Loads go on meanwhile."""

    def chores(self, pool_id: str) -> Chores:
        """What of its upkeep is due by now."""

    def maintain(self, pool_id: str, ref: TableRef) -> None:
        """Make the small files of a table one. Changes no row; may be repeated."""

    def expire(self, pool_id: str) -> None:
        """Drop versions that are old, and files that nobody needs any more. May be repeated."""

    def rest(self, idle_seconds: float) -> None:
        """Let go of pools that nobody has used for so long. May be repeated."""

    def drop_pool(self, pool_id: str) -> None:
        """Forget the pool and its files. May be repeated."""

    def close(self) -> None:
        """Let go of everything."""


def table_to_change(tables: TableEngine, job: Job) -> Table | None:
    """The table to which a DELTA adds; None: there is none yet. A REPLACE begins anew."""
    return None if job.spec.type is JobType.REPLACE else tables.find(job.pool_id, job.spec.targets[0])
