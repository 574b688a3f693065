"""Lines to records."""

from __future__ import annotations

import io
import re

from headrace.csvrecords.dialect import Dialect
from headrace.csvrecords.lines import CUT, LONGEST, MARK, Lines

Fields = list[str | None]


class MalformedRecord(ValueError):
    """A record breaks the rules; ``code`` never changes, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def first_record(head: bytes, dialect: Dialect, *, complete: bool) -> Fields | None:
    """The header's fields, from the first bytes of a file; ``complete``: they are all its bytes.

    None if ``head`` holds no whole record: read more, or, if it is complete, the file is empty.
    Raises MalformedRecord.
    """
    record = Record(dialect)
    for lines, endings in Lines(io.BytesIO(head), dialect, complete=complete):
        for line, ending in zip(lines, endings, strict=True):
            if (line or record.open) and record.feed(line, ending):
                refuse_marks(record.fields)
                return record.fields
    if record.open and complete:
        raise unclosed()
    return None


def unclosed() -> MalformedRecord:
    return MalformedRecord("unclosed-quote", "a quote is opened and never closed")


def too_long() -> MalformedRecord:
    return MalformedRecord("too-long", f"the line is longer than {LONGEST} characters")


def refuse_marks(fields: Fields) -> None:
    marks = {char for field in fields if field for char in MARK.findall(field)}
    if CUT in marks:
        raise too_long()
    if marks:
        raise MalformedRecord("undecodable", "there are bytes that the charset does not have")


class Record:
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
