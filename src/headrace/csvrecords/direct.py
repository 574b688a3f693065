"""What DuckDB reads as we do."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from headrace.csvrecords.dialect import Dialect, extends_ascii
from headrace.csvrecords.lines import BLOCK
from headrace.csvrecords.records import MalformedRecord, Record

_SEARCHED = 1 << 18  # bytes


def direct_dialect(path: Path, dialect: Dialect) -> Dialect | None:
    """The dialect with which DuckDB reads the same records as ``rewrite``; None if it cannot.

    DuckDB's ``read_csv`` then takes its separator, quote and escape, with ``strict_mode``, ``header`` and
    ``nullstr=''``, ``allow_quoted_nulls=false``. It may still refuse the file (bad records, mixed line
    endings, long cells), but never misreads it.
    """
    if dialect.own_ending or not _duckdb_takes(dialect):
        return None
    plain = replace(dialect, escape=dialect.quote, charset="utf-8", line_ending=None)
    with path.open("rb") as file:
        if not path.stat().st_size:
            return plain
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return plain if _reads_alike(data, dialect) else None


def _duckdb_takes(dialect: Dialect) -> bool:
    separator = dialect.separator
    return (
        len(separator.encode()) <= 4
        and " " not in separator
        and ((dialect.quote or "") + (dialect.own_escape or "")).isascii()
    )


def _reads_alike(data: mmap.mmap, dialect: Dialect) -> bool:
    """Besides the escape, NUL: DuckDB overlooks one in a field too many."""
    unwanted = (b"\0", dialect.own_escape.encode()) if dialect.own_escape else (b"\0",)
    return (
        _is_utf8(data, dialect)
        and _starts_well(data, dialect)
        and not any(byte in block for block in _blocks(data) for byte in unwanted)
        and not _stumbles_over_quotes(data, dialect)
    )


def _starts_well(data: mmap.mmap, dialect: Dialect) -> bool:
    """Whether the first line is the header and all of it.

    DuckDB would take a blank line for the header, and the first line break, even a quoted one, for that of
    all lines. In a file of one column, it would take ``\\r\\n`` after a ``\\n`` for two blank lines.
    """
    line = re.split(rb"[\r\n]", data[:BLOCK], maxsplit=1)[0]
    text = line.decode("utf-8", "replace").removeprefix("\ufeff")
    record = Record(dialect)
    try:
        whole = bool(text) and len(line) < BLOCK and record.feed(text, "\n")
    except MalformedRecord:
        return False
    return whole and (len(record.fields) > 1 or data.find(b"\r") < 0)


def _is_utf8(data: mmap.mmap, dialect: Dialect) -> bool:
    """Whether the file says the same in UTF-8: always if that is its charset, else if it is all ASCII."""
    if dialect.codec() == "utf-8":
        return True
    return extends_ascii(dialect.codec()) and all(block.isascii() for block in _blocks(data))


def _blocks(data: mmap.mmap) -> Iterator[bytes]:
    """Searching these for a byte is far faster than searching the map.

    Of a size that the allocator keeps: larger ones are mapped and cleared anew each time.
    """
    return (data[at : at + _SEARCHED] for at in range(0, len(data), _SEARCHED))


def _stumbles_over_quotes(data: mmap.mmap, dialect: Dialect) -> bool:
    """Whether DuckDB misreads the quotes of the file.

    After a closing quote it takes the first byte of a longer separator for all of it. A quote after two
    spaces or more it takes for text.
    """
    quote, separator = (dialect.quote or "").encode(), dialect.separator.encode()
    if not quote:
        return False
    if len(separator) > 1:
        return data.find(quote) >= 0
    late, end = b"  " + quote, b""
    for block in _blocks(data):
        # from the end: for so short a needle Python searches twice as fast that way
        if quote in block and (block.rfind(late) >= 0 or late in end + block[:2]):
            return True
        end = block[-2:]
    return False
