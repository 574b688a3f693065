"""The cheap check before a chunk is accepted: what is it, and which columns has it."""

from __future__ import annotations

from collections.abc import Sequence

from headrace import csvrecords
from headrace.csvrecords import Dialect
from headrace.errors import ChunkUnreadable
from headrace.model import MOST_COLUMNS, CsvOptions, FileType, PushSpec, fold

HEAD_BYTES = 1 << 20
"""A header must end within so much of a file."""

_USUAL_HEADER = 16 << 10
_PARQUET_MAGIC = b"PAR1"


def kind_of(head: bytes, spec: PushSpec, *, said_to_be_csv: bool) -> FileType:
    """What a chunk is: Parquet if its bytes say so, CSV only if the client does, for the job or the chunk.

    Text alone is no CSV: a proxy's error page would become a table. Raises ChunkUnreadable.
    """
    if not head:
        raise ChunkUnreadable("The chunk is empty: send a CSV with its header, or a Parquet file.")
    if head.startswith(_PARQUET_MAGIC):
        return FileType.PARQUET
    if spec.file_type is FileType.CSV or (spec.file_type is None and (spec.csv or said_to_be_csv)):
        return FileType.CSV
    raise ChunkUnreadable(
        "The chunk is not a Parquet file (it does not begin with PAR1). "
        'For CSV create the job with "fileType": "CSV".'
    )


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
