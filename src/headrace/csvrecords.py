"""Our own reading of CSV: a header from the first bytes, and a rewriting that DuckDB can surely read.

DuckDB reads the normal file directly (``direct_dialect`` says which). This module is the slow, exact way
for all others: charsets, long separators, own line endings, backslash escapes, and files with bad records,
each of which must be named.

The rules:

* A field that starts with the quote is quoted until the closing quote. In it, a doubled quote is a quote.
  If the escape is another character, escape + quote is a quote, escape + escape is the escape, and the
  escape before anything else is an ordinary character.
* Spaces before the opening and after the closing quote are ignored. Between a closing and a new opening quote
  they belong to the field: ``"x"  "y"`` is ``x  y``, as DuckDB reads it. Anything else after the closing
  quote makes the record malformed; the record then ends with that physical line.
* A quote or an escape in an unquoted field is an ordinary character.
* An empty unquoted field is None, ``""`` is the empty string.
* A blank line is skipped, but is a record of one None where one column is expected. The first record is the
  header; blank lines before it are skipped.
* Empty unquoted fields beyond the expected width are dropped, as DuckDB does.
* Any of ``\\n``, ``\\r\\n`` and ``\\r`` ends a record, also in one file, unless the dialect says another
  ending.
* A quote that is never closed would swallow the rest of the file. Such a record is reported at the line where
  it starts, and reading resumes at the next physical line. The same goes for records above 64 Mi characters.
* Bytes that the charset does not have spoil the record in which they stand, and no other.
"""

from __future__ import annotations

import codecs
import io
import mmap
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20  # bytes read at once
_LONGEST = 64 << 20  # characters of one record, so that memory stays bounded
_RAW = 1 << 20  # characters up to which a bad record is kept whole
_RAW_OF_LONGER = 2000  # characters that are kept of a longer one

_STANDARD_ENDINGS = ("\n", "\r\n", "\r")
_ENDING = re.compile(r"\r\n|\n|\r")

_CUT = "\ud800"  # stands in a line that was too long to keep
_MARK = re.compile("[\ud800-\udfff]")  # no decoder yields a lone surrogate: they mark what is bad in a text

_NO_SHORT_CUT = -1

Fields = list[str | None]
_Line = tuple[int, str, str]
"""Number, text and ending of a physical line."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    ``line_ending``: None or a standard one means any standard one; another text means exactly that one, and
    the end of the file. ``quote`` and ``escape`` are one character, None or empty. ``charset``: any name that
    Python knows; a byte order mark is stripped, and UTF-16 or UTF-32 without one is little endian.
    Raises ValueError if the parts contradict each other or the charset is unknown.
    """

    separator: str = ","
    quote: str | None = '"'
    escape: str | None = '"'
    line_ending: str | None = None
    charset: str = "utf-8"

    def __post_init__(self) -> None:
        self.codec()
        if not self.separator or _ENDING.search(self.separator):
            raise ValueError("the separator must be a text without line breaks")
        if len(self.quote or "") > 1 or len(self.escape or "") > 1:
            raise ValueError("the quote and the escape must each be one character")
        reserved = {char for char in (self.quote, self.escape) if char}
        if reserved & {*self.separator, *"\r\n "}:
            raise ValueError("quote and escape must differ from the separator, spaces and line breaks")
        if reserved & set(self.own_ending or "") or (self.own_ending or "\n") in self.separator:
            raise ValueError("the line ending must differ from the separator, the quote and the escape")

    @property
    def own_ending(self) -> str | None:
        """The line ending if it is not a standard one."""
        return self.line_ending if self.line_ending and self.line_ending not in _STANDARD_ENDINGS else None

    @property
    def own_escape(self) -> str | None:
        """The escape if it means anything besides doubled quotes."""
        return self.escape if self.quote and self.escape and self.escape != self.quote else None

    def codec(self, head: bytes = b"") -> str:
        """Python's name of the charset; its byte order is that of the mark in ``head``."""
        try:
            "a".encode(self.charset)
        except (LookupError, UnicodeError, ValueError):
            raise ValueError(f"the charset {self.charset!r} is not known") from None
        name = codecs.lookup(self.charset).name
        big = {"utf-16": codecs.BOM_UTF16_BE, "utf-32": codecs.BOM_UTF32_BE}
        if name in big:
            return name + ("-be" if head.startswith(big[name]) else "-le")
        return "utf-8" if name == "utf-8-sig" else name


