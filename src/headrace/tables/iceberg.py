"""Iceberg tables by their own library: what they are now, and changes committed wholly or not at all.

A ``Change`` holds columns, rows and what we note of a table in the memory of Spark's driver until ``commit``:
Spark reads and writes the table under a name that only this driver knows, and then the table's catalog swaps
one pointer, if nobody has swapped it since.

A REST catalog compares less: it refuses a commit only where what that commit names has changed. So each of
ours puts a tag of its own, ``headrace-…``, into the place of the last one's, and names both: of two commits
that began at the same state the second finds that tag gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from headrace.model import CHANGE_DATE, Column, ColumnKind, TableRef
from headrace.tables.icebergstate import (
    PROPERTY,
    ROW,
    State,
    namespace,
    plain,
    plain_table,
    read_state,
    written_state,
)
from headrace.tables.sparkdriver import CATALOG, WORK

_PROPERTIES = {
    "format-version": "2",
    "write.delete.mode": "copy-on-write",
    "write.update.mode": "copy-on-write",
    "write.merge.mode": "copy-on-write",  # whoever reads its files needs no deletions
    "write.parquet.compression-codec": "zstd",
    "history.expire.max-snapshot-age-ms": str(10**15),  # versions go when we say so
}


_TAG = "headrace-"
_SEEN = 10**15
"""A tag is named in a commit when something about it changes: its age, in ms, until it would go by itself."""


def _a_tag() -> str:
    return f"{_TAG}{uuid4().hex}"


class Iceberg:
    """The tables of one Spark session's catalog."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._jvm = session._jvm
        self._gateway = session.sparkContext._gateway
        self._lib = self._jvm.org.apache.iceberg
        self._catalog = self._lib.spark.Spark3Util.loadIcebergCatalog(session._jsparkSession, CATALOG)

    # -- what is there ---------------------------------------------------------------------------------

    def names(self, pool_id: str) -> list[str]:
        space = self._space(pool_id)
        if not self._catalog.namespaceExists(space):
            return []
        return sorted(found.name() for found in self._catalog.listTables(space))

    def find(self, pool_id: str, ref: TableRef) -> IcebergTable | None:
        return self.by_name(pool_id, plain_table(ref))

    def by_name(self, pool_id: str, name: str) -> IcebergTable | None:
        ident = self._ident(pool_id, name)
        if not self._catalog.tableExists(ident):
            return None
        table = self._catalog.loadTable(ident)
        state = table.properties().get(PROPERTY)
        return IcebergTable(name, table, read_state(state)) if state else None

    def tables(self, pool_id: str) -> Iterator[IcebergTable]:
        """Also those that are undone and kept for their versions."""
        for name in self.names(pool_id):
            if found := self.by_name(pool_id, name):
                yield found

    def sql_name(self, pool_id: str, name: str) -> str:
        return f"{CATALOG}.`{namespace(pool_id)}`.`{name}`"

    # -- changes ---------------------------------------------------------------------------------------

    @contextmanager
    def created(self, pool_id: str, ref: TableRef, columns: Sequence[Column]) -> Iterator[Change]:
        """A table that is not there yet."""
        self._make_space(self._space(pool_id))
        ident = self._ident(pool_id, plain_table(ref))
        builder = self._catalog.buildTable(ident, self._schema(columns))
        transaction = builder.withProperties(dict_of(self._jvm, _PROPERTIES)).createTransaction()
        inner = self._begun(transaction)
        self._commit(inner, inner.current(), inner.current())
        with self._changing(inner, transaction.commitTransaction) as change:
            yield change

    def _begun(self, transaction: Any) -> Any:
        """The operations of a table that begins, with a snapshot of no file: a tag needs one."""
        transaction.table().newFastAppend().commit()
        return transaction.table().operations()

    def _make_space(self, space: Any) -> None:
        from py4j.protocol import Py4JJavaError  # noqa: PLC0415  an extra

        if self._catalog.namespaceExists(space):
            return
        try:
            self._catalog.createNamespace(space)
        except Py4JJavaError:  # another load of the pool may have been quicker
            if not self._catalog.namespaceExists(space):
                raise

    @contextmanager
    def changed(self, found: IcebergTable) -> Iterator[Change]:
        """A table that keeps its rows."""
        operations = found.table.operations()
        base = operations.current()
        transaction = self._lib.Transactions.newTransaction(found.name, operations)
        inner = transaction.table().operations()
        with self._changing(inner, lambda: self._commit(operations, base, inner.current())) as change:
            yield change

    @contextmanager
    def made_anew(self, found: IcebergTable, columns: Sequence[Column]) -> Iterator[Change]:
        """A table that begins anew with these columns and no row; its versions stay."""
        operations = found.table.operations()
        base = operations.current()
        unsorted = self._lib.SortOrder.unsorted()
        spec = self._lib.PartitionSpec.unpartitioned()
        start = base.buildReplacement(
            self._schema(columns), spec, unsorted, base.location(), dict_of(self._jvm, _PROPERTIES)
        )
        inner = self._begun(self._lib.Transactions.replaceTableTransaction(found.name, operations, start))
        with self._changing(inner, lambda: self._commit(operations, base, inner.current())) as change:
            yield change

    def point(self, found: IcebergTable, state: State) -> None:
        """The table becomes what it is in the last version of ``state``, in one commit."""
        entry = state.now
        assert entry is not None
        operations = found.table.operations()
        base = operations.current()
        builder = self._lib.TableMetadata.buildFrom(base).setCurrentSchema(entry.schema)
        if entry.snapshot is None:
            builder = builder.removeRef("main")
        elif found.snapshot_id != entry.snapshot:
            builder = builder.setBranchSnapshot(entry.snapshot, "main")
        note = dict_of(self._jvm, {PROPERTY: written_state(state)})
        self._commit(operations, base, builder.setProperties(note).build())

    def _commit(self, operations: Any, base: Any, changed: Any) -> None:
        """``base`` becomes ``changed``, with a new tag; a gone table has it at its last snapshot."""
        builder = self._lib.TableMetadata.buildFrom(changed)
        for name, ref in dict(base.refs()).items():
            if name.startswith(_TAG):
                seen = self._lib.SnapshotRef.builderFrom(ref).maxRefAgeMs(_SEEN).build()
                builder = builder.setRef(name, seen).removeRef(name)
        snapshot = changed.currentSnapshot() or list(changed.snapshots())[-1]
        tag = self._lib.SnapshotRef.tagBuilder(snapshot.snapshotId()).build()
        operations.commit(base, builder.setRef(_a_tag(), tag).build())

    @contextmanager
    def _changing(self, operations: Any, commit: Any) -> Iterator[Change]:
        key = f"w{uuid4().hex}"
        table = self._lib.BaseTable(operations, key)
        cache = self._cache()
        cache.add(key, table)
        try:
            yield Change(self, f"{WORK}.`{key}`", table, commit)
        finally:
            cache.remove(key)

    def _cache(self) -> Any:
        """By reflection: py4j takes the other method of the same name."""
        loader = self._jvm.java.lang.Thread.currentThread().getContextClassLoader()
        cls = loader.loadClass("org.apache.iceberg.spark.SparkTableCache")
        none = self._gateway.new_array(self._jvm.java.lang.Class, 0)
        return cls.getMethod("get", none).invoke(None, self._gateway.new_array(self._jvm.java.lang.Object, 0))

    def drop(self, pool_id: str, name: str) -> None:
        self._catalog.dropTable(self._ident(pool_id, name), True)

    def drop_pool(self, pool_id: str) -> None:
        for name in self.names(pool_id):
            self.drop(pool_id, name)
        space = self._space(pool_id)
        if self._catalog.namespaceExists(space):
            self._catalog.dropNamespace(space)

    # -- Java's words ----------------------------------------------------------------------------------

    def type_of(self, column: Column) -> Any:
        types, kind = self._lib.types.Types, column.type.kind
        if kind is ColumnKind.DECIMAL:
            return types.DecimalType.of(column.type.precision, column.type.scale)
        if kind is ColumnKind.DATETIME:
            return types.TimestampType.withoutZone()
        names = {
            ColumnKind.INTEGER: "LongType",
            ColumnKind.FLOAT: "DoubleType",
            ColumnKind.BOOLEAN: "BooleanType",
            ColumnKind.DATE: "DateType",
            ColumnKind.TIME: "LongType",  # Spark has no time of day: microseconds since midnight
        }
        return getattr(types, names.get(kind, "StringType")).get()

    def _schema(self, columns: Sequence[Column]) -> Any:
        types, fields = self._lib.types.Types, self._jvm.java.util.ArrayList()
        named = [(plain(c.name), self.type_of(c)) for c in columns]
        named += [(plain(CHANGE_DATE), types.TimestampType.withoutZone()), (ROW, types.LongType.get())]
        for number, (name, type) in enumerate(named, 1):
            fields.add(types.NestedField.optional(number, name, type))
        return self._lib.Schema(fields)

    def _space(self, pool_id: str) -> Any:
        levels = self._gateway.new_array(self._jvm.java.lang.String, 1)
        levels[0] = namespace(pool_id)
        return self._lib.catalog.Namespace.of(levels)

    def _ident(self, pool_id: str, name: str) -> Any:
        return self._lib.catalog.TableIdentifier.of(self._space(pool_id), name)


