"""How a CSV file is written."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

STANDARD_ENDINGS = ("\n", "\r\n", "\r")
_USUAL_SEPARATORS = (",", ";", "\t", "|")
_NO_FILES = ("idna", "punycode", "undefined")  # of names of hosts; they cannot be read bit by bit
ENDING = re.compile(r"\r\n|\n|\r")


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
        if not self.separator or ENDING.search(self.separator):
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
        return self.line_ending if self.line_ending and self.line_ending not in STANDARD_ENDINGS else None

    @property
    def own_escape(self) -> str | None:
        """The escape if it means anything besides doubled quotes."""
        return self.escape if self.quote and self.escape and self.escape != self.quote else None

    @property
    def plain(self) -> Dialect:
        """How the same records are written plainly. A usual separator stays: most lines are then copied."""
        return Dialect(self.separator if self.separator in _USUAL_SEPARATORS else ",")

    def codec(self, head: bytes = b"") -> str:
        """Python's name of the charset; its byte order is that of the mark in ``head``."""
        try:
            "a".encode(self.charset)
        except (LookupError, UnicodeError, ValueError):
            raise ValueError(f"the charset {self.charset!r} is not known") from None
        name = codecs.lookup(self.charset).name
        if name in _NO_FILES:
            raise ValueError(f"the charset {self.charset!r} is none of a file")
        big = {"utf-16": codecs.BOM_UTF16_BE, "utf-32": codecs.BOM_UTF32_BE}
        if name in big:
            return name + ("-be" if head.startswith(big[name]) else "-le")
        return "utf-8" if name == "utf-8-sig" else name
