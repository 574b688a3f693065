"""One load into one Iceberg table: Spark does the joins, and the commit is the caller's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any
from uuid import uuid4

from headrace.errors import SchemaMismatch
from headrace.model import (
    CHANGE_DATE,
    MOST_COLUMNS,
    Column,
    ColumnKind,
    ColumnType,
    JobType,
    Receipt,
    Table,
    TableRef,
    UpsertStrategy,
    fold,
)
from headrace.tables import Load, TableDiff
from headrace.tables.iceberg import Change, Iceberg, IcebergTable
from headrace.tables.icebergstate import ROW, ROW_BITS, Entry, Shape, State, plain

_DELETES, _NTH = "_x_deletes", "_x_nth"
_STAMP = plain(CHANGE_DATE)


@dataclass(frozen=True)
class Fit:
    """How the table's columns become those that the load needs."""

    columns: tuple[Column, ...]
    new: tuple[Column, ...] = ()
    widened: tuple[Column, ...] = ()
    anew: bool = False
    """Iceberg cannot change a column so: all rows are written again."""
    logs: tuple[str, ...] = ()


class Loading:
    """What one load does to one table."""

    def __init__(self, iceberg: Iceberg, pool_id: str, load: Load, ref: TableRef) -> None:
        self._iceberg = iceberg
        self._session = iceberg.session
        self._pool_id = pool_id
        self._ref = ref
        self._found = iceberg.find(pool_id, ref)
        self._old = self._found.state.table(rows=self._found.rows) if self._found else None
        self._in_file: dict[str, str] = {}
        """The name in the staged files of a column that the table spells otherwise: a mirror can."""
        self._load = load if self.begins_anew(load) else self._spelled_as(self._old, load)
        self._counts = (0, 0)

    def __enter__(self) -> Loading:
        self._views = ExitStack()
        return self

    def __exit__(self, *exc: object) -> None:
        self._views.close()

    def begins_anew(self, load: Load) -> bool:
        """The table is made, or made anew."""
        return self._old is None or load.type is JobType.REPLACE

    @property
    def begins(self) -> bool:
        return self.begins_anew(self._load)

    def _spelled_as(self, table: Table | None, load: Load) -> Load:
        names = {c.name: ((table and table.column(c.name)) or c).name for c in load.columns}
        self._in_file = {ours: theirs for theirs, ours in names.items()}
        return replace(
            load,
            columns=tuple(replace(c, name=names[c.name]) for c in load.columns),
            keys=tuple(names[key] for key in load.keys),
        )

    @property
    def nothing(self) -> bool:
        """Deletions alone make no table."""
        return self._old is None and not self._load.makes_table

    def foreseen(self) -> tuple[Receipt, TableDiff]:
        """What ``run`` would do."""
        if self.nothing:
            return self._receipt(), TableDiff(self._ref, None, None)
        if self.begins:
            replaces = self._old is not None
            ref = self._old.ref if self._old else self._ref
            return self._receipt(), TableDiff(ref, self._old, self._load.columns, replaces=replaces)
        assert self._old is not None and self._found is not None
        fit = _fit(self._old, self._load)
        name = self._iceberg.sql_name(self._pool_id, self._found.name)
        new = [f"CAST(NULL AS {_spark_type(c.type)}) AS `{plain(c.name)}`" for c in fit.new]
        self._counts = self._matches(f"(SELECT {', '.join(['*', *new])} FROM {name})")
        return self._receipt(fit), TableDiff(self._old.ref, self._old, fit.columns)

    @contextmanager
    def run(self) -> Iterator[tuple[Change, Receipt]]:
        """Everything but the commit."""
        if self.begins:
            with self._begun() as change:
                yield change, self._receipt()
            return
        assert self._old is not None and self._found is not None
        fit = _fit(self._old, self._load)
        with self._prepared(fit, self._found) as change:
            self._counts = self._matches(change.name)
            self._merge(change, fit)
            self._note(change, self._found.state, fit.columns, self._unique_after(), anew=fit.anew)
            yield change, self._receipt(fit)

    # -- a table that begins ---------------------------------------------------------------------------

    @contextmanager
    def _begun(self) -> Iterator[Change]:
        load, found = self._load, self._found
        _refuse_many(len(load.columns))
        state = found.state if found else State(self._ref.name, self._ref.connection_id)
        opened = (
            self._iceberg.made_anew(found, load.columns)
            if found
            else self._iceberg.created(self._pool_id, self._ref, load.columns)
        )
        with opened as change:
            self._append(change.name, load.columns)
            if self._old is None:  # it was undone: the name is spelled as it comes now
                state = replace(state, name=self._ref.name)
            unique = tuple(sorted(map(fold, load.keys))) if load.unique else ()
            self._note(change, state, load.columns, unique, anew=True)
            yield change

    def _append(self, name: str, columns: Sequence[Column]) -> None:
        if self._load.upserts:
            rows = self._pushed(columns)
            rows.select(*[f"`{c}`" for c in (*_plain(columns), _STAMP, ROW)]).writeTo(name).append()

    def _note(
        self,
        change: Change,
        state: State,
        columns: Sequence[Column],
        unique: tuple[str, ...],
        *,
        anew: bool,
    ) -> None:
        load, found = self._load, self._found
        if found:
            state = state.following(found.snapshot_id, found.schema_id, found.rows, load.change_date)
        entry = Entry(
            (state.now.version if state.now else 0) + 1,
            load.change_date.isoformat(),
            load.job_id,
            str(load.type),
            change.snapshot_id,
            change.schema_id,
            None,
            added=load.upsert_rows,
            rows=change.rows,
            anew=anew,
        )
        noted = state.with_entry(entry, Shape(tuple(columns), unique))
        change.note(replace(noted, loads=state.loads + 1))

    # -- a table that takes rows -----------------------------------------------------------------------

    @contextmanager
    def _prepared(self, fit: Fit, found: IcebergTable) -> Iterator[Change]:
        if not fit.anew:
            with self._iceberg.changed(found) as change:
                for column in fit.new:
                    change.add_column(column)
                for column in fit.widened:
                    change.widen(column)
                yield change
            return
        with self._iceberg.made_anew(found, fit.columns) as change:
            assert self._old is not None
            there = {fold(c.name) for c in self._old.columns}
            values = [
                f"CAST({f'`{plain(c.name)}`' if fold(c.name) in there else 'NULL'} AS {_spark_type(c.type)}) "
                f"AS `{plain(c.name)}`"
                for c in fit.columns
            ]
            source = self._session.table(self._iceberg.sql_name(self._pool_id, found.name))
            source.selectExpr(*values, f"`{_STAMP}`", ROW).writeTo(change.name).append()
            yield change

    def _matches(self, table: str) -> tuple[int, int]:
        """How many upserts, and how many deletions, find a row."""
        load = self._load
        if not load.keys or self._old is None or not (load.upserts or load.deletes):
            return 0, 0
        parts = []
        for files, flag in ((load.upserts, "false"), (load.deletes, "true")):
            if files:
                keys = [c for c in load.columns if c.name in load.keys]
                rows = self._read(files, keys).selectExpr(*_quoted(keys), f"{flag} AS {_DELETES}")
                parts.append(rows)
        source = self._view(_union(parts))
        counted = self._session.sql(
            f"SELECT {_DELETES}, count(*) FROM {source} s LEFT SEMI JOIN {table} t ON {self._on()} "
            f"GROUP BY {_DELETES}"
        ).collect()
        found = {bool(deletes): int(count) for deletes, count in counted}
        return found.get(False, 0), found.get(True, 0)

    def _merge(self, change: Change, fit: Fit) -> None:
        load = self._load
        if not load.keys:
            self._fill(change, fit)
        elif self._known:
            self._merge_rows(change, fit)
        else:
            self._merge_keys(change, fit)

    def _fill(self, change: Change, fit: Fit) -> None:
        """Without keys rows are added, and what they lack is NULL."""
        if self._load.upserts:
            rows = self._pushed(self._load.columns)
            rows = rows.selectExpr(
                *(
                    f"`{plain(c.name)}`"
                    if self._has(c)
                    else f"CAST(NULL AS {_spark_type(c.type)}) AS `{plain(c.name)}`"
                    for c in fit.columns
                ),
                f"`{_STAMP}`",
                ROW,
            )
            rows.writeTo(change.name).append()

    def _merge_rows(self, change: Change, fit: Fit) -> None:
        """A key stands once on either side: each row is updated, deleted or inserted."""
        load = self._load
        parts = []
        if load.upserts:
            rows = self._pushed(load.columns)
            parts.append(rows.selectExpr(*_quoted(load.columns), f"`{_STAMP}`", ROW, f"false AS {_DELETES}"))
        if load.deletes:
            parts.append(self._deleted())
        if not parts:
            return
        source = self._view(_union(parts))
        names = [*_plain(load.columns), _STAMP, ROW]
        sets = [f"t.`{n}` = s.`{n}`" for n in names]
        if not self._keeps():
            sets += [f"t.`{plain(c.name)}` = NULL" for c in self._missing(fit)]
        self._session.sql(
            f"MERGE INTO {change.name} t USING {source} s ON {self._on()} "
            f"WHEN MATCHED AND s.{_DELETES} THEN DELETE "
            f"WHEN MATCHED THEN UPDATE SET {', '.join(sets)} "
            f"WHEN NOT MATCHED AND NOT s.{_DELETES} THEN {_insert(names)}"
        )

    def _merge_keys(self, change: Change, fit: Fit) -> None:
        """A key may stand several times: all of its rows go, and the pushed ones come."""
        load = self._load
        names = [*_plain(fit.columns), _STAMP, ROW]
        keys = [c for c in load.columns if c.name in load.keys]
        others = [n for n in names if n not in _plain(keys)]
        files = [f for f in (load.upserts, load.deletes) if f]
        if not files:
            return
        gone = _union([self._read(f, keys).selectExpr(*_quoted(keys)) for f in files]).distinct()
        types = {plain(c.name): c.type for c in fit.columns}
        blank = [
            f"CAST(NULL AS {'BIGINT' if n == ROW else _spark_type(types.get(n, _DATETIME))}) AS `{n}`"
            for n in others
        ]
        order = [f"`{n}`" for n in names]
        parts = [gone.selectExpr(*_quoted(keys), *blank).selectExpr(*order, f"true AS {_DELETES}")]
        if load.upserts:
            parts.append(self._whole(change, fit, keys).selectExpr(*order, f"false AS {_DELETES}"))
        source = self._view(_union(parts))
        self._session.sql(
            f"MERGE INTO {change.name} t USING {source} s ON {self._on()} AND s.{_DELETES} "
            "WHEN MATCHED THEN DELETE "
            f"WHEN NOT MATCHED AND NOT s.{_DELETES} THEN {_insert(names)}"
        )

    def _whole(self, change: Change, fit: Fit, keys: Sequence[Column]) -> Any:
        """The pushed rows with all columns: what they lack is what the newest row of their key has."""
        pushed = self._view(self._pushed(self._load.columns))
        missing = self._missing(fit)
        if not (missing and self._keeps()):
            nulls = [f"CAST(NULL AS {_spark_type(c.type)}) AS `{plain(c.name)}`" for c in missing]
            return self._session.sql(f"SELECT {', '.join(['*', *nulls])} FROM {pushed}")
        by = ", ".join(f"t.`{plain(k.name)}`" for k in keys)
        kept = ", ".join(f"t.`{n}`" for n in _plain(missing))
        newest = self._view(
            self._session.sql(
                f"SELECT * FROM (SELECT {by}, {kept}, row_number() OVER "
                f"(PARTITION BY {by} ORDER BY t.{ROW} DESC) AS {_NTH} "
                f"FROM {change.name} t LEFT SEMI JOIN {pushed} s ON {self._on()}) WHERE {_NTH} = 1"
            )
        )
        return self._session.sql(f"SELECT s.*, {kept} FROM {pushed} s LEFT JOIN {newest} t ON {self._on()}")

    # -- what the load is ------------------------------------------------------------------------------

    @property
    def _known(self) -> bool:
        """Keys are unique on both sides."""
        assert self._old is not None
        same = set(map(fold, self._load.keys)) == set(self._old.unique_keys)
        return bool(self._load.keys) and same and self._load.unique

    def _unique_after(self) -> tuple[str, ...]:
        assert self._old is not None
        return self._old.unique_keys if self._known or not self._load.upserts else ()

    def _has(self, column: Column) -> bool:
        return any(fold(c.name) == fold(column.name) for c in self._load.columns)

    def _missing(self, fit: Fit) -> list[Column]:
        return [c for c in fit.columns if not self._has(c)]

    def _keeps(self) -> bool:
        return self._load.strategy is not UpsertStrategy.UPSERT_WITH_NULLIFICATION

    def _on(self) -> str:
        return " AND ".join(f"t.`{plain(k)}` <=> s.`{plain(k)}`" for k in self._load.keys)

    def _receipt(self, fit: Fit | None = None) -> Receipt:
        load = self._load
        updated, deleted = self._counts
        return Receipt(
            load.job_id,
            load.change_date,
            0 if self.nothing else load.upsert_rows - updated,
            updated,
            deleted,
            load.delete_rows - deleted,
            load.duplicates,
            fit.logs if fit else (),
        )

    # -- rows ------------------------------------------------------------------------------------------

    def _read(self, files: Sequence[Path], columns: Sequence[Column], *more: str) -> Any:
        """Staged files, under plain names; ``more`` are expressions."""
        named = [(_tick(self._in_file.get(c.name, c.name)), c) for c in columns]
        there = [(_tick(self._in_file.get(c.name, c.name)), c.type) for c in columns]
        there += [(_tick(CHANGE_DATE), _DATETIME)] * self._load.dated
        schema = ", ".join(f"{name} {_spark_type(type)}" for name, type in there)
        read = self._session.read.schema(schema).parquet(*[file.as_uri() for file in files])
        return read.selectExpr(*(f"{name} AS `{plain(c.name)}`" for name, c in named), *more)

    def _pushed(self, columns: Sequence[Column]) -> Any:
        """The upserts with their change date and their place."""
        load = self._load
        number = (self._found.state.loads if self._found else 0) + 1
        stamp = f"{self._stamp()} AS `{_STAMP}`"
        names = (*_quoted(columns), f"`{_STAMP}`")
        if load.unique:
            rows = self._read(load.upserts, columns, stamp)
            return rows.selectExpr(*names, f"{number << ROW_BITS}L AS {ROW}")
        hidden = any(c.name == "_metadata" for c in columns)  # a column of the client's
        place = "monotonically_increasing_id()" if hidden else "_metadata.row_index"
        parts, first = [], number << ROW_BITS
        for file in load.upserts:
            rows = self._read([file], columns, stamp, f"{first}L + {place} AS {ROW}")
            parts.append(rows.selectExpr(*names, ROW))
            first += _rows_of(file)
        return _union(parts)

    def _stamp(self) -> str:
        """The change date of a pushed row."""
        if self._load.dated:
            return _tick(CHANGE_DATE)
        stamp = self._load.change_date.astimezone(UTC).replace(tzinfo=None)
        return f"TIMESTAMP_NTZ '{stamp.isoformat(' ', 'microseconds')}'"

    def _deleted(self) -> Any:
        load = self._load
        keys = [c for c in load.columns if c.name in load.keys]
        names = {c.name for c in keys}
        values = [
            f"`{plain(c.name)}`"
            if c.name in names
            else f"CAST(NULL AS {_spark_type(c.type)}) AS `{plain(c.name)}`"
            for c in load.columns
        ]
        blank = (f"CAST(NULL AS TIMESTAMP_NTZ) AS `{_STAMP}`", f"CAST(NULL AS BIGINT) AS {ROW}")
        return self._read(load.deletes, keys).selectExpr(*values, *blank, f"true AS {_DELETES}")

    def _view(self, rows: Any) -> str:
        name = f"v{uuid4().hex}"
        rows.createOrReplaceTempView(name)
        self._views.callback(self._session.catalog.dropTempView, name)
        return name


