"""One load: what happens between BEGIN and COMMIT of a lake's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import duckdb

from headrace.conversion import literal, quoted, sql_type
from headrace.errors import SchemaMismatch
from headrace.model import (
    CHANGE_DATE,
    MOST_COLUMNS,
    Column,
    ColumnKind,
    JobType,
    Receipt,
    Table,
    TableRef,
    UpsertStrategy,
    fold,
)
from headrace.tables import Load, Preview, TableDiff
from headrace.tables.catalog import BOOKS, Lake, find_table, remember, stamp_of, table_name
from headrace.tables.checking import are_as_written, check_files
from headrace.tables.committing import new_attempt, one_snapshot, rollback
from headrace.tables.inlining import rows_as_files

_FEW_ROWS = 50_000
"""Up to so many rows are replaced by deleting them: a new table costs the catalog three times as much."""


def commit(cursor: duckdb.DuckDBPyConnection, lake: Lake, load: Load) -> Receipt:
    """One try: wholly or not at all."""
    with ExitStack() as afterwards:
        return _commit(cursor, lake, load, afterwards)


def _commit(cursor: duckdb.DuckDBPyConnection, lake: Lake, load: Load, afterwards: ExitStack) -> Receipt:
    attempt = new_attempt(lake, f"{load.job_id}-{load.fence}")
    with one_snapshot(cursor, lake, attempt, load.still_mine):
        receipt = Transaction(cursor, lake, load, attempt, afterwards).run()
    if load.fence > 1:
        _forget_other_attempts(lake, load, attempt)
    return receipt


def rehearse(cursor: duckdb.DuckDBPyConnection, lake: Lake, load: Load) -> Preview:
    """All of a load but its commit, and nothing of it stays."""
    attempt = new_attempt(lake, "preview")
    with ExitStack() as afterwards:
        transaction = Transaction(cursor, lake, load, attempt, afterwards)
        cursor.execute("BEGIN")
        try:
            return Preview(transaction.run(), tuple(transaction.diffs))
        finally:
            rollback(cursor)  # the engine takes along what it wrote
            lake.files.data.remove(attempt)


class Transaction:
    """What happens between BEGIN and COMMIT, for every target of one load."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        lake: Lake,
        load: Load,
        attempt: str,
        afterwards: ExitStack,
    ) -> None:
        self._cursor = cursor
        self._afterwards = afterwards
        self._lake = lake
        self._data = lake.files.data
        self._load = load
        self._upserts = [str(file) for file in load.upserts]
        self._deletes = [str(file) for file in load.deletes]
        self._attempt = attempt
        self._as_files = False
        self._logs: list[str] = []
        self.diffs: list[TableDiff] = []
        """What became of each target, in their order."""

    def run(self) -> Receipt:
        receipts = [self._apply(number, ref) for number, ref in enumerate(self._load.targets)]
        receipt = replace(receipts[0], logs=tuple(dict.fromkeys(self._logs)))
        # literals: to convert parameters the engine's client imports whatever array library it finds
        stamp = stamp_of(receipt.change_date)
        names = ", ".join(literal(ref.name) for ref in self._load.targets)
        text = literal(json.dumps(asdict(receipt), default=str))
        self._cursor.execute(
            f"INSERT INTO {self._lake.alias}.{BOOKS}.loads "
            f"VALUES ({literal(receipt.job_id)}, TIMESTAMP {literal(stamp)}, [{names}], {text})"
        )
        self._cursor.execute(
            f"CALL ducklake_set_commit_message({literal(self._lake.alias)}, 'headrace', "
            f"{literal(self._load.type)}, extra_info => {literal(receipt.job_id)})"
        )
        return receipt

    def _apply(self, number: int, ref: TableRef) -> Receipt:
        folder = f"{self._attempt}/{number}"
        existing = find_table(self._cursor, self._lake, ref)
        if existing is None and not self._load.makes_table:
            self.diffs.append(TableDiff(ref, None, None))
            return self._receipt(not_found=self._load.delete_rows)
        if existing is None or self._load.type is JobType.REPLACE:
            return self._replace(existing, ref, folder)
        self._spell_as(existing, folder)
        return self._merge(existing, folder)

    def _spell_as(self, table: Table, folder: str) -> None:
        """Take over the column names of the table. Only a mirror can spell them differently."""
        load = self._load
        names = {c.name: (table.column(c.name) or c).name for c in load.columns}
        if all(ours == theirs for ours, theirs in names.items()):
            return
        self._data.make_folder(folder)
        self._upserts = self._renamed(self._upserts, names, f"{folder}/upserts.parquet")
        self._deletes = self._renamed(self._deletes, names, f"{folder}/deletes.parquet")
        self._load = replace(
            load,
            columns=tuple(replace(c, name=names[c.name]) for c in load.columns),
            keys=tuple(names[key] for key in load.keys),
        )

    def _renamed(self, files: Sequence[str], names: dict[str, str], target: str) -> list[str]:
        if not files:
            return []
        present = [name for name, *_ in self._cursor.execute(f"DESCRIBE {_read(files)}").fetchall()]
        columns = ", ".join(f"{quoted(n)} AS {quoted(names[n])}" for n in present if n in names)
        self._cursor.execute(
            f"COPY (SELECT {columns} FROM ({_read(files)})) TO {literal(target)} "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
        return [target]

    def _replace(self, existing: Table | None, ref: TableRef, folder: str) -> Receipt:
        load, ref = self._load, existing.ref if existing else ref
        self.diffs.append(TableDiff(ref, existing, load.columns, replaces=existing is not None))
        if existing is None or not self._empty(existing):
            self._create(ref)
        self._add(ref, self._upserts, folder)
        return self._receipt(inserted=load.upsert_rows, not_found=load.delete_rows)

    def _empty(self, table: Table) -> bool:
        """Delete all rows of a small table that stays as it is otherwise; False if it must be made anew."""
        load = self._load
        unique = tuple(sorted(map(fold, load.keys))) if load.unique else ()
        same = table.columns == load.columns and table.unique_keys == unique
        if load.type is not JobType.REPLACE or not same or (table.rows or 0) > _FEW_ROWS:
            return False
        if not are_as_written(self._cursor, self._lake, table.ref):
            return False  # a file may stay with all of its rows deleted
        # whole files go; inlined, each of their rows would be noted
        with nullcontext() if self._as_files else rows_as_files(self._cursor, self._lake):
            self._cursor.execute(f"DELETE FROM {table_name(self._lake, table.ref)}")
        return True

    def _create(self, ref: TableRef) -> None:
        load = self._load
        if ref.connection_id:
            self._cursor.execute(
                f"CREATE SCHEMA IF NOT EXISTS {self._lake.alias}.{quoted(ref.connection_id)}"
            )
        self._make_room([c.name for c in load.columns])
        table = table_name(self._lake, ref)
        columns = ", ".join(f"{quoted(c.name)} {sql_type(c.type)}" for c in load.columns)
        stamp = f"{quoted(CHANGE_DATE)} TIMESTAMP"
        self._cursor.execute(f"CREATE OR REPLACE TABLE {table} ({', '.join(filter(None, (columns, stamp)))})")
        unique = load.keys if load.unique else ()
        remember(self._cursor, self._lake, ref, load.columns, unique)

    def _make_room(self, columns: Sequence[str]) -> None:
        """What is to be done before the columns of a table change, to these."""
        if len(columns) > MOST_COLUMNS:
            raise SchemaMismatch(
                f"A table may have {MOST_COLUMNS} columns; this one would have {len(columns)}."
            )
        if not self._lake.catalog.has_room(columns) and not self._as_files:
            self._as_files = True
            self._afterwards.enter_context(rows_as_files(self._cursor, self._lake))

    def _merge(self, table: Table, folder: str) -> Receipt:
        load = self._load
        columns = self._fit_columns(table)
        self.diffs.append(TableDiff(table.ref, table, columns))
        pushed = {fold(c.name) for c in load.columns}
        missing = [c for c in columns if fold(c.name) not in pushed]
        keeps = load.keys and missing and load.strategy is not UpsertStrategy.UPSERT_WITH_NULLIFICATION
        if load.keys:
            check_files(self._cursor, self._lake, [table.ref])
        name = table_name(self._lake, table.ref)
        known = bool(load.keys) and set(map(fold, load.keys)) == set(table.unique_keys)
        upserts = self._upserts
        if keeps and upserts:
            upserts = [self._with_kept_columns(name, upserts, missing, folder)]
        found = self._delete(name, self._deletes, exact=known)
        updated = self._delete(name, self._upserts, exact=known and load.unique) if load.keys else 0
        self._add(table.ref, upserts, folder)
        unique = table.unique_keys if (known and load.unique) or not load.upserts else ()
        if columns != table.columns or unique != table.unique_keys:
            remember(self._cursor, self._lake, table.ref, columns, unique)
        return self._receipt(
            inserted=load.upsert_rows - updated,
            updated=updated,
            deleted=found,
            not_found=load.delete_rows - found,
        )

    def _fit_columns(self, table: Table) -> tuple[Column, ...]:
        """Add what is new, widen what must be; answers the columns of the table afterwards."""
        load = self._load
        new = [c for c in load.columns if table.column(c.name) is None]
        if new and load.strategy is UpsertStrategy.UPSERT_WITH_UNCHANGED_METADATA:
            names = ", ".join(c.name for c in new)
            raise SchemaMismatch(
                f"The table {table.ref.name} has no column {names}, and {load.strategy} adds none."
            )
        name = table_name(self._lake, table.ref)
        if new:
            self._make_room([c.name for c in (*table.columns, *new)])
        for column in new:
            self._cursor.execute(
                f"ALTER TABLE {name} ADD COLUMN {quoted(column.name)} {sql_type(column.type)}"
            )
            self._logs.append(f"The column {column.name} ({column.type}) was added to the table.")
        pushed = {fold(c.name): c for c in load.columns}
        return (*(self._widened(table, c, pushed.get(fold(c.name))) for c in table.columns), *new)

    def _widened(self, table: Table, column: Column, pushed: Column | None) -> Column:
        if pushed is None:
            return column
        if pushed.type != column.type:
            if not pushed.type.kind is column.type.kind is ColumnKind.DECIMAL:
                raise SchemaMismatch(
                    f"The column {column.name} is {column.type} in {table.ref.name}, not {pushed.type}."
                )
            name = table_name(self._lake, table.ref)
            self._make_room([c.name for c in table.columns])
            self._cursor.execute(
                f"ALTER TABLE {name} ALTER COLUMN {quoted(column.name)} TYPE {sql_type(pushed.type)}"
            )
            self._logs.append(f"The column {column.name} was widened from {column.type} to {pushed.type}.")
        whole = column.length is None or pushed.length is None
        return Column(
            column.name, pushed.type, None if whole else max(column.length or 0, pushed.length or 0)
        )

    def _with_kept_columns(
        self, name: str, upserts: Sequence[str], missing: Sequence[Column], folder: str
    ) -> str:
        """The pushed rows with what the table holds in the columns that the push lacks."""
        load = self._load
        target = f"{self._change_date_folder(folder)}/kept.parquet"
        on = " AND ".join(f"t.{quoted(k)} IS NOT DISTINCT FROM s.{quoted(k)}" for k in load.keys)
        keys = ", ".join(f"t.{quoted(k)}" for k in load.keys)
        kept = ", ".join(f"t.{quoted(c.name)}" for c in missing)
        # a table may hold a key twice (it was appended to): its newest row is the one that goes on
        old = (
            f"SELECT {keys}, {kept} FROM {name} t SEMI JOIN ({_read(upserts)}) s ON {on} "
            f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY t.rowid DESC) = 1"
        )
        self._cursor.execute(
            f"COPY (SELECT s.*, {kept} FROM ({_read(upserts)}) s LEFT JOIN ({old}) t ON {on}) "
            f"TO {literal(target)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
        return target

    def _delete(self, name: str, files: Sequence[str], *, exact: bool) -> int:
        """Delete the rows whose key is in ``files``; answers how many rows of the files found one.

        ``exact``: keys are unique on both sides, so that the deleted rows are the found ones.
        """
        if not files:
            return 0
        on = self._on(files)
        rows = _read(files, self._load.keys)  # the others would go through the join, too
        found = 0
        if not exact:
            query = f"SELECT count(*) FROM ({rows}) s SEMI JOIN {name} t ON {on}"
            found = int(self._cursor.execute(query).fetchall()[0][0])
        deleted = self._cursor.execute(f"DELETE FROM {name} t USING ({rows}) s WHERE {on}").fetchall()[0][0]
        return int(deleted) if exact else found

    def _on(self, files: Sequence[str]) -> str:
        """Keys match NULL-safe; where no file has a NULL plain equality does, and it prunes."""
        nulls = _has_nulls(self._cursor, files, self._load.keys)
        return " AND ".join(
            f"t.{quoted(k)} {'IS NOT DISTINCT FROM' if fold(k) in nulls else '='} s.{quoted(k)}"
            for k in self._load.keys
        )

    def _add(self, ref: TableRef, files: Iterable[str], folder: str) -> None:
        """Make staged files part of the table."""
        target = self._change_date_folder(folder)
        for number, file in enumerate(files):
            final = file if file.startswith(f"{target}/") else f"{target}/{number}.parquet"
            if final != file:
                self._data.take(file, final, self._load.checksums.get(Path(file)))
            self._cursor.execute(
                f"CALL ducklake_add_data_files({literal(self._lake.alias)}, {literal(ref.name)}, "
                f"{literal(final)}, schema => {literal(ref.connection_id or 'main')}, "
                f"hive_partitioning => true, allow_missing => true)"
            )

    def _change_date_folder(self, folder: str) -> str:
        return self._data.make_folder(f"{folder}/{CHANGE_DATE}={stamp_of(self._load.change_date)}")

    def _receipt(
        self, *, inserted: int = 0, updated: int = 0, deleted: int = 0, not_found: int = 0
    ) -> Receipt:
        """Of one target; the logs are those of all."""
        load = self._load
        return Receipt(
            load.job_id,
            load.change_date,
            inserted,
            updated,
            deleted,
            not_found,
            load.duplicates,
        )


def _read(files: Sequence[str], columns: Sequence[str] = ()) -> str:
    listed = ", ".join(map(literal, files))
    selected = ", ".join(map(quoted, columns)) or "*"
    return f"SELECT {selected} FROM read_parquet([{listed}], union_by_name=true, hive_partitioning=false)"


def _has_nulls(cursor: duckdb.DuckDBPyConnection, files: Sequence[str], keys: Sequence[str]) -> set[str]:
    """Folded names of the key columns that are not proved, by the files' own statistics, to hold no NULL."""
    listed = ", ".join(map(literal, files))
    groups = cursor.execute(f"SELECT sum(num_row_groups) FROM parquet_file_metadata([{listed}])").fetchall()
    proved = cursor.execute(
        f"SELECT path_in_schema FROM parquet_metadata([{listed}]) GROUP BY path_in_schema "
        f"HAVING bool_and(coalesce(stats_null_count = 0, false)) AND count(*) = {groups[0][0]}"
    ).fetchall()
    sure = {fold(name) for (name,) in proved}
    return {fold(key) for key in keys} - sure


def _forget_other_attempts(lake: Lake, load: Load, attempt: str) -> None:
    """What older tries of the same job left. Only now: until this one was committed, one of them might be."""
    for other in lake.files.data.attempts(load.job_id):
        if other != attempt:
            lake.files.data.remove(other)
