"""Records to plain CSV."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import BinaryIO

from headrace.csvrecords.dialect import ENDING, Dialect
from headrace.csvrecords.lines import CUT, LONGEST, MARK, RAW, Lines
from headrace.csvrecords.records import MalformedRecord, Record, refuse_marks, too_long, unclosed

_Line = tuple[int, str, str]
"""Number, text and ending of a physical line."""


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be taken.

    ``line`` is the physical line on which it starts, from 1. ``code`` is one of ``unclosed-quote``,
    ``text-after-quote``, ``too-few-fields``, ``too-many-fields``, ``undecodable``, ``too-long``. ``raw`` is
    its text, cut to 2000 characters, with U+FFFD for each byte that could not be decoded.
    """

    line: int
    code: str
    message: str
    raw: str


def rewrite(
    source: BinaryIO, out: BinaryIO, dialect: Dialect, *, width: int, on_bad: Callable[[BadRecord], None]
) -> int:
    """Write ``source`` to ``out`` in its plain dialect, without its header; answers how many records.

    The result is UTF-8 with ``"``, doubled quotes and ``\\n``. It has one more field in front: the
    physical line of ``source``, from 1, on which the record starts. None is an empty field, the empty string
    is ``""``. Records that are malformed or do not have ``width`` fields go to ``on_bad`` instead, in the
    order of the file. Memory is bounded; a cell may have 64 Mi characters.
    """
    rewriter = _Rewriter(dialect, width, on_bad)
    lines = Lines(source, dialect)
    for texts, endings in lines:
        out.write(rewriter.take(texts, endings, clean=lines.clean))
    out.write(rewriter.finish())
    return rewriter.written


class _Rewriter:
    def __init__(self, dialect: Dialect, width: int, on_bad: Callable[[BadRecord], None]) -> None:
        self._dialect, self._width, self._on_bad = dialect, width, on_bad
        self._copying = _Copying(dialect, width)
        self._record = Record(dialect)
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
        if self._at_rest() and self._copying.takes_all(lines):
            mark = self._copying.separator
            self._out += [f"{number}{mark}{line}\n" for number, line in enumerate(lines, self._number + 1)]
            self._number += len(lines)
        else:
            self._take_each(lines, endings)
        return self._flush()

    def _take_each(self, lines: list[str], endings: list[str]) -> None:
        copy, out, separator = self._copying.copy, self._out, self._copying.separator
        at_rest = self._at_rest()
        for line, ending in zip(lines, endings, strict=True):
            self._number += 1
            if at_rest and (copied := copy(line)) is not None:
                out.append(f"{self._number}{separator}{copied}\n")
            else:
                self._read(iter([(self._number, line, ending)]))
                at_rest = self._at_rest()

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

    def _at_rest(self) -> bool:
        """Whether the next line begins a record, and has only what its charset has."""
        return not self._header and not self._record.open and self._clean

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
            elif self._text.tell() > LONGEST or line.startswith(CUT):
                return self._give_up()
        except MalformedRecord as problem:
            self._refuse(problem)
        return None

    def _complete(self) -> None:
        """Write the record. Raises MalformedRecord if it cannot be taken."""
        fields, width = self._record.fields, self._width
        if not self._clean:
            refuse_marks(fields)
        if not self._header:
            if len(fields) < width:
                raise MalformedRecord("too-few-fields", f"{len(fields)} fields instead of {width}")
            if any(extra is not None for extra in fields[width:]):
                raise MalformedRecord("too-many-fields", f"{len(fields)} fields instead of {width}")
            separator = self._copying.separator
            self._out.append(f"{self._start}{separator}{separator.join(map(_quoted, fields[:width]))}\n")
        self._next()

    def _give_up(self) -> Iterator[_Line]:
        """Report a record without an end; its lines but the first, to be read anew."""
        text, start = self._text.getvalue(), self._start
        self._refuse(too_long() if text.startswith(CUT) else unclosed())
        return islice(_numbered(text, start, self._dialect.own_ending), 1, None)

    def _refuse(self, problem: MalformedRecord) -> None:
        self._on_bad(BadRecord(self._start, problem.code, str(problem), self._raw()))
        self._next()

    def _raw(self) -> str:
        raw = self._text.getvalue()[: RAW + 1]
        if len(raw) <= RAW:
            raw = raw.removesuffix(self._dialect.own_ending or "\n")
            raw = raw if self._dialect.own_ending else raw.removesuffix("\r")
        return MARK.sub("\ufffd", raw.replace(CUT, "")[:RAW])

    def _next(self) -> None:
        self._record.clear()
        self._header = False


class _Copying:
    """Which lines are the same in the plain dialect: nearly all of a usual file, so they are told quickly."""

    def __init__(self, dialect: Dialect, width: int) -> None:
        self.separator = dialect.plain.separator
        self._own_separator = dialect.separator
        self._replaces = dialect.separator != self.separator
        self._gaps = width - 1
        special = {'"', dialect.quote or '"', *("\r\n" if dialect.own_ending else "")}
        special |= {self.separator} if self._replaces else set()
        self._special = tuple(special - {dialect.separator})
        self._escape = dialect.own_escape or "\n"
        usual = dialect.quote == '"' and not self._replaces and not dialect.own_ending
        self._well_quoted = _well_quoted(self.separator, width).fullmatch if usual else None

    def takes_all(self, lines: list[str]) -> bool:
        """Whether all are the same, and hold no quote."""
        text = "".join(lines)
        if self._replaces or any(map(text.__contains__, self._special)):
            return False
        return set(map(str.count, lines, repeat(self.separator))) == {self._gaps}

    def copy(self, line: str) -> str | None:
        """The record of this line; None if it must be read field by field."""
        if not any(map(line.__contains__, self._special)):
            if line.count(self._own_separator) != self._gaps:
                return None
            return line.replace(self._own_separator, self.separator) if self._replaces else line
        if self._well_quoted and self._well_quoted(line) and self._escape not in line:
            return line
        return None


def _well_quoted(separator: str, width: int) -> re.Pattern[str]:
    """A record of one line, each field of which is wholly quoted or holds no quote. It never tries twice."""
    field = f'(?:"[^"]*+(?:""[^"]*+)*+"|[^"{re.escape(separator)}]*+)'
    return re.compile(f"{field}(?:{re.escape(separator)}{field}){{{width - 1}}}+")


def _quoted(field: str | None) -> str:
    return "" if field is None else '"' + field.replace('"', '""') + '"'


def _numbered(text: str, number: int, own_ending: str | None) -> Iterator[_Line]:
    at = 0
    for ending in re.compile(re.escape(own_ending)).finditer(text) if own_ending else ENDING.finditer(text):
        yield number, text[at : ending.start()], ending.group()
        at, number = ending.end(), number + 1
    if at < len(text):
        yield number, text[at:], ""