class MalformedRecord(ValueError):
    """A record breaks the rules; ``code`` never changes, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be taken.

    ``line`` is the physical line on which it starts, from 1. ``code`` is one of ``unclosed-quote``,
    ``text-after-quote``, ``too-few-fields``, ``too-many-fields``, ``undecodable``, ``too-long``. ``raw`` is
    its text, with U+FFFD for each byte that could not be decoded; ``data`` then has its bytes if they are
    known for sure. ``whole``: nothing of it was cut. Of a record without an end it is the first line: the
    others are records of their own.
    """

    line: int
    code: str
    message: str
    raw: str
    whole: bool = True
    data: bytes | None = None


# -- what callers use ----------------------------------------------------------------------------------


def first_record(head: bytes, dialect: Dialect, *, complete: bool) -> Fields | None:
    """The header's fields, from the first bytes of a file; ``complete``: they are all its bytes.

    None if ``head`` holds no whole record: read more, or, if it is complete, the file is empty.
    Raises MalformedRecord.
    """
    record = _Record(dialect)
    for lines, endings in _Lines(io.BytesIO(head), dialect, complete=complete):
        for line, ending in zip(lines, endings, strict=True):
            if (line or record.open) and record.feed(line, ending):
                _refuse_marks(record.fields)
                return record.fields
    if record.open and complete:
        raise _unclosed()
    return None


def records_of(text: str, dialect: Dialect) -> list[Fields]:
    """The records of a text without a header. Raises MalformedRecord."""
    found, record = [], _Record(dialect)
    for _, line, ending in _numbered(text, 1, dialect.own_ending):
        if (line or record.open) and record.feed(line, ending):
            found.append(record.fields)
            record.clear()
    if record.open:
        raise _unclosed()
    return found


def plain_record(fields: Sequence[str | None]) -> bytes:
    """A record as ``rewrite`` writes it, without a number: None is nothing, everything else is quoted."""
    return (_plain(fields) + "\n").encode()


def rewrite(
    source: Path, destination: Path, dialect: Dialect, *, width: int, on_bad: Callable[[BadRecord], None]
) -> int:
    """Write ``source`` as plain CSV, without its header, and return the number of records written.

    The result is UTF-8 with ``,``, ``"``, doubled quotes and ``\\n``. It has one more field in front: the
    physical line of ``source``, from 1, on which the record starts. None is an empty field, the empty string
    is ``""``. Records that are malformed or do not have ``width`` fields go to ``on_bad`` instead, in the
    order of the file. Memory is bounded; a cell may have 64 Mi characters.
    """
    with source.open("rb") as file, destination.open("wb") as out:
        rewriter = _Rewriter(dialect, width, on_bad)
        lines = _Lines(file, dialect)
        for texts, endings in lines:
            out.write(rewriter.take(texts, endings, clean=lines.clean))
        out.write(rewriter.finish())
    return rewriter.written


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


# -- what DuckDB reads as we do ------------------------------------------------------------------------


def _duckdb_takes(dialect: Dialect) -> bool:
    separator = dialect.separator
    return (
        len(separator.encode()) <= 4
        and " " not in separator
        and ((dialect.quote or "") + (dialect.own_escape or "")).isascii()
    )


