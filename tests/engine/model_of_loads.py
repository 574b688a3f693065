"""What a load does, said a second time: lists and dictionaries, one row after the other.

``Model.apply`` takes a job as a client sends it and answers how it ends. Nothing here is shared with what it
checks but the words (``headrace.model``). A table is a list of rows, oldest first; a row is a dictionary by
folded column name. What nobody has decided raises ``Unspecified``: such jobs are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from headrace.model import (
    ChunkType,
    ColumnKind,
    Counts,
    JobStatus,
    JobType,
    PushSpec,
    UpsertStrategy,
)

Value = str | int | float | None

STRING, INTEGER, FLOAT = ColumnKind.STRING, ColumnKind.INTEGER, ColumnKind.FLOAT
UNKNOWN = ColumnKind.UNKNOWN
"""The kind of a Parquet column of nothing but NULLs that says no type."""

_WHOLE = re.compile(r"\s*[+-]?\d+(\.0*)?\s*")
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")


class Unspecified(Exception):
    """The design leaves open what this job does."""


class Refused(Exception):
    """The job ends in ERROR with this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Bad(Exception):
    """A value that does not fit its column."""


# -- what is sent --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """``columns`` are names with the kinds that the file itself says: a CSV says STRING and nothing else."""

    type: ChunkType
    columns: tuple[tuple[str, ColumnKind], ...]
    rows: tuple[tuple[Value, ...], ...]
    csv: bool = False

    @property
    def names(self) -> set[str]:
        return {name.casefold() for name, _ in self.columns}


@dataclass(frozen=True)
class Job:
    spec: PushSpec
    chunks: tuple[Chunk, ...]
    order: str | None = None

    @property
    def keys(self) -> list[str]:
        """``keys`` if not empty, else the columns with pkField."""
        named = self.spec.keys or [c.name for c in self.spec.columns if c.primary_key]
        return [name.casefold() for name in named]


# -- what is there -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    values: dict[str, Value]
    job: int  # the number of the job that wrote it: its change date

    def key(self, keys: Sequence[str]) -> tuple[Value, ...]:
        """Tuples of Python compare NULL-safe: None equals None and nothing else."""
        return tuple(self.values.get(k) for k in keys)


@dataclass(frozen=True)
class Column:
    name: str
    kind: ColumnKind

    @property
    def folded(self) -> str:
        return self.name.casefold()


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = ()

    @property
    def folded(self) -> list[str]:
        return [c.folded for c in self.columns]

    def column(self, folded: str) -> Column | None:
        return next((c for c in self.columns if c.folded == folded), None)


@dataclass(frozen=True)
class Outcome:
    status: JobStatus
    counts: Counts
    code: str | None = None


# -- the model -----------------------------------------------------------------------------------------


