"""Bytes to lines."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from headrace.csvrecords.dialect import ENDING, Dialect

BLOCK = 1 << 20  # bytes read at once
LONGEST = 64 << 20  # characters of one record, so that memory stays bounded
RAW = 1 << 20  # characters up to which a bad record is kept whole
RAW_OF_LONGER = 2000  # characters that are kept of a longer one

BYTE_ORDER_MARK = "\ufeff"
CUT = "\ud800"  # stands in a line that was too long to keep
MARK = re.compile("[\ud800-\udfff]")  # no decoder yields a lone surrogate: they mark what is bad in a text
UNDECODABLE = 0xDC00  # the mark of the byte 0; those of the others follow


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Every byte that cannot be decoded becomes a lone surrogate."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(UNDECODABLE + byte) for byte in error.object[error.start : error.end]), error.end


def _unmark(error: UnicodeError) -> tuple[bytes, int]:
    """The way back."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    marked = error.object[error.start : error.end]
    return bytes(ord(char) - UNDECODABLE for char in marked), error.end


codecs.register_error("headrace-mark", _mark)
codecs.register_error("headrace-unmark", _unmark)


@dataclass(frozen=True)
class Block:
    """A stretch of a file: its bytes, where they begin, and the text that the decoder gave for them.

    ``state`` is the decoder's before them; it holds the first bytes of a character that was cut in two.
    """

    codec: str
    raw: bytes
    at: int
    state: tuple[bytes, int]
    text: str


def decoder_of(codec: str) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(codec)("headrace-mark")


def blocks(file: BinaryIO, dialect: Dialect, *, complete: bool = True) -> Iterator[Block]:
    """The text of a file, mark of the byte order included. The end of a file that is not ``complete`` cuts
    a character, and does not spoil it."""
    raw, at = file.read(BLOCK), 0
    codec = dialect.codec(raw)
    decoder = decoder_of(codec)
    while raw:
        state = decoder.getstate()
        yield Block(codec, raw, at, state, decoder.decode(raw))
        raw, at = file.read(BLOCK), at + len(raw)
    if complete:
        state = decoder.getstate()
        yield Block(codec, b"", at, state, decoder.decode(b"", True))


class Lines:
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
            lines, endings = split(held + text, self._dialect.own_ending)
            held = take_back(lines, endings, self._dialect.own_ending)
            self._pending.add(lines[0])
            if endings:
                lines[0] = self._pending.take()
                self._pending.add(lines.pop())
                yield lines, endings
        if self._complete:
            yield from _rest(self._pending, held, self._dialect.own_ending)

    def _texts(self) -> Iterator[str]:
        begun = False
        for block in blocks(self._file, self._dialect, complete=self._complete):
            text = block.text if begun else block.text.removeprefix(BYTE_ORDER_MARK)
            begun = begun or bool(block.text)
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
        if self._size > LONGEST:
            self.overlong = True
            self._parts = [CUT + "".join(self._parts).removeprefix(CUT)[:RAW_OF_LONGER]]

    def take(self) -> str:
        line = "".join(self._parts)
        self._parts, self._size = [], 0
        return line


def split(text: str, own_ending: str | None) -> tuple[list[str], list[str]]:
    """Lines and the endings between them: always one line more than endings."""
    ending = own_ending or "\n"
    if not own_ending and "\r" in text:
        pairs = text.count("\r\n")
        if pairs != text.count("\r") or pairs != text.count("\n"):
            return ENDING.split(text), ENDING.findall(text)
        ending = "\r\n"
    lines = text.split(ending)
    return lines, [ending] * (len(lines) - 1)


def take_back(lines: list[str], endings: list[str], own_ending: str | None) -> str:
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
