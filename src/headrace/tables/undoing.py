"""Undoing a job: its tables become what they were in the version before it, as one new snapshot.

What is cheapest depends on what the job did. A table that it made is dropped. Where it changed rows only, its
own go (all of them bear its change date) and those that it deleted come back, which costs as much as the job
did. Where the columns are others, the table is made anew, from links to the files of then that no row was
deleted of, and from copies of the rest. Snapshots in between, by upkeep or by jobs that were undone before,
change none of this: what is read are the versions right before and right after the job.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import duckdb

from headrace.conversion import literal, quoted
from headrace.errors import NotUndoable
from headrace.model import CHANGE_DATE, Table, TableRef, Undoing, UndoneTable, fold
from headrace.tables.catalog import (
    BOOKS,
    UNDO,
    Lake,
    all_tables,
    begin_of,
    has_snapshot,
    receipt_of,
    remember,
    snapshot_of,
    stamp_of,
    table_name,
    versions_of,
)
from headrace.tables.checking import check_files
from headrace.tables.committing import new_attempt, one_snapshot
from headrace.tables.inlining import rows_as_files


@dataclass(frozen=True)
class Step:
    """What is to be done to one table; ``then`` is what it was, None: there was none."""

    ref: TableRef
    then: Table | None
    columns: tuple[tuple[str, str], ...]  # of then: names and the engine's types, in the table's order
    told: UndoneTable


def undo(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, job_id: str, targets: Sequence[TableRef], at: datetime
) -> Undoing:
    """One try: wholly or not at all. Raises NotUndoable."""
    attempt = new_attempt(lake, f"undo-{job_id}")
    with ExitStack() as afterwards, one_snapshot(cursor, lake, attempt, lambda: None):
        undoer = Undoer(cursor, lake, job_id)
        steps = undoer.steps(targets)
        if not all(_has_room(lake, step) for step in steps):
            afterwards.enter_context(rows_as_files(cursor, lake))
        for number, step in enumerate(steps):
            undoer.take(step, f"{attempt}/{number}")
        undoing = Undoing(job_id, at, tuple(step.told for step in steps))
        undoer.note(undoing)
    return undoing


def foreseen(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, job_id: str, targets: Sequence[TableRef], at: datetime
) -> Undoing:
    """What ``undo`` would do now; nothing is changed. Raises NotUndoable."""
    steps = Undoer(cursor, lake, job_id).steps(targets)
    return Undoing(job_id, at, tuple(step.told for step in steps))


class Undoer:
    """The versions right before and right after a job, and the way back from one to the other."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, lake: Lake, job_id: str) -> None:
        self._cursor = cursor
        self._lake = lake
        self._data = lake.files.data
        self._job_id = job_id
        after, receipt = snapshot_of(cursor, lake, job_id), receipt_of(cursor, lake, job_id)
        if after is None or receipt is None or not has_snapshot(cursor, lake, after - 1):
            raise NotUndoable(
                f"The version before the job {job_id} is no longer kept: versions are for keep_versions_days."
            )
        self._before, self._after = after - 1, after
        self._stamp = f"TIMESTAMP {literal(stamp_of(receipt.change_date))}"

    # -- what is to be done ----------------------------------------------------------------------------

    def steps(self, targets: Sequence[TableRef]) -> list[Step]:
        now, then = (
            {t.ref.folded: t for t in all_tables(self._cursor, self._lake, version)}
            for version in (None, self._before)
        )
        steps = []
        for ref in targets:
            self._refuse_newer(now.get(ref.folded, then.get(ref.folded)))
            if table := now.get(ref.folded):  # a DELTA of nothing but deletions makes none
                steps.append(self._step(table, then.get(ref.folded)))
        return steps

    def _refuse_newer(self, table: Table | None) -> None:
        """The last job that was not undone itself is the only one that can be."""
        versions = versions_of(self._cursor, self._lake, table.ref) if table else []
        newer = [v for v in versions if v.job_id and v.version > self._after]
        undone = {v.job_id for v in newer if v.undo}
        jobs = [v.job_id for v in newer if not v.undo and v.job_id not in undone]
        if jobs and table:
            raise NotUndoable(
                f"Newer jobs have written to the table {table.ref.name}: undo them first, the last one is "
                f"{jobs[0]}."
            )

    def _step(self, now: Table, then: Table | None) -> Step:
        ref = now.ref
        if then is None:
            gone = UndoneTable(ref, True, False, self._count(ref), 0, 0)
            return Step(ref, None, (), gone)
        check_files(self._cursor, self._lake, [ref], versions=True)
        columns = self._columns(ref, self._before)
        before, after = self._count(ref, self._before), self._count(ref, self._after)
        same_table = begin_of(self._cursor, self._lake, ref, self._before) == begin_of(
            self._cursor, self._lake, ref, self._after
        )
        added = self._count(ref, self._after, own=True) if same_table else after
        rebuilt = (
            not same_table
            or columns != self._columns(ref)
            or bool(self._count(ref, self._before, own=True))  # a clock that was set back
        )
        told = UndoneTable(ref, False, rebuilt, added, before - (after - added), before)
        return Step(ref, then, columns, told)

    def _count(self, ref: TableRef, version: int | None = None, *, own: bool = False) -> int:
        """Rows; with ``own`` those of the job."""
        where = f" WHERE {quoted(CHANGE_DATE)} = {self._stamp}" if own else ""
        return int(self._rows(f"SELECT count(*) FROM {self._at(ref, version)}{where}")[0][0])

    def _columns(self, ref: TableRef, version: int | None = None) -> tuple[tuple[str, str], ...]:
        described = self._rows(f"DESCRIBE SELECT * FROM {self._at(ref, version)}")
        return tuple((name, type) for name, type, *_ in described)

    def _at(self, ref: TableRef, version: int | None = None) -> str:
        at = "" if version is None else f" AT (VERSION => {version})"
        return f"{table_name(self._lake, ref)}{at}"

    # -- doing it --------------------------------------------------------------------------------------

    def take(self, step: Step, folder: str) -> None:
        if step.then is None:
            self._cursor.execute(f"DROP TABLE {self._at(step.ref)}")
            return
        if step.told.rebuilt:
            self._rebuild(step, folder)
        else:
            self._change_rows(step, folder)
        remember(self._cursor, self._lake, step.ref, step.then.columns, step.then.unique_keys)
        if (found := self._count(step.ref)) != step.told.rows:
            raise RuntimeError(f"{found} rows after undoing {self._job_id}, not {step.told.rows}")

    def _change_rows(self, step: Step, folder: str) -> None:
        # whole files go; inlined, each of their rows would be noted
        inlined = _has_room(self._lake, step)  # else it is so already
        with rows_as_files(self._cursor, self._lake) if inlined else nullcontext():
            self._cursor.execute(
                f"DELETE FROM {self._at(step.ref)} WHERE {quoted(CHANGE_DATE)} = {self._stamp}"
            )
        if step.told.restored:
            schema = step.ref.connection_id or "main"
            deleted = (
                f"ducklake_table_deletions({literal(self._lake.alias)}, {literal(schema)}, "
                f"{literal(step.ref.name)}, {self._after}, {self._after})"
            )
            self._add(step.ref, self._copied(step, deleted, folder))

    def _rebuild(self, step: Step, folder: str) -> None:
        files = self._files(step)
        added = [
            self._linked(path, f"{folder}/{number}")
            if whole
            else self._copied(step, rows, f"{folder}/{number}")
            for number, (path, whole, rows) in enumerate(files)
        ]
        columns = ", ".join(f"{quoted(name)} {type}" for name, type in step.columns)
        self._cursor.execute(f"CREATE OR REPLACE TABLE {self._at(step.ref)} ({columns})")
        for path in added:
            self._add(step.ref, path)

    def _files(self, step: Step) -> list[tuple[str, bool, str]]:
        """The files of then in the order of their rows: the path, whether it is whole, its rows."""
        rows = self._at(step.ref, self._before)
        if any(fold(name) in ("filename", "rowid") for name, _ in step.columns):
            return [("", False, rows)] if step.told.rows else []  # ours hide the engine's own
        found = self._rows(
            f"SELECT filename, count(*), min(rowid), max(rowid) FROM {rows} GROUP BY 1 ORDER BY 3"
        )
        if any(last >= first for (*_, last), (*_, first, _) in pairwise(found)):
            return [("", False, rows)]  # upkeep has mixed them, and their order tells which row is newer
        return [
            (name, self._is_whole(name, count, step), f"{rows} WHERE filename = {literal(name)}")
            for name, count, _, _ in found
        ]

    def _is_whole(self, path: str, rows: int, step: Step) -> bool:
        """No row of the file was deleted, and it has the columns of the table and no others."""
        counted = self._rows(f"SELECT num_rows FROM parquet_file_metadata({literal(path)})")
        read = f"DESCRIBE SELECT * FROM read_parquet({literal(path)}, hive_partitioning=false)"
        columns = {(name, type) for name, type, *_ in self._rows(read)}
        return counted[0][0] == rows and columns <= set(step.columns)

    def _linked(self, path: str, folder: str) -> str:
        """The same bytes under a name of their own: the old one goes when its version is no longer kept."""
        parent = f"{folder}/{_folder_of(path)}" if _has_constant(path) else folder
        target = f"{self._data.make_folder(parent)}/0.parquet"
        self._data.take(path, target)
        return target

    def _copied(self, step: Step, rows: str, folder: str) -> str:
        target = f"{self._data.make_folder(folder)}/0.parquet"
        columns = ", ".join(quoted(name) for name, _ in step.columns)
        hidden = any(fold(name) == "rowid" for name, _ in step.columns)
        # the order of arrival says which of two rows is the newer
        order = "" if hidden else " ORDER BY rowid"
        self._cursor.execute(
            f"COPY (SELECT {columns} FROM {rows}{order}) TO {literal(target)} "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
        return target

    def _add(self, ref: TableRef, file: str) -> None:
        self._cursor.execute(
            f"CALL ducklake_add_data_files({literal(self._lake.alias)}, {literal(ref.name)}, "
            f"{literal(file)}, schema => {literal(ref.connection_id or 'main')}, "
            f"hive_partitioning => {str(_has_constant(file)).lower()}, allow_missing => true)"
        )

    def note(self, undoing: Undoing) -> None:
        """The receipt, in the same transaction."""
        names = ", ".join(literal(table.ref.name) for table in undoing.tables)
        text = literal(json.dumps(asdict(undoing), default=str))
        self._cursor.execute(
            f"INSERT INTO {self._lake.alias}.{BOOKS}.loads VALUES ({literal(name_of_undo(self._job_id))}, "
            f"TIMESTAMP {literal(stamp_of(undoing.at))}, [{names}]::VARCHAR[], {text})"
        )
        self._cursor.execute(
            f"CALL ducklake_set_commit_message({literal(self._lake.alias)}, 'headrace', "
            f"{literal(UNDO)}, extra_info => {literal(self._job_id)})"
        )

    def _rows(self, query: str) -> list[Any]:
        return self._cursor.execute(query).fetchall()


def _folder_of(path: str) -> str:
    return path.split("/")[-2]


def _has_constant(path: str) -> bool:
    """Its change date is in its path, not in the file."""
    return _folder_of(path).startswith(f"{CHANGE_DATE}=")


def _has_room(lake: Lake, step: Step) -> bool:
    return lake.catalog.has_room([name for name, _ in step.columns])


def undoing_of(cursor: duckdb.DuckDBPyConnection, lake: Lake, job_id: str) -> Undoing | None:
    """What undoing the job did; None: it was not undone."""
    query = f"SELECT receipt FROM {lake.alias}.{BOOKS}.loads WHERE job_id = ?"
    rows = cursor.execute(query, [name_of_undo(job_id)]).fetchall()
    if not rows:
        return None
    fields = json.loads(rows[0][0])
    tables = tuple(UndoneTable(**{**t, "ref": TableRef(**t["ref"])}) for t in fields["tables"])
    return Undoing(fields["job_id"], datetime.fromisoformat(fields["at"]), tables)


def name_of_undo(job_id: str) -> str:
    """No job is called so."""
    return f"undo:{job_id}"
