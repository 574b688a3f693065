"""Staging a CSV: straight where the engine surely reads it as we do, else rewritten first."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from headrace import csvrecords
from headrace.conversion import literal
from headrace.csvrecords import BadRecord, Dialect, Places
from headrace.model import Reject, StageReport
from headrace.staging.fields import fields_of
from headrace.staging.looking import HEAD_BYTES, dialect_of, header
from headrace.staging.tasks import Scratch, StageTask
from headrace.staging.writing import Numbered, write_rows

_USUAL_LINE = 2 << 20
_LONGEST_LINE = 64 << 20
_READ_BUFFER = 4 << 20
"""The engine holds two or three of them; with larger ones it is no quicker."""


def stage_csv(task: StageTask, scratch: Scratch) -> StageReport:
    with task.source.open("rb") as file:
        head = file.read(HEAD_BYTES)
    names = header(head, complete=len(head) < HEAD_BYTES, csv=task.csv)
    columns = [f"c{n}" for n in range(len(names))]
    fields, notes = fields_of(task, [(c, name, "VARCHAR") for c, name in zip(columns, names, strict=True)])
    dialect = dialect_of(task.csv)
    direct = csvrecords.read_directly(task.source, dialect)

    def rewritten() -> Numbered:
        bad_rows = _rewrite(task, scratch, len(names))
        size = scratch.records.stat().st_size
        relation = _read_csv(
            scratch.records, dialect.plain, columns, header=False, numbered=True, longest=size
        )
        return Numbered(relation, bad_rows, located=lambda rejects: _located(task, rejects))

    report = write_rows(
        fields,
        scratch,
        straight=_read_csv(task.source, direct.dialect, columns, header=True, longest=direct.longest)
        if direct
        else None,
        careful=rewritten,
    )
    header_of_rejects = tuple(names) if report.rejected else ()
    return replace(report, notes=(*notes, *report.notes), header=header_of_rejects)


def _read_csv(
    path: Path,
    dialect: Dialect,
    columns: Sequence[str],
    *,
    header: bool,
    longest: int,
    numbered: bool = False,
) -> str:
    """``longest``: no record of the file has more bytes."""
    types = {**({"_line": "BIGINT"} if numbered else {}), **dict.fromkeys(columns, "VARCHAR")}
    listed = ", ".join(f"{literal(name)}: {literal(type)}" for name, type in types.items())
    ending = "new_line='\\n', " if numbered else ""  # else a quoted \\r could be taken for it
    # never below what the file may hold: behind a longer line the engine may end early, in silence
    longest = min(_LONGEST_LINE, max(_USUAL_LINE, longest))
    return (
        f"read_csv({literal(str(path))}, auto_detect=false, header={header}, columns={{{listed}}}, "
        f"delim={literal(dialect.separator)}, quote={literal(dialect.quote or '')}, "
        f"escape={literal(dialect.escape or '')}, nullstr='', allow_quoted_nulls=false, strict_mode=true, "
        f"max_line_size={longest}, buffer_size={max(longest, _READ_BUFFER)}, {ending}"
        "compression='none', hive_partitioning=false)"
    )


def _rewrite(task: StageTask, scratch: Scratch, width: int) -> int:
    """The same records, numbered, in a CSV that the engine surely reads; answers how many could not be."""
    count = 0
    with (
        task.source.open("rb") as source,
        scratch.records.open("wb") as records,
        scratch.bad_records.open("w", encoding="utf-8") as out,
    ):

        def note(bad: BadRecord) -> None:
            nonlocal count
            count += 1
            data = b64encode(bad.data).decode() if bad.data is not None else None
            reject = Reject(
                bad.line, None, None, bad.message, bad.code, bad.raw, whole=bad.whole, base64=data
            )
            out.write(json.dumps(vars(reject), ensure_ascii=False) + "\n")

        csvrecords.rewrite(source, records, dialect_of(task.csv), width=width, on_bad=note)
    return count


def _located(task: StageTask, rejects: Iterable[Reject]) -> Iterator[Reject]:
    """The rejects of a file, in its order, each with where it stands in bytes."""
    with task.source.open("rb") as file:
        places = Places(file, dialect_of(task.csv))
        for reject in rejects:
            offset, expected = places.of_line(reject.line), reject.expected
            if reject.code == "undecodable":
                byte, at = places.undecodable()
                expected = f"the byte 0x{byte:02X} at offset {at} is no text in this charset"
            yield replace(reject, byte_offset=offset, expected=expected)
