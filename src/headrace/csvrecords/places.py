"""Where a line stands in its file, in bytes.

Only what is bad has to be found, so nothing is counted while records are read: the file is decoded once more,
and in the blocks that hold such a line, its place is measured by writing the text before it again. A charset
that can write a text in several ways is decoded bit by bit there.
"""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import BinaryIO

from headrace.csvrecords.dialect import Dialect
from headrace.csvrecords.lines import (
    BYTE_ORDER_MARK,
    MARK,
    UNDECODABLE,
    Block,
    blocks,
    decoder_of,
    split,
    take_back,
)

_STEP = 256


class Places:
    """The places of a file, from 0; to be asked in the order of the file."""

    def __init__(self, file: BinaryIO, dialect: Dialect) -> None:
        self._own_ending = dialect.own_ending
        self._blocks = blocks(file, dialect)
        self._held = ""  # what may be the first part of a line ending
        self._behind_held = 0  # the place behind it: before what only switches the charset
        self._next = 1  # the first line that does not start before this block
        self._char = 0  # the place in the text of this block that was asked for
        self._starts: list[int] = []
        self._measure = _Measure(next(self._blocks))
        text = self._measure.block.text
        self._find_starts([len(text) - len(text.removeprefix(BYTE_ORDER_MARK))])

    def of_line(self, number: int) -> int:
        """Where the line begins."""
        while number >= self._next + len(self._starts):
            self._advance(number)
        self._char = self._starts[number - self._next]
        if self._behind_held and not self._char:
            return self._behind_held
        return self._measure.bytes_before(self._char)

    def undecodable(self) -> tuple[int, int]:
        """The first byte that the charset does not have, from the line on that was asked for: what, where."""
        while (mark := MARK.search(self._measure.block.text, self._char)) is None:
            self._advance(0)
        return ord(mark.group()) - UNDECODABLE, self._measure.bytes_before(mark.start())

    def _advance(self, wanted: int) -> None:
        """To the next block; where its lines start is only of interest if the wanted one is among them."""
        self._next += len(self._starts)
        self._starts, self._char = [], 0
        last = self._measure
        self._behind_held = last.bytes_before(len(last.block.text)) if self._held else 0
        self._measure = _Measure(next(self._blocks))
        text = self._measure.block.text
        if wanted and not self._own_ending and not self._held and "\r" not in text:
            count = text.count("\n")
            if wanted >= self._next + count:
                self._next += count
                return
        self._find_starts([])

    def _find_starts(self, starts: list[int]) -> None:
        """Where lines start in the text of the block, behind the one that has begun before it."""
        before = len(self._held)
        lines, endings = split(self._held + self._measure.block.text, self._own_ending)
        self._held = take_back(lines, endings, self._own_ending)
        sizes = (len(line) + len(ending) for line, ending in zip(lines, endings, strict=False))
        self._starts = starts + [max(at - before, 0) for at in accumulate(sizes)]


class _Measure:
    """How many bytes of a block its first characters take; to be asked with growing numbers."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._start = block.at - len(block.state[0])
        self._bytes = block.state[0] + block.raw
        self._chars = self._size = 0  # so many characters take so many bytes

    def bytes_before(self, char: int) -> int:
        """The place behind so many characters, in the file."""
        written = _written(self.block.text[self._chars : char], self.block.codec)
        if written is not None and self._bytes.startswith(written, self._size):
            self._size += len(written)
        else:
            self._size = self._decode.until(char) - self._start
        self._chars = char
        return self._start + self._size

    @cached_property
    def _decode(self) -> _Decode:
        return _Decode(self.block)


class _Decode:
    """The decoding of a block bit by bit."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._decoder = decoder_of(block.codec)
        self._decoder.setstate(block.state)
        self._at = self._chars = 0

    def until(self, char: int) -> int:
        """Behind the fewest bytes for which the decoder gives so many characters.

        It may give more at once: UTF-7 keeps a run of them until the byte behind it. Then before that byte.
        """
        step = _STEP
        while self._chars < char and self._at < len(self._block.raw):
            before = self._decoder.getstate()
            more = len(self._decoder.decode(self._block.raw[self._at : self._at + step]))
            if self._chars + more > char or (step > 1 and self._chars + more == char):
                self._decoder.setstate(before)
                if step == 1:
                    break
                step = 1
            else:
                self._chars += more
                self._at += step
        return self._block.at + min(self._at, len(self._block.raw))


def _written(text: str, codec: str) -> bytes | None:
    """The bytes of a text, if its charset has it; a mark is the byte that it stands for."""
    parts, marks = MARK.split(text), MARK.findall(text)
    try:
        written = [part.encode(codec) for part in parts]
    except UnicodeError:
        return None
    for number, mark in enumerate(marks):
        written[number] += bytes([ord(mark) - UNDECODABLE])
    return b"".join(written)
