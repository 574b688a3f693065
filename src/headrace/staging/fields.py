"""What becomes of each column of a file."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.conversion import Source, stored_type
from headrace.errors import ChunkFailed
from headrace.model import CHANGE_DATE, STRING, UNKNOWN, fold
from headrace.staging.tasks import Field, StageTask


def fields_of(
    task: StageTask, columns: Sequence[tuple[str, str, str]]
) -> tuple[list[Field], tuple[str, ...]]:
    """What becomes of each column of the file, given as (SQL, name, engine type)."""
    found, notes = [], []
    for sql, name, engine_type in columns:
        if fold(name) == fold(CHANGE_DATE):
            notes.append(f"The column {name} of the file is not used: Headrace sets it at the commit.")
            continue
        wanted = task.wanted.get(fold(name))
        source = Source(sql, engine_type, task.csv.of_column(name))
        known = wanted is not None and wanted.type != UNKNOWN
        type = wanted.type if wanted and known else stored_type(engine_type)
        length = (wanted.length if wanted else None) or task.string_length
        found.append(
            Field(
                source,
                wanted.name if wanted else name,
                type,
                length if type == STRING else None,
                fold(name) in task.fixed,
                fold(name) in task.keys,
                task.strict_lengths and (not task.deletes or fold(name) in task.keys),
            )
        )
    if not found:
        raise ChunkFailed(f"The file has no column but {CHANGE_DATE}, which Headrace sets itself.")
    return found, tuple(notes)
