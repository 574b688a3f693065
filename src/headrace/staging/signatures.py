"""What a file is by its first bytes, whatever its client calls it."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.model import FileType

_UTF8_MARK = b"\xef\xbb\xbf"
_SAMPLE = 16 << 10
_SAMPLED_LINES = 5
_SEPARATORS = ";,\t|"


@dataclass(frozen=True)
class Readable:
    """A kind of file that we read."""

    magic: re.Pattern[bytes]
    file_type: FileType


@dataclass(frozen=True)
class Foreign:
    """A kind of file that we do not read: what a person calls it, and what to send instead."""

    magic: re.Pattern[bytes]
    name: str
    advice: str


def _bytes(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


def _text(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\s*" + pattern, re.DOTALL | re.IGNORECASE)


READABLE = (
    Readable(_bytes(rb"PAR1"), FileType.PARQUET),
    Readable(_bytes(rb"ARROW1\0\0"), FileType.ARROW),
    Readable(_bytes(rb"\xff\xff\xff\xff(?!\0\0\0\0).{3}\0"), FileType.ARROW),  # a stream: its schema's length
)

_EXPORT = "Export it as CSV or Parquet."
_UNPACK = "Unpack it first, or pack it with gzip or zstd."

FOREIGN = (
    Foreign(_bytes(rb"PARE"), "a Parquet file with an encrypted footer", "Write it without encryption."),
    Foreign(_bytes(rb"\x1f\x8b"), "a file that was packed twice (gzip)", "Pack it once."),
    Foreign(_bytes(rb"\x28\xb5\x2f\xfd"), "a file that was packed twice (zstd)", "Pack it once."),
    Foreign(_bytes(rb"PK\x03\x04.{22,4000}?(xl/|\[Content_Types\])"), "an Excel workbook (.xlsx)", _EXPORT),
    Foreign(_bytes(rb"PK(\x03\x04|\x05\x06)"), "a zip archive", _UNPACK),
    Foreign(_bytes(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Office file (.xls)", _EXPORT),
    Foreign(_bytes(rb"BZh[1-9]1AY&SY"), "a bzip2 file", _UNPACK),
    Foreign(_bytes(rb"\xfd7zXZ\0"), "an xz file", _UNPACK),
    Foreign(_bytes(rb"\x04\x22\x4d\x18"), "an lz4 file", _UNPACK),
    Foreign(_bytes(rb"\xff\x06\0\0sNaPpY"), "a snappy file", _UNPACK),
    Foreign(_bytes(rb"7z\xbc\xaf\x27\x1c"), "a 7-Zip archive", _UNPACK),
    Foreign(_bytes(rb"Rar!\x1a\x07"), "a RAR archive", _UNPACK),
    Foreign(_bytes(rb".{257}ustar"), "a tar archive", "Send each of its files as a chunk."),
    Foreign(_bytes(rb"ORC(?=.{0,60}[\0-\x08\x0e-\x1f])"), "an ORC file", "Write it as Parquet."),
    Foreign(_bytes(rb"Obj\x01"), "an Avro file", "Write it as Parquet."),
    Foreign(_bytes(rb"FEA1\0"), "an old Feather file (version 1)", "Write it as Arrow IPC or Parquet."),
    Foreign(_bytes(rb"SQLite format 3\0"), "an SQLite database", _EXPORT),
    Foreign(_bytes(rb".{8}DUCK"), "a DuckDB database", _EXPORT),
    Foreign(_bytes(rb"\x89HDF\r\n\x1a\n"), "an HDF5 file", _EXPORT),
    Foreign(_bytes(rb"%PDF-"), "a PDF", _EXPORT),
    Foreign(_bytes(rb"\{\\rtf"), "an RTF document", _EXPORT),
    Foreign(_bytes(rb"\x7fELF"), "a program (ELF)", _EXPORT),
    Foreign(_bytes(rb"MZ[^\t\n\r -~].{56,}?PE\0\0"), "a program (.exe)", _EXPORT),
    Foreign(_bytes(rb"(\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a)"), "a picture", _EXPORT),
    Foreign(
        _text(rb"<(!doctype\s+html|html|head|body)\b"),
        "a web page (HTML)",
        "Perhaps a proxy or a login page came in the way of the file.",
    ),
    Foreign(_text(rb"<\?xml\b"), "an XML document", _EXPORT),
    Foreign(_text(rb"\[\s*\{\s*[\"}]"), "a JSON array", "Send NDJSON: one object a line, without the array."),
    Foreign(
        _text(rb"\{[ \t]*\r?\n\s*[\"}]"),
        "a JSON document over several lines",
        "Send NDJSON: one object a line.",
    ),
)

JSON_LINE = _text(rb"\{\s*[\"}]")


def readable(head: bytes) -> FileType | None:
    """The kind, where the bytes alone say it."""
    return next((known.file_type for known in READABLE if known.magic.match(head)), None)


def foreign(head: bytes) -> Foreign | None:
    """What else it surely is."""
    start = head.removeprefix(_UTF8_MARK)[:_SAMPLE]
    return next((known for known in FOREIGN if known.magic.match(start)), None)


def is_json_line(head: bytes) -> bool:
    return JSON_LINE.match(head.removeprefix(_UTF8_MARK)) is not None


def begins_as_json(head: bytes) -> bool:
    return head.removeprefix(_UTF8_MARK).lstrip()[:1] == b"{"


def is_text(head: bytes) -> bool:
    """No bytes but those of text in some charset: a NUL only in UTF-16 and UTF-32."""
    start = head[:_SAMPLE]
    wide = start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
    return wide or not re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", start)


def description(head: bytes) -> str:
    """What bytes without a signature look like, for a person."""
    if not is_text(head):
        return "It is a binary file of a kind that is not known here, or a damaged one."
    if is_json_line(head):
        return 'It looks like NDJSON: create the job with "fileType": "NDJSON".'
    found = _columns(head)
    if found is None:
        return "It looks like text."
    separator, columns = found
    shown = "a tab" if separator == "\t" else f"'{separator}'"
    return f"It looks like a CSV with the separator {shown} and {columns} columns."


def _columns(head: bytes) -> tuple[str, int] | None:
    """The separator that gives the first lines the same number of columns, and their number."""
    text = head.removeprefix(_UTF8_MARK)[:_SAMPLE].decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    whole = lines[: max(1, min(len(lines) - 1, _SAMPLED_LINES))]
    widths = {separator: _widths(whole, separator) for separator in _SEPARATORS}
    even = {sep: found[0] for sep, found in widths.items() if len(set(found)) == 1 and found[0] > 1}
    return max(even.items(), key=lambda item: item[1]) if even else None


def _widths(lines: Sequence[str], separator: str) -> list[int]:
    try:
        return [len(record) for record in csv.reader(lines, delimiter=separator)] or [0]
    except csv.Error:
        return [0]
