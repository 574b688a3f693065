"""The rows of a chunk that cannot be stored, as a file of JSON lines in the order of the chunk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from pathlib import Path
from typing import Any

from headrace.conversion import expectation, is_bad, literal, quoted
from headrace.durable import sync
from headrace.model import Reject
from headrace.staging.engine import db
from headrace.staging.tasks import Field, Scratch

FIRST_REJECTS = 10
_LONGEST_VALUE = 200
_LONGEST_RAW = 2000

Locate = Callable[[Iterable[dict[str, Any]]], Iterator[dict[str, Any]]]


def write_rejects(relation: str, fields: Sequence[Field], any_bad: str, path: Path) -> int:
    def first_bad(show: Callable[[Field], str]) -> str:
        return "CASE " + " ".join(f"WHEN {is_bad(f.source, f.type)} THEN {show(f)}" for f in fields) + " END"

    raw = ", ".join(f"{quoted(f.name)} := {f.source.sql}" for f in fields)
    value = first_bad(lambda f: f"left({f.source.sql}::VARCHAR, {_LONGEST_VALUE})")
    expected = first_bad(lambda f: literal(expectation(f.source, f.type)))
    record = f"left(to_json(struct_pack({raw}))::VARCHAR, {_LONGEST_RAW})"
    query = (
        f'SELECT _line AS line, {first_bad(lambda f: literal(f.name))} AS "column", {value} AS "value", '
        f"{expected} AS expected, 'value-does-not-fit' AS code, {record} AS raw "
        f"FROM {relation} WHERE {any_bad}"
    )
    return int(db().execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT json)").fetchall()[0][0])


def merge_rejects(scratch: Scratch, located: Locate) -> tuple[Reject, ...]:
    """Bad records and bad values as one file, by line; answers the first of them."""
    first: list[Reject] = []
    sources = [_read_rejects(path) for path in (scratch.bad_records, scratch.bad_values) if path.exists()]
    with scratch.rejects.open("w", encoding="utf-8") as out:
        for reject in located(merge(*sources, key=lambda r: int(r["line"]))):
            out.write(json.dumps(reject, ensure_ascii=False) + "\n")
            if len(first) < FIRST_REJECTS:
                first.append(Reject(**reject))
    sync(scratch.rejects)
    return tuple(first)


def _read_rejects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            reject = json.loads(line)
            yield {name: reject.get(name) for name in Reject.__dataclass_fields__}
