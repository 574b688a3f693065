"""Tables in Apache Iceberg, loaded by Apache Spark: for those that one machine cannot hold.

A pool is a namespace of an Iceberg catalog, a table one of its tables. Staging is the lake's own: Spark reads
our staged Parquet, so that what a file means cannot differ. A load changes its table in one commit, columns
and versions included (``iceberg.Change``). A job with mirrors commits one table after the other; a crash in
between is completed by the next claim. Users' SQL reads a copy of the catalog (``icebergmirror``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.crashpoints import crash_point
from headrace.errors import Busy, NotUndoable
from headrace.locks import Locks
from headrace.model import Receipt, Table, TableRef, Undoing, UndoneTable, Version, now
from headrace.tables import Chores, Load, Preview, Stored, StoredTable
from headrace.tables.iceberg import Iceberg, IcebergTable
from headrace.tables.icebergmirror import MirrorReader
from headrace.tables.icebergstate import UNDO, UPKEEP, Entry, State, plain_table
from headrace.tables.sandbox import Sandbox
from headrace.tables.sparkbooks import Books, Note
from headrace.tables.sparkdriver import CATALOG, SparkDriver
from headrace.tables.sparkload import Loading
from headrace.tables.writer import Writer

_PREVIEW_PATIENCE = 30.0

LastCheck = Callable[[], None]


class SparkTables:
    """The ``TableEngine`` of a cluster. ``locks`` are those of all processes that load."""

    def __init__(
        self,
        root: Path,
        *,
        url: str,
        config: Mapping[str, str],
        memory_mb: int,
        locks: Locks,
        sandbox: Sandbox,
        keep_versions_days: float,
        upkeep_loads: int,
    ) -> None:
        self._root = root
        self._locks = locks
        self._keep = timedelta(days=keep_versions_days)
        self._upkeep_loads = upkeep_loads
        self._driver = SparkDriver(url, config, root.parent / "warehouse", memory_mb)
        self._reader = MirrorReader(root, sandbox, self._opened)
        root.mkdir(parents=True, exist_ok=True)

    @property
    def reader(self) -> MirrorReader:
        return self._reader

    def open_pool(self, pool_id: str) -> None:
        (self._root / pool_id).mkdir(
            parents=True, exist_ok=True
        )  # what is in the catalog its first load makes

    def rest(self, idle_seconds: float) -> None:
        """Pools keep nothing open."""

    def forget_all(self) -> None:
        """Pools keep nothing open."""

    def close(self) -> None:
        self._driver.close()

    def drop_pool(self, pool_id: str) -> None:
        with self._opened() as iceberg:
            iceberg.drop_pool(pool_id)
        self._reader.forget(pool_id)
        shutil.rmtree(self._root / pool_id, ignore_errors=True)

    # -- what is there ---------------------------------------------------------------------------------

    def tables(self, pool_id: str) -> Sequence[Table]:
        with self._opened() as iceberg:
            return [table for found in iceberg.tables(pool_id) if (table := found.state.table())]

    def find(self, pool_id: str, ref: TableRef) -> Table | None:
        found = self.table(pool_id, ref)
        return replace(found, rows=None) if found else None

    def table(self, pool_id: str, ref: TableRef) -> Table | None:
        with self._opened() as iceberg:
            found = iceberg.find(pool_id, ref)
            return found.state.table(rows=found.rows) if found else None

    def versions(self, pool_id: str, ref: TableRef) -> Sequence[Version]:
        with self._opened() as iceberg:
            found = iceberg.find(pool_id, ref)
            return found.state.versions() if found else ()

    def named_jobs(self, pool_id: str) -> Collection[str]:
        with self._opened() as iceberg:
            return {e.job for found in iceberg.tables(pool_id) for e in found.state.entries if e.job}

    def receipt(self, pool_id: str, job_id: str) -> Receipt | None:
        note = self._books(pool_id).read(job_id)
        if note is None:
            return None
        with self._opened() as iceberg:
            return note.receipt() if self._settled(iceberg, pool_id, note) else None

    def undoing(self, pool_id: str, job_id: str) -> Undoing | None:
        note = self._books(pool_id).read(job_id, undo=True)
        if note is None:
            return None
        with self._opened() as iceberg:
            return note.undoing() if self._settled(iceberg, pool_id, note) else None

    def forget_jobs(self, pool_id: str, job_ids: Collection[str]) -> int:
        return self._books(pool_id).forget(job_ids)

    def stored(self, pool_id: str) -> Stored:
        with self._opened() as iceberg:
            found = list(iceberg.tables(pool_id))
            versions = sum(len(table.state.entries) for table in found)
            return Stored(versions, tuple(_stored(table) for table in found if table.state.table()))

    def _books(self, pool_id: str) -> Books:
        return Books(self._root / pool_id / "loads")

    def _settled(self, iceberg: Iceberg, pool_id: str, note: Note) -> bool:
        """Whether every table has it."""
        if not note.settled:
            for name in note.tables:
                found = iceberg.by_name(pool_id, name)
                if found is None or found.state.of_job(note.job, undo=note.undo) is None:
                    return False
            self._books(pool_id).settle(note)
        return True

    # -- loading ---------------------------------------------------------------------------------------

    def load(self, pool_id: str, load: Load) -> Receipt:
        with self._opened() as iceberg, self._writing(pool_id, load.targets) as writers:
            books = self._books(pool_id)
            note = books.read(load.job_id) if load.fence > 1 else None
            if note and self._settled(iceberg, pool_id, note):
                return note.receipt()

            def last_check() -> None:
                for writer in writers:
                    writer.check()
                load.still_mine()

            receipt = self._applied(iceberg, pool_id, load, note, last_check)
            crash_point("committed")
            return receipt

    def _applied(
        self, iceberg: Iceberg, pool_id: str, load: Load, note: Note | None, last_check: LastCheck
    ) -> Receipt:
        """To one target after the other; what an earlier claim has done is not done again."""
        books = self._books(pool_id)
        with ExitStack() as stack:
            changes, receipts = [], []
            begun = False
            for ref in load.targets:
                found = iceberg.find(pool_id, ref)
                if note and found and found.state.of_job(load.job_id) is not None:
                    begun = True
                    continue
                loading = stack.enter_context(Loading(iceberg, pool_id, load, ref))
                if loading.nothing:
                    receipts.append(loading.foreseen()[0])
                    continue
                change, receipt = stack.enter_context(loading.run())
                changes.append((ref, change))
                receipts.append(receipt)
            logs = tuple(dict.fromkeys(line for receipt in receipts for line in receipt.logs))
            told = note.receipt() if begun and note else replace(receipts[0], logs=logs)
            if not begun:
                books.write(told, [plain_table(ref) for ref, _ in changes], settled=not changes)
            crash_point("before-commit")
            if not begun:  # what has begun is brought to its end, whoever asks
                last_check()
            crash_point("committing")
            for _, change in changes:
                change.commit()
        if changes:
            written = books.read(load.job_id)
            assert written is not None
            books.settle(written)
        return told

    def preview(self, pool_id: str, load: Load) -> Preview:
        with self._opened() as iceberg, self._looking(pool_id, load.targets):
            told = []
            for ref in load.targets:
                with Loading(iceberg, pool_id, load, ref) as loading:
                    told.append(loading.foreseen())
            logs = tuple(dict.fromkeys(line for receipt, _ in told for line in receipt.logs))
            return Preview(replace(told[0][0], logs=logs), tuple(diff for _, diff in told))

    # -- undoing ---------------------------------------------------------------------------------------

    def undo(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        with self._opened() as iceberg, self._writing(pool_id, targets):
            books = self._books(pool_id)
            note = books.read(job_id, undo=True)
            if note and self._settled(iceberg, pool_id, note):
                return note.undoing()
            at = now()
            found = self._undoable(iceberg, pool_id, job_id, targets)
            undoing = note.undoing() if note and _has_begun(iceberg, pool_id, note) else None
            if undoing is None:
                undoing = Undoing(job_id, at, tuple(_told(table, job_id) for table in found))
                note = books.write(undoing, [table.name for table in found])
            crash_point("before-commit")
            for table in found:
                iceberg.point(table, _undone(table, job_id, undoing.at))
            crash_point("committed")
            assert note is not None
            books.settle(note)
            return undoing

    def preview_undo(self, pool_id: str, job_id: str, targets: Sequence[TableRef]) -> Undoing:
        with self._opened() as iceberg, self._looking(pool_id, targets):
            found = self._undoable(iceberg, pool_id, job_id, targets)
            return Undoing(job_id, now(), tuple(_told(table, job_id) for table in found))

    def _undoable(
        self, iceberg: Iceberg, pool_id: str, job_id: str, targets: Sequence[TableRef]
    ) -> list[IcebergTable]:
        """The tables that the job changed, and that are not undone yet. Raises NotUndoable."""
        note = self._books(pool_id).read(job_id)
        if note is None:
            raise _no_longer_kept(job_id)
        found = [table for ref in targets if (table := iceberg.find(pool_id, ref))]
        touched = [table for table in found if table.name in note.tables]
        for table in touched:
            _refuse_newer(table, job_id)
        return [table for table in touched if table.state.of_job(job_id, undo=True) is None]

    # -- upkeep ----------------------------------------------------------------------------------------

    def chores(self, pool_id: str) -> Chores:
        with self._opened() as iceberg:
            found = list(iceberg.tables(pool_id))
            due = tuple(t.state.ref for t in found if t.state.table() and self._is_due(t))
            return Chores(due, any(self._old(table.state) for table in found))

    def _is_due(self, table: IcebergTable) -> bool:
        entries = table.state.entries
        since = next((n for n, entry in enumerate(reversed(entries)) if entry.what == UPKEEP), len(entries))
        return since >= self._upkeep_loads and int(table.summary.get("total-data-files", 0)) > 1

    def maintain(self, pool_id: str, ref: TableRef) -> None:
        with self._opened() as iceberg, self._writing(pool_id, [ref]):
            found = iceberg.find(pool_id, ref)
            if found is None or found.state.table() is None or found.snapshot_id is None:
                return
            iceberg.session.sql(
                f"CALL {CATALOG}.system.rewrite_data_files(table => '{_called(iceberg, pool_id, found)}', "
                "options => map('min-input-files', '2', 'partial-progress.enabled', 'false'))"
            ).collect()
            again = iceberg.by_name(pool_id, found.name)
            assert again is not None
            state = again.state.following(again.snapshot_id, again.schema_id, again.rows, now())
            if state is not again.state:
                iceberg.point(again, state)

    def expire(self, pool_id: str) -> None:
        with self._opened() as iceberg:
            refs = [found.state.ref for found in iceberg.tables(pool_id)]
        for ref in refs:
            with self._opened() as iceberg, self._writing(pool_id, [ref]):
                if found := iceberg.find(pool_id, ref):
                    self._expire_table(iceberg, pool_id, found)

    def _expire_table(self, iceberg: Iceberg, pool_id: str, found: IcebergTable) -> None:
        old = self._old(found.state)
        if not old:
            return
        for note in list(self._books(pool_id).all()):
            if found.name in note.tables:
                self._settled(iceberg, pool_id, note)  # its mark may go now
        kept = found.state.entries[len(old) :]
        if len(kept) == 1 and kept[0].shape is None:
            iceberg.drop(pool_id, found.name)
            return
        iceberg.point(found, replace(found.state, entries=kept))
        found.table.refresh()
        named = {ref.snapshotId() for ref in dict(found.table.refs()).values()}  # ours, and what others keep
        needed = {entry.snapshot for entry in kept} | named
        gone = [s.snapshotId() for s in found.table.snapshots() if s.snapshotId() not in needed]
        if gone:
            listed = ", ".join(map(str, gone))
            iceberg.session.sql(
                f"CALL {CATALOG}.system.expire_snapshots(table => '{_called(iceberg, pool_id, found)}', "
                f"snapshot_ids => ARRAY({listed}), retain_last => 1)"
            ).collect()

    def _old(self, state: State) -> tuple[Entry, ...]:
        """Versions that were replaced so long ago that nobody is to read them any more."""
        before = now() - self._keep
        replaced = zip(state.entries, state.entries[1:], strict=False)
        old = [entry for entry, by in replaced if datetime.fromisoformat(by.at).astimezone(UTC) < before]
        return tuple(old)

    # -- one at a time ---------------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[Iceberg]:
        with self._driver.session() as session:
            yield Iceberg(session)

    @contextmanager
    def _writing(self, pool_id: str, refs: Sequence[TableRef]) -> Iterator[list[Writer]]:
        with ExitStack() as stack:
            writers = self._writers(pool_id, refs)
            for writer in writers:
                stack.enter_context(writer)
            yield writers

    @contextmanager
    def _looking(self, pool_id: str, refs: Sequence[TableRef]) -> Iterator[None]:
        """Nobody writes to the tables meanwhile. Raises Busy."""
        with ExitStack() as stack:
            for writer in self._writers(pool_id, refs):
                if not writer.acquire(_PREVIEW_PATIENCE):
                    raise Busy("The table is being loaded; try again in a moment.")
                stack.callback(writer.release)
            yield

    def _writers(self, pool_id: str, refs: Sequence[TableRef]) -> list[Writer]:
        """In one order, so that no two wait for each other."""
        return [Writer(self._locks, f"{pool_id}/{name}") for name in sorted({plain_table(r) for r in refs})]


def _called(iceberg: Iceberg, pool_id: str, found: IcebergTable) -> str:
    return iceberg.sql_name(pool_id, found.name).removeprefix(f"{CATALOG}.")


def _stored(found: IcebergTable) -> StoredTable:
    state, old, before = found.state, 0, None
    for entry in state.entries:
        summary = (found.summary_of(entry.snapshot) if entry.snapshot is not None else None) or {}
        if before is not None and entry.snapshot != before[0]:
            anew = entry.anew or entry.shape is None
            old += before[1] if anew else int(summary.get("removed-files-size", 0))
        before = entry.snapshot, int(summary.get("total-files-size", 0))
    upkeep = [datetime.fromisoformat(e.at) for e in state.entries if e.what == UPKEEP]
    files, size = (int(found.summary.get(f"total-{what}", 0)) for what in ("data-files", "files-size"))
    return StoredTable(state.ref, files, size, old, upkeep[-1] if upkeep else None)


# -- undoing -------------------------------------------------------------------------------------------


def _no_longer_kept(job_id: str) -> NotUndoable:
    return NotUndoable(
        f"The version before the job {job_id} is no longer kept: versions are for keep_versions_days."
    )


def _refuse_newer(table: IcebergTable, job_id: str) -> None:
    """The last job that was not undone itself is the only one that can be."""
    state = table.state
    place = state.of_job(job_id)
    if place is None or (place == 0 and state.entries[0].version > 1):
        raise _no_longer_kept(job_id)
    newer = [entry for entry in state.entries[place + 1 :] if entry.job and entry.job != job_id]
    undone = {entry.job for entry in newer if entry.what == UNDO}
    jobs = [entry.job for entry in newer if entry.what != UNDO and entry.job not in undone]
    if jobs:
        raise NotUndoable(
            f"Newer jobs have written to the table {state.name}: undo them first, the last one is {jobs[-1]}."
        )
    before = _before(state, job_id)
    if before and before.snapshot is not None and table.summary_of(before.snapshot) is None:
        raise _no_longer_kept(job_id)


def _before(state: State, job_id: str) -> Entry | None:
    """The version before the job; None: there was no table yet."""
    place = state.of_job(job_id)
    assert place is not None
    return state.entries[place - 1] if place else None


def _told(table: IcebergTable, job_id: str) -> UndoneTable:
    state = table.state
    place = state.of_job(job_id)
    assert place is not None
    entry, before = state.entries[place], _before(state, job_id)
    if before is None or before.shape is None:
        return UndoneTable(state.ref, True, False, table.rows, 0, 0)
    then, after = state.shape(before), state.shape(entry)
    rebuilt = then is None or after is None or then.columns != after.columns
    stayed = entry.rows - entry.added
    return UndoneTable(state.ref, False, rebuilt, entry.added, before.rows - stayed, before.rows)


def _undone(table: IcebergTable, job_id: str, at: datetime) -> State:
    state = table.state.following(table.snapshot_id, table.schema_id, table.rows, at)
    before, last = _before(state, job_id), state.entries[-1]
    if before is None:
        entry = Entry(last.version + 1, at.isoformat(), job_id, UNDO, None, table.schema_id, None)
    else:
        entry = replace(
            before, version=last.version + 1, at=at.isoformat(), job=job_id, what=UNDO, added=0, anew=False
        )
    return state.with_entry(entry, state.shape(before))


def _has_begun(iceberg: Iceberg, pool_id: str, note: Note) -> bool:
    found = [table for name in note.tables if (table := iceberg.by_name(pool_id, name))]
    return any(table.state.of_job(note.job, undo=True) is not None for table in found)
