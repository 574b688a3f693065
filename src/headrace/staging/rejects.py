"""The rows of a chunk that cannot be stored, as a file of JSON lines in the order of the chunk.

A row is kept whole, so that it can be sent again, unless it is longer than a mebibyte. The values of a row
are kept as text, as it was sent, by the names of their columns.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from pathlib import Path
from typing import Any

from headrace.conversion import expectation, is_bad, lenient, literal, quoted
from headrace.durable import sync
from headrace.model import Reject, RejectCount
from headrace.staging.engine import db
from headrace.staging.tasks import Field, Scratch

FIRST_REJECTS = 10
_LONGEST_VALUE = 200
_LONGEST_WHOLE = 1 << 20  # bytes
_LONGEST_SHOWN = 2000
_NEIGHBOURS = 4
_NOT_UTF8 = "BLOB"


@dataclass(frozen=True)
class Fault:
    """What can be wrong with a value: all but the code are SQL."""

    field: Field
    condition: str
    expected: str
    code: str


@dataclass(frozen=True)
class Rejected:
    """The first rejects of a chunk, cut for showing, and all of them counted by their reason."""

    first: tuple[Reject, ...] = ()
    by: tuple[RejectCount, ...] = ()


def faults_of(fields: Sequence[Field]) -> list[Fault]:
    """Every way in which a row of these fields can be bad, in the order in which they are told."""
    return [fault for field in fields for fault in _faults(field)]


def any_of(faults: Sequence[Fault]) -> str:
    """True for a row that is bad."""
    return " OR ".join(fault.condition for fault in faults)


def _faults(field: Field) -> Iterator[Fault]:
    fits = literal(expectation(field.source, field.type))
    yield Fault(field, is_bad(field.source, field.type), fits, "value-does-not-fit")
    if field.length and field.strict:
        length = f"length({lenient(field.source, field.type)})"
        told = f"'at most {field.length} characters, not ' || {length}"
        yield Fault(field, f"coalesce({length} > {field.length}, false)", told, "too-long-for-column")


def write_rejects(relation: str, fields: Sequence[Field], faults: Sequence[Fault], path: Path) -> int:
    """Write the bad rows of a numbered relation, each with its first fault; answers their number."""

    def of_first(shown: Iterator[str]) -> str:
        whens = " ".join(f"WHEN {f.condition} THEN {show}" for f, show in zip(faults, shown, strict=True))
        return f"CASE {whens} END"

    names = of_first(literal(f.field.name) for f in faults)
    value = of_first(f"left({f.field.source.sql}::VARCHAR, {_LONGEST_VALUE})" for f in faults)
    expected = of_first(f.expected for f in faults)
    codes = of_first(literal(f.code) for f in faults)
    raw = ", ".join(f"{quoted(f.name)} := {_kept(f)}" for f in fields)
    rows = (
        f'SELECT _line AS line, {names} AS "column", {value} AS "value", {expected} AS expected, '
        f"{codes} AS code, to_json(struct_pack({raw}))::VARCHAR AS raw, {_is_text(fields)} AS whole "
        f"FROM {relation} WHERE {any_of(faults)}"
    )
    whole = f"whole AND strlen(raw) <= {_LONGEST_WHOLE}"
    cut = f"CASE WHEN {whole} THEN raw ELSE left(raw, {_LONGEST_SHOWN}) END"
    query = f"SELECT * REPLACE ({cut} AS raw, {whole} AS whole) FROM ({rows})"
    return int(db().execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT json)").fetchall()[0][0])


def _kept(field: Field) -> str:
    source = field.source
    if source.engine_type != _NOT_UTF8:
        return source.sql
    return f"coalesce({_decoded(field)}, {source.sql}::VARCHAR)"


def _is_text(fields: Sequence[Field]) -> str:
    """Whether the row's text says all that its values do: bytes that are no UTF-8 are only described."""
    blobs = [f for f in fields if f.source.engine_type == _NOT_UTF8]
    return " AND ".join(f"({f.source.sql} IS NULL OR {_decoded(f)} IS NOT NULL)" for f in blobs) or "true"


def _decoded(field: Field) -> str:
    return f"try(decode({field.source.sql}))"


def merge_rejects(scratch: Scratch) -> Rejected:
    """Bad records and bad values as one file, by line."""
    first: list[Reject] = []
    counts: Counter[tuple[str, str | None]] = Counter()
    sources = [_read_rejects(path) for path in (scratch.bad_records, scratch.bad_values) if path.exists()]
    with scratch.rejects.open("w", encoding="utf-8") as out:
        for reject in merge(*sources, key=lambda r: r.line):
            out.write(json.dumps(vars(reject), ensure_ascii=False) + "\n")
            counts[reject.code, reject.column] += 1
            if len(first) < FIRST_REJECTS:
                first.append(_shown(reject))
    sync(scratch.rejects)
    return Rejected(tuple(first), tuple(RejectCount(*why, rows) for why, rows in counts.most_common()))


def _shown(reject: Reject) -> Reject:
    """Small enough for the books of a job: of many values those beside the bad one."""
    raw = reject.raw or ""
    if len(raw) > _LONGEST_SHOWN and reject.column and reject.whole:
        raw = json.dumps(_around(json.loads(raw), reject.column), ensure_ascii=False)
    return replace(reject, raw=raw[:_LONGEST_SHOWN], base64=None)


def _around(values: dict[str, Any], column: str) -> dict[str, Any]:
    names = list(values)
    at = names.index(column)
    near = names[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS + 1]
    return {n: values[n] if values[n] is None else str(values[n])[:_LONGEST_VALUE] for n in near}


def _read_rejects(path: Path) -> Iterator[Reject]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Reject(**json.loads(line))
