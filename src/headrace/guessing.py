"""A guess at how a file is written, from its first bytes: for a person, who sees and corrects it.

Nothing is decided here: what a push says counts, and every value is read by the rules of staging.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headrace.hints import likely
from headrace.model import DATETIME, FLOAT, CsvOptions, FileType, Reject

SAMPLE_BYTES = 1 << 16
SEPARATORS = (",", ";", "\t", "|")
CHARSETS = ("UTF-8", "windows-1252", "UTF-16", "ISO-8859-15")
ROWS = 12
"""So many rows of the sample are shown."""

_LOOKED_AT = 200
_MAGIC = ((b"PAR1", FileType.PARQUET), (b"ARROW1", FileType.ARROW), (b"\xff\xff\xff\xff", FileType.ARROW))
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_MARKS = ((codecs.BOM_UTF8, "UTF-8"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))
_AS_WE_READ_IT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?")


@dataclass(frozen=True)
class Looks:
    """How a file looks. Of a CSV: its dialect, its header, its first rows, and a hint for each column.

    ``kind`` is None for what cannot be looked into: packed files.
    """

    kind: FileType | None
    charset: str = "UTF-8"
    separator: str = ","
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    hints: dict[str, str] = field(default_factory=dict)


def look_at(sample: bytes, charset: str | None = None, separator: str | None = None) -> Looks:
    """The first bytes of a file; what the person has said already is not guessed."""
    if kind := next((kind for magic, kind in _MAGIC if sample.startswith(magic)), None):
        return Looks(kind)
    if sample.startswith(_PACKED):
        return Looks(None)
    if sample.lstrip(codecs.BOM_UTF8 + b" \r\n\t").startswith(b"{"):
        return Looks(FileType.NDJSON)
    charset = charset or _charset(sample)
    text = _decoded(sample, charset)
    separator = separator or _separator(text)
    header, *rows = list(_records(text, separator)) or [[]]
    names = tuple(name.strip() for name in header)
    return Looks(
        FileType.CSV,
        charset,
        separator,
        names,
        tuple(tuple(row) for row in rows[:ROWS]),
        dict(_hints(names, rows)),
    )


def _charset(sample: bytes) -> str:
    if marked := next((name for mark, name in _MARKS if sample.startswith(mark)), None):
        return marked
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # the last character may be cut
    except UnicodeDecodeError:
        return "windows-1252"
    return "UTF-8"


def _decoded(sample: bytes, charset: str) -> str:
    return codecs.getincrementaldecoder(charset)("replace").decode(sample).removeprefix("\ufeff")


def _separator(text: str) -> str:
    """The one that makes the most fields, in records that agree on their number."""
    return max(SEPARATORS, key=lambda separator: _agreement(list(_records(text, separator))))


def _agreement(records: Sequence[Sequence[str]]) -> float:
    width = len(records[0]) if records else 1
    same = sum(len(record) == width for record in records)
    return (width - 1) * same / len(records) if width > 1 else 0.0


def _records(text: str, separator: str) -> Iterator[list[str]]:
    """Those that are whole; the sample may end in the middle of one."""
    cut = len(text) > 1 and not text.endswith("\n")
    found = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    records: list[list[str]] = []
    try:
        for record in found:
            if record:
                records.append(record)
            if len(records) > _LOOKED_AT:
                break
    except csv.Error:
        pass  # what comes before it is shown
    return iter(records[:-1] if cut and 1 < len(records) <= _LOOKED_AT else records)


def _hints(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """What would take the values of a column that is neither text nor spelled as we read it."""
    for at, name in enumerate(names):
        values = [row[at] for row in rows if len(row) > at and row[at].strip()]
        if values and (hint := _hint(name, values)):
            yield name, hint


def _hint(name: str, values: Sequence[str]) -> str | None:
    if all(map(_AS_WE_READ_IT.fullmatch, values)):
        return None
    alike = [Reject(0, name, value, "", "value-does-not-fit") for value in values]
    for type in (DATETIME, FLOAT):
        hint = likely(alike, type, CsvOptions())
        if hint and ("dateFormat" in hint or "Separator '" in hint):
            return hint
    return None