@dataclass
class Model:
    tables: dict[str, Table] = field(default_factory=dict)
    """By folded name."""

    jobs: int = 0

    def accepts(self, job: Job, chunk: Chunk) -> bool:
        """A chunk needs the key columns; a DELETE chunk also a DELTA with keys. The others are a 400."""
        if chunk.type is ChunkType.DELETE and (job.spec.type is JobType.REPLACE or not job.keys):
            return False
        return chunk.names.issuperset(job.keys)

    def apply(self, job: Job) -> Outcome:
        """Change the tables as the job says, or not at all. Raises Unspecified, with nothing changed."""
        job = replace(job, chunks=tuple(c for c in job.chunks if self.accepts(job, c)))
        push = Push(job, self.tables)
        try:
            changed, counts = self._changed(push)
        except Refused as refused:
            rows_in = push.rows_in if job.chunks else 0
            counts = Counts(rows_in=rows_in, rejected=push.rejected, not_loaded=rows_in - push.rejected)
            return Outcome(JobStatus.ERROR, counts, refused.code)
        self.tables |= changed
        self.jobs += 1
        return Outcome(JobStatus.DONE, counts)

    def _changed(self, push: Push) -> tuple[dict[str, Table], Counts]:
        if push.job.spec.type is JobType.REPLACE and not push.job.chunks:
            raise Refused("chunk-failed")
        push.refuse_rejects()
        push.refuse_unknown_names()
        winners = push.winners()
        changes = {
            ref.name.casefold(): self._target(push, winners, ref.name) for ref in push.job.spec.targets
        }
        counts = changes[push.job.spec.target_name.casefold()][1]
        counts = replace(
            counts,
            rows_in=push.rows_in,
            rejected=push.rejected,
            duplicates=push.rows_in - push.rejected - len(winners),
        )
        return {name: table for name, (table, _) in changes.items() if table}, counts

    def _target(self, push: Push, winners: Sequence[Action], name: str) -> tuple[Table | None, Counts]:
        old = self.tables.get(name.casefold())
        upserts = [a for a in winners if not a.deletes]
        if old is None and not any(c.type is ChunkType.UPSERT for c in push.job.chunks):
            return None, Counts(not_found=len(winners))  # nothing to make a table of
        if push.job.spec.type is JobType.REPLACE or old is None:
            table = Table(old.name if old else name, push.columns)
            rows = tuple(Row(a.values, self.jobs) for a in upserts)
            counts = Counts(inserted=len(upserts), not_found=len(winners) - len(upserts))
            return replace(table, rows=rows), counts
        return self._merged(old, push, winners)

    def _merged(self, old: Table, push: Push, winners: Sequence[Action]) -> tuple[Table, Counts]:
        spec, keys = push.job.spec, push.job.keys
        new = [c for c in push.columns if old.column(c.folded) is None]
        if new and spec.upsert_strategy is UpsertStrategy.UPSERT_WITH_UNCHANGED_METADATA:
            raise Refused("schema-mismatch")
        for column in push.columns:
            there = old.column(column.folded)
            if there and there.kind is not column.kind:
                raise Unspecified("a mirror whose column has another type")
        lacking = [name for name in old.folded if name not in {p.folded for p in push.columns}]
        keeps = lacking and spec.upsert_strategy is not UpsertStrategy.UPSERT_WITH_NULLIFICATION
        found: dict[tuple[Value, ...], list[Row]] = {}
        for row in old.rows if keys else ():
            found.setdefault(row.key(keys), []).append(row)
        rows, hits = [], {False: 0, True: 0}
        for action in winners:
            matched = found.get(action.key, []) if keys else []
            hits[action.deletes] += bool(matched)
            if action.deletes:
                continue
            kept = _newest(matched, lacking) if keeps and matched else {}
            rows.append(Row({**kept, **action.values}, self.jobs))
        gone = {a.key for a in winners} if keys else set()
        stay = [row for row in old.rows if not keys or row.key(keys) not in gone]
        deletes = sum(a.deletes for a in winners)
        counts = Counts(
            inserted=len(winners) - deletes - hits[False],
            updated=hits[False],
            deleted=hits[True],
            not_found=deletes - hits[True],
        )
        return Table(old.name, (*old.columns, *new), (*stay, *rows)), counts


def _newest(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, Value]:
    """What a table holds in ``columns`` for a key; of several rows (they were appended) the newest counts."""
    newest = [row for row in rows if row.job == max(r.job for r in rows)]
    kept = {tuple(row.values.get(c) for c in columns) for row in newest}
    if len(kept) > 1:
        raise Unspecified("which of the rows that one job wrote is the newest")
    return dict(zip(columns, kept.pop(), strict=True))


# -- one push ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Action:
    values: dict[str, Value]
    deletes: bool
    key: tuple[Value, ...]


