"""The parts of a push: files of bounded size that become its chunks, the same ones for the same data.

The same data must give the same bytes: a push that was interrupted finds by their hash what the server has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING, Any, BinaryIO

from headrace.client.files import first_bytes, is_text

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """A file that will be one chunk; ``ours``: made for this push, and gone when it is sent."""

    path: Path
    bytes: int
    sha256: str
    ours: bool

    def forget(self) -> None:
        if self.ours:
            with suppress(FileNotFoundError):
                self.path.unlink()


def parts_of_files(
    files: Sequence[Path], folder: Path, *, most_bytes: int, options: Mapping[str, Any], kind: str = "CSV"
) -> Iterator[Part]:
    """Each file as it is; a text that is too large, in pieces of whole records, a CSV with its header."""
    for number, path in enumerate(files):
        quote = _quote(kind, options) if is_text(first_bytes(path)) else None
        if quote is None or path.stat().st_size <= most_bytes:
            yield _part(path, ours=False)
        else:
            with path.open("rb") as file:
                yield from _pieces(file, folder / f"{number}", kind, most_bytes, quote)


def parts_of_stream(
    stream: BufferedReader, folder: Path, *, kind: str, most_bytes: int, options: Mapping[str, Any]
) -> Iterator[Part]:
    """What comes from a pipe, in pieces of whole records as they come; whole, where there are no records."""
    quote = _quote(kind, options) if is_text(stream.peek(8)[:8]) else None
    if quote is not None:
        yield from _pieces(stream, folder / "stream", kind, most_bytes, quote)
        return
    whole = folder / f"stream.{kind.lower()}"
    with whole.open("wb") as file:
        copyfileobj(stream, file, _BLOCK)
    yield _part(whole, ours=True)


def _quote(kind: str, options: Mapping[str, Any]) -> bytes | None:
    """The quote, empty for none; None where we cannot tell records apart without parsing them."""
    if kind != "CSV":
        return b"" if kind == "NDJSON" else None
    quote, escape = options.get("quoteSequence") or '"', options.get("escapeSequence")
    charset = options.get("charSet") or "utf-8"
    try:
        ascii_like = "\n".encode(charset) == b"\n"
    except LookupError:
        return None
    usual = options.get("lineEnding") in (None, "", "\n", "\r\n") and escape in (None, "", quote)
    if not usual or not ascii_like:
        return None
    mark = str(quote).encode(charset)
    return mark if len(mark) == 1 else None  # one of several bytes may lie across two blocks


def parts_of_rows(data: Any, folder: Path, *, most_bytes: int) -> Iterator[Part]:
    """The rows as Parquet files. INT96 time stamps, which the original service is known to read."""
    from headrace.client.sources import batches_of  # noqa: PLC0415  Arrow is slow to import

    file: _ParquetFile | None = None
    for number, step in enumerate(batches_of(data)):
        # what the library that made the table notes in its schema may differ from step to step
        table = step.replace_schema_metadata(None)
        if file is not None and not file.takes(table, most_bytes):
            yield file.finished()
            file = None
        file = file or _ParquetFile(folder / f"{number}.parquet", table.schema)
        file.writer.write_table(table)
    if file is not None:
        yield file.finished()


class _ParquetFile:
    """A part that is being written."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        self.path = path
        self.schema = schema
        self.writer = pq.ParquetWriter(path, schema, use_deprecated_int96_timestamps=True)

    def takes(self, table: pa.Table, most_bytes: int) -> bool:
        return self.path.stat().st_size < most_bytes and bool(table.schema.equals(self.schema))

    def finished(self) -> Part:
        self.writer.close()
        return _part(self.path, ours=True)


def _part(path: Path, *, ours: bool) -> Part:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Part(path, file.tell(), digest, ours)


# -- texts in pieces -----------------------------------------------------------------------------------


def _pieces(file: BufferedReader, stem: Path, kind: str, most_bytes: int, quote: bytes) -> Iterator[Part]:
    """Cut only at a line break outside quotes: an even number of quotes stands before it."""
    header = _record(file, quote) if kind == "CSV" else b""
    number = 0
    while file.peek(1) or not number:  # nothing but a header is a file, too
        piece = stem.with_name(f"{stem.name}-{number}.{kind.lower()}")
        with piece.open("wb") as out:
            out.write(header)
            _copy_records(file, out, max(most_bytes - len(header), _BLOCK), quote)
        yield _part(piece, ours=True)
        number += 1


def _copy_records(file: BinaryIO, out: BinaryIO, size: int, quote: bytes) -> None:
    """About ``size`` bytes, and on to the end of the record that begun in them."""
    quotes = 0
    while size > 0 and (block := file.read(min(_BLOCK, size))):
        out.write(block)
        quotes += block.count(quote) if quote else 0
        size -= len(block)
    out.write(_record(file, quote, quotes))


def _record(file: BinaryIO, quote: bytes, quotes: int = 0) -> bytes:
    """From here to the end of the record; ``quotes`` so many were before, in the same piece."""
    record = bytearray()
    for line in iter(file.readline, b""):
        record += line
        quotes += line.count(quote) if quote else 0
        if quotes % 2 == 0:
            break
    return bytes(record)
