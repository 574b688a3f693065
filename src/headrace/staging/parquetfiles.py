"""Staging a Parquet file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb

from headrace.conversion import literal, quoted
from headrace.errors import ChunkUnreadable
from headrace.lattice import MOST_DIGITS
from headrace.model import StageReport
from headrace.staging.arrowbatches import rewrite_parquet
from headrace.staging.checksums import refuse_damaged_pages
from headrace.staging.engine import db, described, first_line
from headrace.staging.fields import fields_of
from headrace.staging.tasks import Scratch, StageTask
from headrace.staging.writing import Numbered, write_rows


def stage_parquet(task: StageTask, scratch: Scratch) -> StageReport:
    """By the engine's reader, and by Arrow's where the engine does not know an encoding."""
    try:
        return _stage(task, scratch)
    except duckdb.Error as error:
        if task.source == scratch.records or "encoding" not in str(error).lower():
            raise
    rewrite_parquet(task.source, scratch.records)
    return _stage(replace(task, source=scratch.records), scratch)


def _stage(task: StageTask, scratch: Scratch) -> StageReport:
    path = literal(str(task.source))
    relation = f"read_parquet({path}, hive_partitioning=false)"
    found = _found(task.source)
    if task.source != scratch.records:
        refuse_damaged_pages(task.source)
    columns = described(relation)
    # whatever the columns are called, here they are c0, c1 …
    cells = ", ".join(f"{quoted(name)} AS c{n}" for n, (name, _) in enumerate(columns))
    types = [
        (f"c{n}", name, '"NULL"' if empty else type)
        for n, ((name, empty), (_, type)) in enumerate(zip(found, columns, strict=True))
    ]
    fields, notes = fields_of(task, types)
    numbered = f"(SELECT row_number() OVER () AS _line, {cells} FROM {relation})"  # one thread: file order
    report = write_rows(
        fields,
        scratch,
        straight=f"(SELECT {cells} FROM {relation})",
        careful=lambda: Numbered(numbered, bad_rows=0),
    )
    return replace(report, notes=(*notes, *report.notes))


def parquet_columns(path: Path) -> list[str]:
    """The names as the file has them, if it can be read at all. Raises ChunkUnreadable."""
    with _unreadable():
        algorithm = _encryption(path)
    if algorithm:
        raise ChunkUnreadable(f"The Parquet file is encrypted ({algorithm}). Write it without encryption.")
    return [name for name, _ in _found(path)]


def _encryption(path: Path) -> str | None:
    """By what its columns are encrypted, though its footer can be read."""
    query = f"SELECT encryption_algorithm FROM parquet_file_metadata({literal(str(path))})"
    try:
        (algorithm,) = db().execute(query).fetchall()[0]
    except duckdb.InvalidInputException as error:
        if "unicode" not in str(error):
            raise
        return _unshown_encryption(path)
    named = re.search(r"(AES_\w+)=Aes", algorithm or "")
    return named[1] if named else algorithm


def _unshown_encryption(path: Path) -> str | None:
    """The engine would show random bytes of an encryption as text; but it may have been another text."""
    try:
        db().execute(f"FROM read_parquet({literal(str(path))}, hive_partitioning=false) LIMIT 1").fetchall()
    except duckdb.Error:
        return "or it is damaged"
    return None


def _found(path: Path) -> list[tuple[str, bool]]:
    """Each column's name, and whether it is declared to have no value. Raises ChunkUnreadable.

    The engine would rename what stands twice, and takes a column without values for one of integers.
    """
    with _unreadable():
        query = (
            f"SELECT name, num_children, precision, logical_type FROM parquet_schema({literal(str(path))})"
        )
        schema = db().execute(query).fetchall()
        described(f"read_parquet({literal(str(path))}, hive_partitioning=false)")
    if any((precision or 0) > MOST_DIGITS for _, _, precision, _ in schema):
        raise ChunkUnreadable(f"A DECIMAL may have {MOST_DIGITS} digits; this file has a longer one.")
    found: list[tuple[str, bool]] = []
    left: list[int] = []
    for name, children, _, logical in schema[1:]:  # depth first; the first is the root
        if not left:
            found.append((name or f"column_{len(found) + 1}", (logical or "").startswith("Null")))
        else:
            left[-1] -= 1
        if children:
            left.append(children)
        while left and left[-1] == 0:
            left.pop()
    return found


@contextmanager
def _unreadable() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise ChunkUnreadable(f"Internal error while validating the Parquet: {first_line(error)}") from error