def _fit(table: Table, load: Load) -> Fit:
    """Raises SchemaMismatch."""
    new = [c for c in load.columns if table.column(c.name) is None]
    if new and load.strategy is UpsertStrategy.UPSERT_WITH_UNCHANGED_METADATA:
        names = ", ".join(c.name for c in new)
        raise SchemaMismatch(
            f"The table {table.ref.name} has no column {names}, and {load.strategy} adds none."
        )
    if new:
        _refuse_many(len(table.columns) + len(new))
    logs = [f"The column {c.name} ({c.type}) was added to the table." for c in new]
    pushed = {fold(c.name): c for c in load.columns}
    columns, widened, anew = [], [], False
    for column in table.columns:
        other = pushed.get(fold(column.name))
        fitting = _fitting(table, column, other) if other else column
        columns.append(fitting)
        if fitting.type != column.type:
            widened.append(fitting)
            anew |= not _is_wider(column.type, fitting.type)
            logs.append(f"The column {column.name} was widened from {column.type} to {fitting.type}.")
    return Fit((*columns, *new), tuple(new), tuple(widened), anew, tuple(logs))


def _fitting(table: Table, column: Column, pushed: Column) -> Column:
    both = pushed.type.kind is column.type.kind is ColumnKind.DECIMAL
    if pushed.type != column.type and not both:
        raise SchemaMismatch(
            f"The column {column.name} is {column.type} in {table.ref.name}, not {pushed.type}."
        )
    whole = column.length is None or pushed.length is None
    return Column(column.name, pushed.type, None if whole else max(column.length or 0, pushed.length or 0))