def _reads_alike(data: mmap.mmap, dialect: Dialect) -> bool:
    """Besides the escape, NUL: DuckDB overlooks one in a field too many."""
    escape = (dialect.own_escape or "\0").encode()
    return (
        _is_utf8(data, dialect)
        and _starts_well(data, dialect)
        and not any(escape in block or b"\0" in block for block in _blocks(data))
        and not _stumbles_over_quotes(data, dialect)
    )


def _starts_well(data: mmap.mmap, dialect: Dialect) -> bool:
    """Whether the first line is the header and all of it.

    DuckDB would take a blank line for the header, and the first line break, even a quoted one, for that of
    all lines. In a file of one column, it would take ``\\r\\n`` after a ``\\n`` for two blank lines.
    """
    line = re.split(rb"[\r\n]", data[:_BLOCK], maxsplit=1)[0]
    text = line.decode("utf-8", "replace").removeprefix("\ufeff")
    record = _Record(dialect)
    try:
        whole = bool(text) and len(line) < _BLOCK and record.feed(text, "\n")
    except MalformedRecord:
        return False
    return whole and (len(record.fields) > 1 or data.find(b"\r") < 0)


def _is_utf8(data: mmap.mmap, dialect: Dialect) -> bool:
    """Whether the file says the same in UTF-8: always if that is its charset, else if it is all ASCII."""
    if dialect.codec() == "utf-8":
        return True
    return _extends_ascii(dialect.codec()) and all(block.isascii() for block in _blocks(data))


def _blocks(data: mmap.mmap) -> Iterator[bytes]:
    """Searching these for a byte is far faster than searching the map."""
    return (data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK))


def _extends_ascii(codec: str) -> bool:
    every = bytes(range(128))
    try:
        return every.decode(codec) == every.decode("ascii")
    except UnicodeError:
        return False


def _stumbles_over_quotes(data: mmap.mmap, dialect: Dialect) -> bool:
    """Whether DuckDB misreads the quotes of the file.

    After a closing quote it takes the first byte of a longer separator for all of it. In a last line without
    an end it may take a quote after two spaces for text.
    """
    quote, separator = (dialect.quote or "").encode(), dialect.separator.encode()
    if not quote:
        return False
    if len(separator) > 1:
        return data.find(quote) >= 0
    last_line = max(data.rfind(b"\n"), 0)
    last_line = max(data.rfind(b"\r", last_line), last_line)
    return data.find(b"  " + quote, last_line) >= 0


# -- bytes to lines ------------------------------------------------------------------------------------


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Every byte that cannot be decoded becomes a lone surrogate."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


def _unmark(error: UnicodeError) -> tuple[bytes, int]:
    """The way back."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return bytes(ord(char) - 0xDC00 for char in error.object[error.start : error.end]), error.end


codecs.register_error("headrace-mark", _mark)
codecs.register_error("headrace-unmark", _unmark)


class _Lines:
    """The physical lines of a file, block by block: their texts and their endings.

    The end of a file that is not ``complete`` ends no line.
    """

    def __init__(self, file: BinaryIO, dialect: Dialect, *, complete: bool = True) -> None:
        self._file, self._dialect, self._complete = file, dialect, complete
        self._pending = _Pending()
        self._decodable = True

    @property
    def clean(self) -> bool:
        """Whether no line so far holds a mark."""
        return self._decodable and not self._pending.overlong

    def __iter__(self) -> Iterator[tuple[list[str], list[str]]]:
        held = ""  # what may be the first part of a line ending
        for text in self._texts():
            lines, endings = _split(held + text, self._dialect.own_ending)
            held = _take_back(lines, endings, self._dialect.own_ending)
            self._pending.add(lines[0])
            if endings:
                lines[0] = self._pending.take()
                self._pending.add(lines.pop())
                yield lines, endings
        if self._complete:
            yield from _rest(self._pending, held, self._dialect.own_ending)

    def _texts(self) -> Iterator[str]:
        block = self._file.read(_BLOCK)
        decode = codecs.getincrementaldecoder(self._dialect.codec(block))("headrace-mark").decode
        text = decode(block).removeprefix("\ufeff")
        while block:
            self._decodable = self._decodable and _encodable(text)
            yield text
            block = self._file.read(_BLOCK)
            text = decode(block)
        if self._complete:
            text = decode(b"", True)
            self._decodable = self._decodable and _encodable(text)
            yield text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Pending:
    """A line whose end has not come yet. Of one that is too long, only the beginning is kept."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self.overlong = False
        """Whether there was such a line."""

    def add(self, part: str) -> None:
        self._size += len(part)
        self._parts.append(part)
        if self._size > _LONGEST:
            self.overlong = True
            self._parts = [_CUT + "".join(self._parts).removeprefix(_CUT)[:_RAW_OF_LONGER]]

    def take(self) -> str:
        line = "".join(self._parts)
        self._parts, self._size = [], 0
        return line


