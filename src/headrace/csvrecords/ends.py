"""How long the records of a file may be, told by a few of their ends."""

from __future__ import annotations

_TRIES = 16
"""Quotes of a block that are looked at, the last ones first; nearly always the first tells."""


class Ends:
    """Sees a file block by block; ``longest`` is a bound for its records in bytes, never too small.

    A line break ends a record if it is not within quotes, and whether it is, only all quotes before it tell.
    But one quote, or an odd number of them, right behind other text opens nothing: within quotes it closes,
    and in a field without quotes it is text. So a line break that follows with no quote in between is an end.
    Spaces are no such text: a quote behind them may open. ``quote`` and ``separator`` are one byte each.
    """

    def __init__(self, quote: bytes, separator: bytes) -> None:
        self._quote = quote
        self._before_opening = separator + b" \t\r\n"
        self._at = 0
        self._end = 0
        self._longest = 0
        self._outside = True

    @property
    def longest(self) -> int:
        """Of what was seen so far, all of it records."""
        return max(self._longest, self._at - self._end)

    def see(self, block: bytes) -> None:
        """The next bytes of the file."""
        if self._quote and self._quote in block:
            found = self._behind_a_closing_quote(block)
        else:
            found = block.rfind(b"\n") if self._outside else -1
        if found >= 0:
            self._longest = max(self._longest, self._at + found + 1 - self._end)
            self._end = self._at + found + 1
        self._at += len(block)

    def _behind_a_closing_quote(self, block: bytes) -> int:
        """Where a record surely ends, -1: nowhere. A run of quotes at the edge of a block may go on there."""
        last, until = True, len(block)
        self._outside = False
        for _ in range(_TRIES):
            stop = block.rfind(self._quote, 0, until)
            start = stop
            while start > 0 and block[start - 1 : start] == self._quote:
                start -= 1
            if start <= 0:
                return -1
            if stop + 1 < len(block) and (stop + 1 - start) % 2 and self._is_text(block[start - 1]):
                self._outside = self._outside or last
                if (found := block.rfind(b"\n", stop, until)) >= 0:
                    return found
            last, until = False, start
        return -1

    def _is_text(self, byte: int) -> bool:
        return byte not in self._before_opening