def _is_wider(old: ColumnType, new: ColumnType) -> bool:
    """Iceberg changes the precision of a DECIMAL, and never its scale."""
    return old.scale == new.scale and new.precision >= old.precision


def _refuse_many(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise SchemaMismatch(f"A table may have {MOST_COLUMNS} columns; this one would have {columns}.")


_DATETIME = ColumnType(ColumnKind.DATETIME)

_SPARK_TYPES = {
    ColumnKind.STRING: "STRING",
    ColumnKind.INTEGER: "BIGINT",
    ColumnKind.FLOAT: "DOUBLE",
    ColumnKind.BOOLEAN: "BOOLEAN",
    ColumnKind.DATE: "DATE",
    ColumnKind.TIME: "BIGINT",
    ColumnKind.DATETIME: "TIMESTAMP_NTZ",
}


def _spark_type(type: ColumnType) -> str:
    if type.kind is ColumnKind.DECIMAL:
        return f"DECIMAL({type.precision},{type.scale})"
    return _SPARK_TYPES.get(type.kind, "STRING")


def _tick(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _plain(columns: Sequence[Column]) -> list[str]:
    return [plain(c.name) for c in columns]


def _quoted(columns: Sequence[Column]) -> list[str]:
    return [f"`{name}`" for name in _plain(columns)]


def _insert(names: Sequence[str]) -> str:
    columns = ", ".join(f"`{n}`" for n in names)
    return f"INSERT ({columns}) VALUES ({', '.join(f's.`{n}`' for n in names)})"


def _union(parts: Sequence[Any]) -> Any:
    first, *others = parts
    for other in others:
        first = first.unionAll(other)
    return first


def _rows_of(file: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415  36 MB, and only this engine asks

    return int(pq.ParquetFile(file).metadata.num_rows)
