"""What DuckDB reads as we do."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass, replace
from io import RawIOBase
from pathlib import Path

from headrace.csvrecords.dialect import Dialect, extends_ascii
from headrace.csvrecords.ends import Ends
from headrace.csvrecords.lines import BLOCK
from headrace.csvrecords.records import MalformedRecord, Record

_SEARCHED = 1 << 18
"""Bytes at a time: so many that the allocator keeps the place; larger ones are mapped and cleared anew."""

_OVERLAP = 2
"""One less than the longest text that is searched for."""

_libc = ctypes.CDLL(None)
_libc.strstr.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_libc.strstr.restype = ctypes.c_void_p


@dataclass(frozen=True)
class Direct:
    """How DuckDB reads a file by itself; no record of it has more than ``longest`` bytes."""

    dialect: Dialect
    longest: int


def direct_dialect(path: Path, dialect: Dialect) -> Dialect | None:
    """The dialect with which DuckDB reads the same records as ``rewrite``; None if it cannot."""
    direct = read_directly(path, dialect)
    return direct.dialect if direct else None


def read_directly(path: Path, dialect: Dialect) -> Direct | None:
    """How DuckDB reads the same records as ``rewrite``; None if it cannot.

    DuckDB's ``read_csv`` then takes its separator, quote and escape, with ``strict_mode``, ``header`` and
    ``nullstr=''``, ``allow_quoted_nulls=false``. It may still refuse the file (bad records, mixed line
    endings, long cells), but never misreads it.
    """
    if dialect.own_ending or not _duckdb_takes(dialect):
        return None
    plain = replace(dialect, escape=dialect.quote, charset="utf-8", line_ending=None)
    if not path.stat().st_size:
        return Direct(plain, 0)
    ends = Ends((dialect.quote or "").encode(), dialect.separator.encode())
    with path.open("rb", buffering=0) as file:
        return Direct(plain, ends.longest) if _reads_alike(file, dialect, ends) else None


def _duckdb_takes(dialect: Dialect) -> bool:
    separator = dialect.separator
    return (
        len(separator.encode()) <= 4
        and " " not in separator
        and ((dialect.quote or "") + (dialect.own_escape or "")).isascii()
    )


def _reads_alike(file: RawIOBase, dialect: Dialect, ends: Ends) -> bool:
    width = _width_of_header(file.read(BLOCK) or b"", dialect)
    if not width or not (_is_utf8(dialect) or extends_ascii(dialect.codec())):
        return False
    file.seek(0)
    unwanted, end = _unwanted(dialect, width), b""
    while block := file.read(_SEARCHED):
        if not _is_utf8(dialect) and not block.isascii():
            return False  # in UTF-8 it would say something else
        if any(_holds(block, text) or text in end + block[:_OVERLAP] for text in unwanted):
            return False
        ends.see(block)
        end = (end + block[-_OVERLAP:])[-_OVERLAP:]
    return True


def _is_utf8(dialect: Dialect) -> bool:
    return dialect.codec() == "utf-8"


def _width_of_header(head: bytes, dialect: Dialect) -> int:
    """The fields of the first line, if it is the header and all of it; else 0.

    DuckDB would take a blank line for the header, and the first line break, even a quoted one, for that of
    all lines.
    """
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    text = line.decode("utf-8", "replace").removeprefix("\ufeff")
    record = Record(dialect)
    try:
        whole = bool(text) and len(line) < BLOCK and record.feed(text, "\n")
    except MalformedRecord:
        return 0
    return len(record.fields) if whole else 0


def _unwanted(dialect: Dialect, width: int) -> list[bytes]:
    """What DuckDB may misread, the escape aside, which is not that of its quotes.

    It overlooks a NUL in a field too many. A quote after two spaces or more it takes for text. After a
    closing quote it takes the first byte of a longer separator for all of it. In a file of one column, it
    takes ``\\r\\n`` after a ``\\n`` for two blank lines.
    """
    quote, separator = (dialect.quote or "").encode(), dialect.separator.encode()
    unwanted = [b"\0"]  # first: what is searched for afterwards is searched in a text of C
    unwanted += [dialect.own_escape.encode()] if dialect.own_escape else []
    unwanted += [b"\r"] if width == 1 else []
    unwanted += [quote if len(separator) > 1 else b"  " + quote] if quote else []
    return unwanted


def _holds(block: bytes, text: bytes) -> bool:
    """Whether the text is there. A longer one: in a block without a NUL; one follows all bytes of Python."""
    if len(text) == 1:
        return text in block
    return _libc.strstr(block, text) is not None  # many times as fast as Python's own search