class IcebergTable:
    """A table as it was when it was looked up."""

    def __init__(self, name: str, table: Any, state: State) -> None:
        self.name = name
        self.table = table
        snapshot = table.currentSnapshot()
        self.snapshot_id: int | None = snapshot.snapshotId() if snapshot else None
        self.summary: dict[str, str] = dict(snapshot.summary()) if snapshot else {}
        self.schema_id: int = table.schema().schemaId()
        self.state = state

    @property
    def rows(self) -> int:
        return int(self.summary.get("total-records", 0))

    def summary_of(self, snapshot: int) -> dict[str, str] | None:
        """None: it is no longer kept."""
        found = self.table.snapshot(snapshot)
        return dict(found.summary()) if found else None


class Change:
    """A table under way: ``name`` is what Spark's SQL calls it."""

    def __init__(self, iceberg: Iceberg, name: str, table: Any, commit: Any) -> None:
        self._iceberg = iceberg
        self.name = name
        self._table = table
        self._commit = commit

    @property
    def snapshot_id(self) -> int | None:
        snapshot = self._table.currentSnapshot()
        return snapshot.snapshotId() if snapshot else None

    @property
    def rows(self) -> int:
        snapshot = self._table.currentSnapshot()
        return int(snapshot.summary().get("total-records") or 0) if snapshot else 0

    @property
    def schema_id(self) -> int:
        return int(self._table.schema().schemaId())

    def add_column(self, column: Column) -> None:
        """Before the change date, as the last of ours."""
        update = self._table.updateSchema().addColumn(plain(column.name), self._iceberg.type_of(column))
        update.moveBefore(plain(column.name), plain(CHANGE_DATE)).commit()

    def widen(self, column: Column) -> None:
        self._table.updateSchema().updateColumn(plain(column.name), self._iceberg.type_of(column)).commit()

    def note(self, state: State) -> None:
        self._table.updateProperties().set(PROPERTY, written_state(state)).commit()

    def commit(self) -> None:
        self._commit()


def dict_of(jvm: Any, values: dict[str, str]) -> Any:
    made = jvm.java.util.HashMap()
    for name, value in values.items():
        made.put(name, value)
    return made