def _split(text: str, own_ending: str | None) -> tuple[list[str], list[str]]:
    """Lines and the endings between them: always one line more than endings."""
    ending = own_ending or "\n"
    if not own_ending and "\r" in text:
        pairs = text.count("\r\n")
        if pairs != text.count("\r") or pairs != text.count("\n"):
            return _ENDING.split(text), _ENDING.findall(text)
        ending = "\r\n"
    lines = text.split(ending)
    return lines, [ending] * (len(lines) - 1)


def _take_back(lines: list[str], endings: list[str], own_ending: str | None) -> str:
    """Take from the end what the next block may make a (longer) line ending."""
    if not own_ending:
        if not lines[-1] and endings and endings[-1] == "\r":
            lines.pop()
            return endings.pop()
        return ""
    for size in range(len(own_ending) - 1, 0, -1):
        if lines[-1].endswith(own_ending[:size]):
            lines[-1] = lines[-1][:-size]
            return own_ending[:size]
    return ""


def _rest(pending: _Pending, held: str, own_ending: str | None) -> Iterator[tuple[list[str], list[str]]]:
    """The last line of the file; what follows the last ending is a line only if it is not empty."""
    if own_ending:
        pending.add(held)
        held = ""
    line = pending.take()
    if line or held:
        yield [line], [held]


# -- lines to records ----------------------------------------------------------------------------------


def _unclosed() -> MalformedRecord:
    return MalformedRecord("unclosed-quote", "a quote is opened and never closed")


def _too_long() -> MalformedRecord:
    return MalformedRecord("too-long", f"the line is longer than {_LONGEST} characters")


def _refuse_marks(fields: Fields) -> None:
    marks = {char for field in fields if field for char in _MARK.findall(field)}
    if _CUT in marks:
        raise _too_long()
    if marks:
        raise MalformedRecord("undecodable", "there are bytes that the charset does not have")


