"""One schema for all chunks of a job: the types of the table, else the narrowest that hold everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.lattice import Held, join
from headrace.model import (
    STRING,
    UNKNOWN,
    Chunk,
    ChunkType,
    Column,
    ColumnKind,
    Job,
    StageReport,
    Table,
    fold,
)


def agree(job: Job, chunks: Sequence[Chunk], table: Table | None, logs: list[str]) -> list[Column]:
    """The columns of the push, in the order of their first arrival, in the types that the table will have.

    A column that the table has keeps the table's name and type (a DECIMAL may widen): what does not fit
    becomes a reject. Other columns take the narrowest type that holds what all chunks have. ``logs`` gets a
    line for each disagreement.
    """
    agreed: dict[str, _Agreed] = {}
    for chunk in sorted(chunks, key=lambda c: c.type is ChunkType.DELETE):
        for column in columns_that_count(job, chunk, staged_columns(chunk)):
            if chunk.type is ChunkType.DELETE and not _has_place(column, agreed, table):
                continue
            found = _Agreed(column, Held(column.type, column.name not in _beyond_float(chunk.report)))
            known = agreed.get(fold(column.name))
            agreed[fold(column.name)] = _unified(known, found, logs) if known else found
    return [_settled(found.column, table) for found in agreed.values()]


def staged_columns(chunk: Chunk) -> Sequence[Column]:
    return chunk.report.columns if chunk.report else ()


def columns_that_count(job: Job, chunk: Chunk, columns: Sequence[Column]) -> Sequence[Column]:
    """A delete chunk may hold whole rows, but only what finds and orders them counts."""
    if chunk.type is ChunkType.UPSERT:
        return columns
    wanted = {fold(name) for name in (*job.spec.key_columns, job.order_column or "")}
    return [c for c in columns if fold(c.name) in wanted]


@dataclass(frozen=True)
class _Agreed:
    column: Column
    held: Held


def _beyond_float(report: StageReport | None) -> Sequence[str]:
    return report.beyond_float if report else ()


def _has_place(column: Column, agreed: dict[str, _Agreed], table: Table | None) -> bool:
    """Deletions add no column to a table."""
    return table is None or fold(column.name) in agreed or table.column(column.name) is not None


def _unified(one: _Agreed, other: _Agreed, logs: list[str]) -> _Agreed:
    before, found, held = one.column, other.column, join(one.held, other.held)
    if before.type == found.type:
        whole = before.length is None or found.length is None
        length = None if whole else max(before.length or 0, found.length or 0)
        return _Agreed(replace(before, length=length), held)
    if UNKNOWN in (before.type, found.type):
        length = before.length if found.type == UNKNOWN else found.length
        return _Agreed(Column(before.name, held.type, length), held)
    logs.append(
        f"The column {before.name} is {before.type} in one chunk and {found.type} in another: "
        f"stored as {held.type}."
    )
    return _Agreed(Column(before.name, held.type), held)


def _settled(column: Column, table: Table | None) -> Column:
    existing = table.column(column.name) if table else None
    if existing is None:
        return replace(column, type=STRING) if column.type == UNKNOWN else column
    widens = (
        existing.type.kind is column.type.kind is ColumnKind.DECIMAL
        and existing.type.scale == column.type.scale
        and existing.type.precision < column.type.precision
    )
    return Column(existing.name, column.type if widens else existing.type, column.length)
