"""What we know of an Iceberg table and Iceberg does not: its clients' names and types, its versions.

Kept as JSON in a property of the table, so that it changes in the same commit as the rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256

from headrace.model import CHANGE_DATE, Column, ColumnKind, ColumnType, Table, TableRef, Version, fold

PROPERTY = "headrace"
ROW = "_headrace_x_row"
"""A column of every table: the number of the load and of the row in it. The larger one is the newer."""

ROW_BITS = 40

UNDO, UPKEEP = "UNDO", "upkeep"

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Shape:
    """Columns of a table, and the folded names of those by which its rows are known to be unique."""

    columns: tuple[Column, ...]
    unique: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A version of a table. ``snapshot`` None: it is empty; ``shape`` None: there is no such table.

    ``added`` rows are of this load; ``anew``: the table was made, or made anew.
    """

    version: int
    at: str
    job: str | None
    what: str
    snapshot: int | None
    schema: int
    shape: int | None
    added: int = 0
    rows: int = 0
    anew: bool = False


@dataclass(frozen=True)
class State:
    name: str
    connection: str | None
    shapes: tuple[Shape, ...] = ()
    entries: tuple[Entry, ...] = ()
    loads: int = 0

    @property
    def ref(self) -> TableRef:
        return TableRef(self.name, self.connection)

    @property
    def now(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    def shape(self, entry: Entry | None) -> Shape | None:
        return self.shapes[entry.shape] if entry and entry.shape is not None else None

    def table(self, entry: Entry | None = None, rows: int | None = None) -> Table | None:
        """The table at a version; None: there was none."""
        shape = self.shape(entry or self.now)
        return Table(self.ref, shape.columns, rows, shape.unique) if shape else None

    def with_entry(self, entry: Entry, shape: Shape | None) -> State:
        shapes = self.shapes
        if shape is not None and shape not in shapes:
            shapes = (*shapes, shape)
        entry = replace(entry, shape=None if shape is None else shapes.index(shape))
        return replace(self, shapes=shapes, entries=(*self.entries, entry))

    def following(self, snapshot: int | None, schema: int, rows: int, at: datetime) -> State:
        """With a version for what others did to the files since our last commit: upkeep does."""
        last = self.now
        if last is None or last.shape is None or last.snapshot == snapshot:
            return self
        entry = Entry(last.version + 1, at.isoformat(), None, UPKEEP, snapshot, schema, None, rows=rows)
        return self.with_entry(entry, self.shape(last))

    def of_job(self, job: str, *, undo: bool = False) -> int | None:
        """The place of its version."""
        found = (n for n, e in enumerate(self.entries) if e.job == job and (e.what == UNDO) is undo)
        return next(found, None)

    def versions(self) -> list[Version]:
        """Those in which the table changed, newest first."""
        changed = [
            entry
            for before, entry in zip((None, *self.entries), self.entries, strict=False)
            if before is None
            or (before.snapshot, before.shape) != (entry.snapshot, entry.shape)
            or entry.anew
        ]
        return [
            Version(
                e.version,
                datetime.fromisoformat(e.at),
                e.job,
                e.what,
                undo=e.what == UNDO,
                gone=e.shape is None,
            )
            for e in reversed(changed)
        ]


def read_state(text: str) -> State:
    fields = json.loads(text)
    return State(
        fields["name"],
        fields["connection"],
        tuple(
            Shape(tuple(map(_column, shape["columns"])), tuple(shape["unique"])) for shape in fields["shapes"]
        ),
        tuple(Entry(**entry) for entry in fields["entries"]),
        fields["loads"],
    )


def written_state(state: State) -> str:
    fields = {
        "name": state.name,
        "connection": state.connection,
        "shapes": [
            {"columns": list(map(_written_column, shape.columns)), "unique": shape.unique}
            for shape in state.shapes
        ],
        "entries": [asdict(entry) for entry in state.entries],
        "loads": state.loads,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _column(fields: Sequence[object]) -> Column:
    name, kind, precision, scale, length = fields
    type = ColumnType(ColumnKind(str(kind)), int(str(precision)), int(str(scale)))
    return Column(str(name), type, None if length is None else int(str(length)))


def _written_column(column: Column) -> list[object]:
    return [column.name, column.type.kind, column.type.precision, column.type.scale, column.length]


# -- names ---------------------------------------------------------------------------------------------


def plain(name: str) -> str:
    """A name of letters, digits and underscores for any other; no two names have the same.

    It adds small letters only, for some catalogs take no others in the names of tables. Iceberg spells other
    characters of columns so itself, in its files. What begins with an underscore may be a name of its own;
    ``_x_`` is in none, so that ours are free.
    """
    if name == CHANGE_DATE:
        return name
    spelled = re.sub(r"^_|_(?=x)|[^A-Za-z0-9_]", lambda found: f"_x{ord(found[0]):x}_", name)
    if spelled[:1].isdigit():
        spelled = f"_x{ord(spelled[0]):x}_{spelled[1:]}"
    if len(spelled) > _LONGEST_NAME:
        spelled = f"{spelled[: _LONGEST_NAME - 33]}_{sha256(name.encode()).hexdigest()[:32]}"
    return spelled


def plain_table(ref: TableRef) -> str:
    """The same for each spelling of a table's name."""
    name = plain(fold(ref.name))
    return f"t_{name}" if ref.connection_id is None else f"c_{plain(ref.connection_id)}__{name}"


def namespace(pool_id: str) -> str:
    return f"pool_{plain(pool_id.replace('-', ''))}"