class _Record:
    """The fields of one record, fed with its physical lines."""

    def __init__(self, dialect: Dialect) -> None:
        self._separator, self._quote = dialect.separator, dialect.quote or ""
        self._skips_spaces = not dialect.separator.startswith(" ")
        quote, escape = re.escape(self._quote), re.escape(dialect.own_escape or self._quote)
        self._special = re.compile(f"{quote}{quote}|{escape}{quote}|{escape}{escape}|{quote}")
        self._between = self._quote + self._separator + self._quote
        self._escaped = (
            [dialect.own_escape + char for char in (self._quote, dialect.own_escape)]
            if dialect.own_escape
            else []
        )
        self.clear()

    def clear(self) -> None:
        self.fields: Fields = []
        self._cell = io.StringIO()  # compact, even for millions of short lines
        self.open = False  # in a quoted field whose end has not come yet

    def feed(self, line: str, ending: str) -> bool:
        """Whether the record ends with this line. Raises MalformedRecord."""
        if not self.open and self._feed_simple(line):
            return True
        at = self._quoted(line, 0) if self.open else self._field(line, 0)
        while at is not None:
            at = self._field(line, at)
        if self.open:
            self._cell.write(ending)
        return not self.open

    def _feed_simple(self, line: str) -> bool:
        """The two usual cases, quickly: no field is quoted, or each is and holds no quote."""
        quote = self._quote
        if not quote or quote not in line:
            self.fields = [field or None for field in line.split(self._separator)]
            return True
        inner = line[1:-1]
        parts = inner.split(self._between)
        if len(line) < 2 or line[0] != quote or line[-1] != quote or inner.count(quote) != 2 * len(parts) - 2:
            return False
        if self._escaped and any(map(line.__contains__, self._escaped)):
            return False
        self.fields = [*parts]
        return True

    def _field(self, line: str, at: int) -> int | None:
        """Read the field at ``at``; where the next one starts, None at the end of the line."""
        start = self._past_spaces(line, at) if self._skips_spaces else at
        if line.startswith(self._quote, start):
            self.open = True
            return self._quoted(line, start + 1)
        end = line.find(self._separator, at)
        self.fields.append(line[at : end if end >= 0 else None] or None)
        return end + len(self._separator) if end >= 0 else None

    def _quoted(self, line: str, at: int) -> int | None:
        """Read on in a quoted field."""
        while (end := self._until_closed(line, at)) is not None:
            at = self._past_spaces(line, end)
            if at == end or not line.startswith(self._quote, at) or line.startswith(self._separator, end):
                return self._closed(line, end)
            self._cell.write(line[end:at])  # it goes on
            at += 1
        return None

    def _until_closed(self, line: str, at: int) -> int | None:
        """Take the text up to the closing quote; where that ends, None if it is not in this line."""
        for special in self._special.finditer(line, at):
            self._cell.write(line[at : special.start()])
            at = special.end()
            if special.group() == self._quote:
                return at
            self._cell.write(special.group()[-1])
        self._cell.write(line[at:])
        return None

    def _closed(self, line: str, at: int) -> int | None:
        self.fields.append(self._cell.getvalue())
        self._cell, self.open = io.StringIO(), False
        if not line.startswith(self._separator, at):
            at = self._past_spaces(line, at)
        if at == len(line):
            return None
        if line.startswith(self._separator, at):
            return at + len(self._separator)
        raise MalformedRecord(
            "text-after-quote", f"field {len(self.fields)} has text after its closing quote"
        )

    @staticmethod
    def _past_spaces(line: str, at: int) -> int:
        while line.startswith(" ", at):
            at += 1
        return at


# -- records to plain CSV ------------------------------------------------------------------------------


