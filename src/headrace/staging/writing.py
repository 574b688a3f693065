"""Two ways from rows to a staged file.

* the *straight* way lets the engine read the file and converts strictly; the first value that does not
  fit ends it. Nearly every chunk goes this way and pays for nothing else;
* the *careful* way converts leniently, writes what is good, names what is bad and counts what was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from headrace.conversion import Source, lenient, literal, quoted, strict
from headrace.durable import sync
from headrace.model import UNKNOWN, Column, ColumnType, Cut, StageReport
from headrace.staging.amounts import beyond_float, exact
from headrace.staging.engine import db
from headrace.staging.inferring import inferred
from headrace.staging.rejects import Locate, Rejected, any_of, faults_of, merge_rejects, write_rejects
from headrace.staging.tasks import Field, Scratch

_USUAL_WIDTH = 50
_CELLS_A_GROUP = 5_000_000
_DICTIONARY_BYTES = 128 << 20


@dataclass(frozen=True)
class Numbered:
    """The rows for the careful way, with their place in the file as ``_line``; ``bad_rows`` are not there.

    ``located`` says of rejects, in the order of the file, where they stand in bytes, if the file is text.
    """

    relation: str
    bad_rows: int
    located: Locate = iter


def write_rows(
    fields: Sequence[Field], scratch: Scratch, *, straight: str | None, careful: Callable[[], Numbered]
) -> StageReport:
    """Straight from this relation if there is one and every value of it fits, else with care."""
    report = _straight(straight, fields, scratch) if straight else None
    if report:
        return report
    numbered = careful()
    return _careful(numbered, fields, scratch)


# -- the straight way ----------------------------------------------------------------------------------


def _straight(relation: str, fields: Sequence[Field], scratch: Scratch) -> StageReport | None:
    """Write the chunk in one pass; None when anything in it needs care."""
    try:
        fields, notes = inferred(fields, relation)
        query = f"SELECT {_select(fields, strict)} FROM {relation} WHERE {_all_fit(fields)}"
        rows = _write(query, len(fields), scratch.staged)
    except (duckdb.IOException, duckdb.OutOfMemoryException):
        raise  # not the rows' fault: the careful way would meet the same
    except duckdb.Error:
        return None
    beyond = beyond_float(fields, scratch.staged)
    return StageReport(rows, 0, _columns(fields), notes=notes, beyond_float=beyond)


def _select(
    fields: Sequence[Field], convert: Callable[[Source, ColumnType], str], *, cut: bool = False
) -> str:
    """The stored columns. A column without a value is left out: it is NULL in whatever type it gets."""
    stored = [f for f in fields if f.type != UNKNOWN or f.key] or fields
    values = ((convert(f.source, f.type), f) for f in stored)
    return ", ".join(
        f"{f'left({v}, {f.length})' if cut and f.length else v} AS {quoted(f.name)}" for v, f in values
    )


def _all_fit(fields: Sequence[Field]) -> str:
    """SQL condition: true; a row with a string that is longer than its column raises.

    Of all strings at once: the engine would make a copy of each that an expression of its own lets through.
    """
    limited = [(strict(f.source, f.type), f.length) for f in fields if f.length]
    if not limited:
        return "true"
    # bytes first: counting characters costs more, and most strings are short
    short = " AND ".join(
        f"greatest({', '.join(f'strlen({v})' for v, length in limited if length == most)}) <= {most}"
        for most in sorted({length for _, length in limited})
    )
    fit = " AND ".join(f"({v} IS NULL OR length({v}) <= {length})" for v, length in limited)
    return f"CASE WHEN {short} THEN true WHEN {fit} THEN true ELSE error('a string is too long')::BOOLEAN END"


def _write(query: str, columns: int, path: Path) -> int:
    # V2: its encodings are cheaper to write and to read, and a tenth smaller
    options = "FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, COMPRESSION_LEVEL 1"
    if columns > _USUAL_WIDTH:  # the writer holds a row group in memory, and a dictionary for each column
        rows_a_group = max(2048, _CELLS_A_GROUP // columns)
        dictionary = max(8192, _DICTIONARY_BYTES // columns)
        options += f", ROW_GROUP_SIZE {rows_a_group}, STRING_DICTIONARY_PAGE_SIZE_LIMIT {dictionary}"
    copy = f"COPY ({query}) TO {literal(str(path))} ({options})"
    rows = int(db().execute(copy).fetchall()[0][0])
    sync(path)  # here, beside other chunks, so that the load's own sync has nothing left to write
    return rows


def _columns(fields: Sequence[Field]) -> tuple[Column, ...]:
    return tuple(Column(f.name, f.type, f.length) for f in fields)


# -- the careful way -----------------------------------------------------------------------------------


def _careful(numbered: Numbered, fields: Sequence[Field], scratch: Scratch) -> StageReport:
    relation, bad_rows = numbered.relation, numbered.bad_rows
    declared, hints = inferred(fields, relation)
    fields = [exact(f, relation) for f in declared]
    faults = faults_of(fields)
    any_bad = any_of(faults)
    bad_values = write_rejects(relation, fields, faults, scratch.bad_values)
    good = f"(SELECT * FROM {relation} WHERE NOT ({any_bad}))"
    cuts = _longer(good, [f for f in fields if f.length and not f.strict])
    strict_ones = [f for f in fields if f.length and f.strict]
    overlong = _longer(relation, strict_ones) if bad_values else ()
    rows = _write(f"SELECT {_select(fields, lenient, cut=True)} FROM {good}", len(fields), scratch.staged)
    rejected = merge_rejects(scratch, numbered.located) if bad_rows + bad_values else Rejected()
    notes = tuple(
        f"The column {before.name} holds values that do not fit {before.type}: stored as {after.type}."
        for before, after in zip(declared, fields, strict=True)
        if before.type != after.type
    )
    return StageReport(
        rows,
        bad_rows + bad_values,
        _columns(fields),
        cuts,
        rejected.first,
        (*hints, *notes),
        beyond_float(fields, scratch.staged),
        rejected_by=rejected.by,
        overlong=overlong,
    )


def _longer(relation: str, limited: Sequence[Field]) -> tuple[Cut, ...]:
    """The strings that are longer than their column."""
    if not limited:
        return ()
    measured = ", ".join(
        f"count(*) FILTER (length({value}) > {f.length}), max(length({value}))"
        for f, value in ((f, lenient(f.source, f.type)) for f in limited)
    )
    numbers = db().execute(f"SELECT {measured} FROM {relation}").fetchall()[0]
    found = zip(limited, numbers[::2], numbers[1::2], strict=True)
    return tuple(Cut(f.name, f.length or 0, rows, longest) for f, rows, longest in found if rows)
