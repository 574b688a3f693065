"""Money stays exact: a DECIMAL that does not hold the values of a file becomes wider, never rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from headrace.conversion import changes_as_float, fraction_digits, is_bad, literal
from headrace.lattice import FLOAT_DIGITS, FLOAT_INTEGERS, MOST_DIGITS
from headrace.model import FLOAT, INTEGER, ColumnKind, ColumnType, decimal
from headrace.staging.engine import db
from headrace.staging.tasks import Field


def exact(field: Field, relation: str) -> Field:
    """The field in the narrowest type that keeps every number of the file as it is.

    Wider, with more digits after the point, FLOAT if that changes none of them. What no type holds beside
    the others is left to be a reject.
    """
    if field.type.kind is not ColumnKind.DECIMAL or field.fixed:
        return field
    for type in _wider(field, relation):
        if not _changed(field, type, relation):
            return replace(field, type=type)
    return replace(field, type=decimal(MOST_DIGITS, field.type.scale))


def _wider(field: Field, relation: str) -> Iterator[ColumnType]:
    yield field.type
    yield decimal(MOST_DIGITS, field.type.scale)
    if field.source.is_text:
        digits = f"SELECT max({fraction_digits(field.source)}) FROM {relation}"
        scale = db().execute(digits).fetchall()[0][0] or 0
        if field.type.scale < scale < MOST_DIGITS:
            yield decimal(MOST_DIGITS, scale)
    yield FLOAT


def _changed(field: Field, type: ColumnType, relation: str) -> int:
    """How many numbers the type would not hold as they are."""
    lost = changes_as_float(field.source) if type == FLOAT else is_bad(field.source, type)
    numbers = f"{lost} AND NOT {is_bad(field.source, FLOAT)}"
    return int(db().execute(f"SELECT count(*) FROM {relation} WHERE {numbers}").fetchall()[0][0])


def beyond_float(fields: Sequence[Field], staged: Path) -> tuple[str, ...]:
    """The columns of the staged file with a number that a FLOAT would not hold, by the file's own statistics.

    For the case that another chunk of the job has FLOAT there.
    """
    looked_at = [f for f in fields if not f.fixed and _may_be_beyond(f.type)]
    if not looked_at:
        return ()
    query = (
        "SELECT path_in_schema, stats_min_value, stats_max_value "
        f"FROM parquet_metadata({literal(str(staged))}) WHERE stats_null_count < num_values"
    )
    found: dict[str, list[str | None]] = {}
    for name, *ends in db().execute(query).fetchall():
        found.setdefault(name, []).extend(ends)
    return tuple(f.name for f in looked_at if any(_is_beyond(end, f.type) for end in found.get(f.name, ())))


def _may_be_beyond(type: ColumnType) -> bool:
    return type == INTEGER or (type.kind is ColumnKind.DECIMAL and type.precision > FLOAT_DIGITS)


def _is_beyond(end: str | None, type: ColumnType) -> bool:
    if end is None:  # the file does not say
        return True
    if type == INTEGER:
        return abs(int(end)) > FLOAT_INTEGERS
    whole, _, fraction = end.lstrip("-").partition(".")
    return len((whole + fraction).lstrip("0")) > FLOAT_DIGITS