class _Rewriter:
    def __init__(self, dialect: Dialect, width: int, on_bad: Callable[[BadRecord], None]) -> None:
        self._dialect, self._width, self._on_bad = dialect, width, on_bad
        self._special = _specials(dialect)
        self._record = _Record(dialect)
        self._start = 1  # the line on which the record starts
        self._text = io.StringIO()  # of the record so far
        self._header = True
        self._clean = True
        self._number = 0
        self._out: list[str] = []
        self.written = 0

    def take(self, lines: list[str], endings: list[str], *, clean: bool) -> bytes:
        """Read on; the bytes of the records that are complete now."""
        self._clean = clean
        separator, special, out = self._dialect.separator, self._special, self._out
        gaps = self._short_cut()
        for line, ending in zip(lines, endings, strict=True):
            self._number += 1
            if line.count(separator) == gaps and not any(map(line.__contains__, special)):
                out.append(f"{self._number},{line if separator == ',' else line.replace(separator, ',')}\n")
            else:
                self._read(iter([(self._number, line, ending)]))
                gaps = self._short_cut()
        return self._flush()

    def finish(self) -> bytes:
        """The bytes of the last records."""
        while self._record.open:
            self._read(self._give_up())
        return self._flush()

    def _flush(self) -> bytes:
        data = "".join(self._out).encode()
        self.written += len(self._out)
        self._out.clear()
        return data

    def _short_cut(self) -> int:
        """How many separators a line must have that may be copied as it is."""
        busy = self._header or self._record.open or not self._clean
        return _NO_SHORT_CUT if busy else self._width - 1

    def _read(self, lines: Iterator[_Line]) -> None:
        waiting = [lines]
        while waiting:
            line = next(waiting[-1], None)
            if line is None:
                waiting.pop()
            elif again := self._step(*line):
                waiting.append(again)

    def _step(self, number: int, line: str, ending: str) -> Iterator[_Line] | None:
        """Read one line; the lines that must be read anew, as records of their own."""
        if not self._record.open:
            if not line and (self._header or self._width > 1):
                return None
            self._start, self._text = number, io.StringIO()
        self._text.write(line)
        self._text.write(ending)
        try:
            if self._record.feed(line, ending):
                self._complete()
            elif self._text.tell() > _LONGEST or line.startswith(_CUT):
                return self._give_up()
        except MalformedRecord as problem:
            self._refuse(problem)
        return None

    def _complete(self) -> None:
        """Write the record. Raises MalformedRecord if it cannot be taken."""
        fields, width = self._record.fields, self._width
        if not self._clean:
            _refuse_marks(fields)
        if not self._header:
            if len(fields) < width:
                raise MalformedRecord("too-few-fields", f"{len(fields)} fields instead of {width}")
            if any(extra is not None for extra in fields[width:]):
                raise MalformedRecord("too-many-fields", f"{len(fields)} fields instead of {width}")
            self._out.append(f"{self._start},{_plain(fields[:width])}\n")
        self._next()

    def _give_up(self) -> Iterator[_Line]:
        """Report a record without an end; its lines but the first, to be read anew."""
        text, start = self._text.getvalue(), self._start
        lines = _numbered(text, start, self._dialect.own_ending)
        _, first, _ = next(lines)
        self._refuse(_too_long() if text.startswith(_CUT) else _unclosed(), first)
        return lines

    def _refuse(self, problem: MalformedRecord, text: str | None = None) -> None:
        raw = self._without_ending() if text is None else text
        whole, data = len(raw) <= _RAW and _CUT not in raw, None
        if whole and _MARK.search(raw):
            data = self._bytes(raw)
            whole = data is not None
        shown = _MARK.sub("\ufffd", raw.replace(_CUT, ""))
        shown = shown if len(raw) <= _RAW else shown[:_RAW_OF_LONGER]
        self._on_bad(BadRecord(self._start, problem.code, str(problem), shown, whole, data))
        self._next()

    def _without_ending(self) -> str:
        raw = self._text.getvalue().removesuffix(self._dialect.own_ending or "\n")
        return raw if self._dialect.own_ending else raw.removesuffix("\r")

    def _bytes(self, raw: str) -> bytes | None:
        """What a text with marks was read from, where that is sure."""
        codec = self._dialect.codec()
        if not _extends_ascii(codec):
            return None
        data = raw.encode(codec, "headrace-unmark")
        return data if data.decode(codec, "headrace-mark") == raw else None

    def _next(self) -> None:
        self._record.clear()
        self._header = False


def _specials(dialect: Dialect) -> tuple[str, ...]:
    """The texts that a line must not hold if it is to be copied as it is."""
    special = {'"', dialect.quote or '"'}
    if dialect.separator != ",":
        special.add(",")
    if dialect.own_ending:
        special |= {"\n", "\r"}
    return tuple(special - {dialect.separator})


def _plain(fields: Sequence[str | None]) -> str:
    return ",".join(["" if field is None else '"' + field.replace('"', '""') + '"' for field in fields])


def _numbered(text: str, number: int, own_ending: str | None) -> Iterator[_Line]:
    at = 0
    for ending in re.compile(re.escape(own_ending)).finditer(text) if own_ending else _ENDING.finditer(text):
        yield number, text[at : ending.start()], ending.group()
        at, number = ending.end(), number + 1
    if at < len(text):
        yield number, text[at:], ""