class Push:
    """A job's chunks in one schema: its columns, its good rows in order, its bad ones counted."""

    def __init__(self, job: Job, tables: dict[str, Table]) -> None:
        self.job = job
        replaces = job.spec.type is JobType.REPLACE
        self._table = None if replaces else tables.get(job.spec.target_name.casefold())
        self._declared = {c.name.casefold(): c for c in job.spec.columns if c.kind or c.length}
        self.columns = tuple(self._agreed())
        self.rejected = 0
        self.actions = list(self._actions())
        self.rows_in = len(self.actions) + self.rejected

    def _agreed(self) -> Iterator[Column]:
        """In the order of arrival; the table's own name and type come first, then the declared ones."""
        kinds: dict[str, ColumnKind] = {}
        names: dict[str, str] = {}
        for chunk in self.job.chunks:
            for name, kind in chunk.columns:
                folded = name.casefold()
                if self._counts(chunk, folded):
                    names.setdefault(folded, name)
                    kinds[folded] = _wider(kinds.get(folded, UNKNOWN), kind)
        for folded, name in names.items():
            there = self._table.column(folded) if self._table else None
            declared = self._declared.get(folded)
            if there:
                yield there
            elif declared:
                yield Column(declared.name, declared.kind or STRING)
            else:
                yield Column(name, STRING if kinds[folded] is UNKNOWN else kinds[folded])

    def _counts(self, chunk: Chunk, folded: str) -> bool:
        """A delete chunk may hold whole rows, but only what finds and orders them counts."""
        return chunk.type is ChunkType.UPSERT or folded in self.job.keys or folded == self._order

    @property
    def _order(self) -> str | None:
        """Without keys there is nothing to choose from, and the order column means nothing."""
        return self.job.order.casefold() if self.job.order and self.job.keys else None

    def _actions(self) -> Iterator[Action]:
        """Chunks in the order of their arrival, rows in the order of the file."""
        for chunk in self.job.chunks:
            for row in chunk.rows:
                try:
                    values = self._converted(chunk, row)
                except Bad:
                    self.rejected += 1
                    continue
                key = tuple(values.get(k) for k in self.job.keys)
                yield Action(values, chunk.type is ChunkType.DELETE, key)

    def _converted(self, chunk: Chunk, row: Sequence[Value]) -> dict[str, Value]:
        wanted = {c.folded: c for c in self.columns}
        values = {}
        for (name, _), value in zip(chunk.columns, row, strict=True):
            if self._counts(chunk, name.casefold()):
                column = wanted[name.casefold()]
                values[column.folded] = self._cut(chunk, column, convert(value, column.kind))
        return values

    def _cut(self, chunk: Chunk, column: Column, value: Value) -> Value:
        declared = self._declared.get(column.folded)
        length = (declared.length if declared else None) or self.job.spec.fallback_length
        strict = self.job.spec.strict_lengths and (
            chunk.type is ChunkType.UPSERT or column.folded in self.job.keys
        )
        if strict and isinstance(value, str) and length and len(value) > length:
            raise Bad
        return value[:length] if isinstance(value, str) and length else value

    def refuse_rejects(self) -> None:
        spec = self.job.spec
        by_rows = spec.max_rejected_rows is not None and self.rejected <= spec.max_rejected_rows
        by_share = (
            spec.max_rejected_share is not None and self.rejected <= spec.max_rejected_share * self.rows_in
        )
        if self.rejected and not by_rows and not by_share:
            raise Refused("rows-rejected")

    def refuse_unknown_names(self) -> None:
        if self._order and self.columns and self._order not in {c.folded for c in self.columns}:
            raise Refused("schema-mismatch")

    def winners(self) -> list[Action]:
        """One action per key: the largest in order, else the last. Duplicates that are allowed all stay."""
        if not self.job.keys:
            return self.actions
        by_key: dict[tuple[Value, ...], list[Action]] = {}
        for action in self._in_order():
            by_key.setdefault(action.key, []).append(action)
        return [a for actions in by_key.values() for a in self._last_of(actions)]

    def _in_order(self) -> list[Action]:
        if not self._order:
            return self.actions
        order = self._order

        def rank(action: Action) -> tuple[bool, Value]:
            value = action.values.get(order)
            return value is not None, "" if value is None else value

        nulls = [a for a in self.actions if not rank(a)[0]]
        return nulls + sorted((a for a in self.actions if rank(a)[0]), key=lambda a: rank(a)[1])  # type: ignore[arg-type, return-value]

    def _last_of(self, actions: Sequence[Action]) -> Sequence[Action]:
        if not self.job.spec.allow_duplicate or actions[-1].deletes:
            return actions[-1:]
        last_delete = max((n for n, a in enumerate(actions) if a.deletes), default=-1)
        return actions[last_delete + 1 :]


# -- values --------------------------------------------------------------------------------------------


def _wider(one: ColumnKind, other: ColumnKind) -> ColumnKind:
    """The narrowest kind that holds both."""
    kinds = {one, other} - {UNKNOWN}
    if STRING in kinds or not kinds:
        return STRING if kinds else UNKNOWN
    return FLOAT if FLOAT in kinds else INTEGER


def convert(value: Value, kind: ColumnKind) -> Value:
    """The value as a column of this kind stores it. Raises Bad."""
    if value is None:
        return None
    if kind is STRING:
        return str(value)
    if isinstance(value, str):
        return _number(value, kind)
    if kind is INTEGER and value != int(value):
        raise Bad
    return int(value) if kind is INTEGER else float(value)


def _number(text: str, kind: ColumnKind) -> Value:
    """Blank text is no value for any kind but STRING."""
    if not text.strip():
        return None
    if not (_WHOLE if kind is INTEGER else _NUMBER).fullmatch(text):
        raise Bad
    return int(float(text)) if kind is INTEGER else float(text)
