"""The body of a chunk upload, taken apart while it arrives.

Clients give the part any type and mostly a file name; some send the bytes as they are, and one forgets the
boundary in its header. The first part that has a file name, or is named ``file`` or ``chunk``, is the chunk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from headrace.errors import ChunkUnreadable
from headrace.model import FileType, Label

_LONGEST_BOUNDARY_LINE = 256
_MOST_BESIDE = 64 << 10
"""Fields that nobody reads, part headers, what stands before the first and after the last boundary."""

_NAMES = (b"file", b"chunk")
_FILE_NAME = re.compile(rb";\s*filename\*?\s*=", re.IGNORECASE)  # with a star: in the spelling of RFC 2231
_ENDING = re.compile(
    rb";\s*filename\*?\s*=[^;]*?(?:\.([a-z]+))??(\.gz|\.gzip|\.zst|\.zstd)?\"?\s*(;|$)", re.IGNORECASE
)
_ENDINGS = {
    b"csv": FileType.CSV,
    b"parquet": FileType.PARQUET,
    b"ndjson": FileType.NDJSON,
    b"jsonl": FileType.NDJSON,
    b"arrow": FileType.ARROW,
    b"arrows": FileType.ARROW,
    b"feather": FileType.ARROW,
}
_TYPES = {
    b"csv": FileType.CSV,
    b"parquet": FileType.PARQUET,
    b"ndjson": FileType.NDJSON,
    b"jsonl": FileType.NDJSON,
    b"apache.arrow": FileType.ARROW,
}

Write = Callable[[memoryview], object]


class Body(Protocol):
    @property
    def label(self) -> Label:
        """What the client calls the chunk."""

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None:
        """Raises ChunkUnreadable when the body ended too early or had no file in it."""


def body_of(content_type: str, write: Write) -> Body:
    """What takes the request's body apart and hands the chunk's bytes to ``write``."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return RawBody(write, kind)
    boundary = options.get(b"boundary")
    return MultipartBody(boundary, write) if boundary else BoundaryFinder(write)


class RawBody:
    """The body is the chunk."""

    def __init__(self, write: Write, content_type: bytes) -> None:
        self._write = write
        self.label = Label(_of_type(content_type))

    def feed(self, data: bytes) -> None:
        self._write(memoryview(data))

    def end(self) -> None:
        pass


class MultipartBody:
    """Drives the push parser by hand: its form helpers would keep a second copy on disk."""

    def __init__(self, boundary: bytes, write: Write) -> None:
        self._write = write
        self._beside = 0
        self._header = bytearray()
        self._value = bytearray()
        self._takes = False
        self._found = False
        self._ended = False
        self._named_file = False
        self._named = Label()
        self._typed: FileType | None = None
        self.label = Label()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_end": self._all_ends,
            },
        )

    def feed(self, data: bytes) -> None:
        self._beside += len(data)
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise ChunkUnreadable(f"The multipart body is malformed: {error}.") from error
        if self._beside > _MOST_BESIDE:
            raise ChunkUnreadable(f"The multipart body has more than {_MOST_BESIDE} bytes beside its file.")

    def end(self) -> None:
        if not self._ended:
            raise ChunkUnreadable("The multipart body ended before its closing boundary.")
        if not self._found:
            raise ChunkUnreadable("The multipart body has no file in it.")

    def _part_begins(self) -> None:
        self._named_file = False
        self._named, self._typed = Label(), None

    def _header_ends(self) -> None:
        name, value = self._header.lower(), bytes(self._value)
        if name == b"content-disposition":
            _, options = parse_options_header(value)
            self._named_file = bool(_FILE_NAME.search(value)) or options.get(b"name") in _NAMES
            self._named = _of_name(value)
        elif name == b"content-type":
            self._typed = _of_type(value)
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        self._takes = self._named_file and not self._found
        self._found = self._found or self._takes
        if self._takes:
            self.label = Label(_either(self._named.file_type, self._typed), self._named.packed)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._takes:
            self._beside -= end - start
            self._write(memoryview(data)[start:end])

    def _all_ends(self) -> None:
        self._ended = True


class BoundaryFinder:
    """A multipart body whose header names no boundary: its first line does."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._head = bytearray()
        self._body: MultipartBody | None = None

    @property
    def label(self) -> Label:
        return self._body.label if self._body else Label()

    def feed(self, data: bytes) -> None:
        if self._body is None:
            self._head += data
            line, newline, _ = bytes(self._head[:_LONGEST_BOUNDARY_LINE]).partition(b"\n")
            if not newline and len(self._head) < _LONGEST_BOUNDARY_LINE:
                return
            self._body = self._begun(line.rstrip(b"\r"), complete=bool(newline))
            data = bytes(self._head)
        self._body.feed(data)

    def end(self) -> None:
        if self._body is None:
            raise _no_boundary()
        self._body.end()

    def _begun(self, line: bytes, *, complete: bool) -> MultipartBody:
        if not complete or not line.startswith(b"--") or len(line) <= 2:
            raise _no_boundary()
        return MultipartBody(line[2:], self._write)


def label_of(name: bytes, content_type: bytes) -> Label:
    """Of a chunk that is no part of a form: its file's name and its type, each of them may be empty."""
    named = _of_name(b'; filename="' + name.replace(b";", b"").replace(b'"', b"") + b'"')
    return Label(_either(named.file_type, _of_type(content_type)), named.packed)


def _of_type(content_type: bytes) -> FileType | None:
    return next((kind for word, kind in _TYPES.items() if word in content_type.lower()), None)


def _of_name(disposition: bytes) -> Label:
    found = _ENDING.search(disposition)
    return Label(_ENDINGS.get((found[1] or b"").lower()), bool(found[2])) if found else Label()


def _either(named: FileType | None, typed: FileType | None) -> FileType | None:
    """The name comes before the type, which many clients guess; but CSV needs either's word."""
    return FileType.CSV if FileType.CSV in (named, typed) else named or typed


def _no_boundary() -> ChunkUnreadable:
    return ChunkUnreadable(
        "The multipart body names no boundary, neither in its header nor in its first line."
    )
