"""The cheap check before a chunk is accepted: what is it, and which columns has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace import csvrecords
from headrace.csvrecords import Dialect
from headrace.errors import ChunkUnreadable
from headrace.model import MOST_COLUMNS, CsvOptions, FileType, Label, PushSpec, fold
from headrace.staging.signatures import begins_as_json, description, foreign, is_json_line, is_text, readable

HEAD_BYTES = 1 << 20
"""A header must end within so much of a file."""

_USUAL_HEADER = 16 << 10
_CALLED = {
    FileType.PARQUET: "not a Parquet file (it does not begin with PAR1)",
    FileType.CSV: "not a CSV",
    FileType.NDJSON: "not NDJSON (it does not begin with {)",
    FileType.ARROW: "not an Arrow file or stream",
}


@dataclass(frozen=True)
class Seen:
    """What a chunk is, its columns, and what its client should hear of that."""

    file_type: FileType
    columns: list[str]
    notes: tuple[str, ...] = ()


def kind_of(head: bytes, spec: PushSpec, label: Label) -> FileType:
    """What a chunk is: what its bytes surely say, else CSV or NDJSON if the client calls it so.

    It does so for the job or for the chunk. Text alone is no table: a proxy's error page would become one.
    Raises ChunkUnreadable.
    """
    if not head:
        raise ChunkUnreadable("The chunk is empty: send a CSV with its header, or a Parquet file.")
    said = {spec.file_type, label.file_type} | ({FileType.CSV} if spec.csv and not spec.file_type else set())
    found = readable(head)
    if found and not (FileType.CSV in said and _is_header(head)):
        return found
    _refuse_foreign(head)
    if FileType.NDJSON in said and begins_as_json(head):
        return FileType.NDJSON
    if FileType.CSV in said and not is_json_line(head) and (spec.file_type is FileType.CSV or is_text(head)):
        return FileType.CSV
    raise ChunkUnreadable(_unlike(head, spec))


def _is_header(head: bytes) -> bool:
    """A column may be called PAR1; in a Parquet file no text follows it."""
    return is_text(head) and len(head) > len(b"PAR1")


def _refuse_foreign(head: bytes) -> None:
    if found := foreign(head):
        raise ChunkUnreadable(f"The chunk is {found.name}. {found.advice}")


def _unlike(head: bytes, spec: PushSpec) -> str:
    wanted = spec.file_type or FileType.PARQUET
    advice = "" if wanted is FileType.CSV else ' For CSV create the job with "fileType": "CSV".'
    return f"The chunk is {_CALLED[wanted]}. {description(head)}{advice}"


def notes_on(kind: FileType, spec: PushSpec, label: Label) -> tuple[str, ...]:
    """What is read although it is called something else."""
    if spec.file_type and kind is not spec.file_type:
        return (f"is read as {kind}, though the job says {spec.file_type}",)
    if label.file_type and kind is not label.file_type:
        return (f"is read as {kind}, though it is called {label.file_type}",)
    return ()


def header(head: bytes, *, complete: bool, csv: CsvOptions) -> list[str]:
    """The column names of a CSV; nameless columns get one from their position."""
    try:
        dialect = dialect_of(csv)
        record = csvrecords.first_record(head[:_USUAL_HEADER], dialect, complete=False)
        record = record or csvrecords.first_record(head, dialect, complete=complete)
    except (ValueError, LookupError) as error:
        raise ChunkUnreadable(f"The CSV cannot be read: {error}.") from error
    if record is None:
        raise ChunkUnreadable(f"The CSV has no header line within its first {HEAD_BYTES} bytes.")
    names = [(name or "").strip() or f"column_{n}" for n, name in enumerate(record, 1)]
    check_names(names)
    return names


def check_names(names: Sequence[str]) -> None:
    """Refuse at once what no table could hold. Raises ChunkUnreadable."""
    if len(names) > MOST_COLUMNS:
        raise ChunkUnreadable(f"A table may have {MOST_COLUMNS} columns; this chunk has {len(names)}.")
    seen: set[str] = set()
    for name in names:
        if not name or "\0" in name:
            raise ChunkUnreadable("The name of a column is empty or holds the character NUL.")
        if fold(name) in seen:
            raise ChunkUnreadable(
                f"The header has the column '{name}' twice; names match without regard to case."
            )
        seen.add(fold(name))


def dialect_of(csv: CsvOptions) -> Dialect:
    standard = Dialect()
    ending = csv.line_ending if csv.line_ending not in (None, "\n", "\r\n", "\r") else None
    return Dialect(
        separator=csv.separator or standard.separator,
        quote=csv.quote if csv.quote is not None else standard.quote,
        escape=csv.escape or standard.escape,
        line_ending=ending,
        charset=csv.charset or standard.charset,
    )
