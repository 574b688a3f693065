"""Rejects as people meet them: one shape in which they are told.

Where (chunk, line, column), what was found, the row with the cell marked, what was expected, the likely fix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from headrace.csvrecords import plain_record
from headrace.hints import likely
from headrace.model import Chunk, ColumnType, Cut, Job, Reject, RejectCount, fold

_LONGEST_CELL = 60
_LONGEST_SIDE = 80
_UNDECODABLE = re.compile("\ufffd+")
_REASONS = ("_chunk", "_type", "_line", "_column", "_code", "_expected", "_hint", "_raw")


class Number(str):
    """The text of a number that was one in the file, and no text."""


def values_of(reject: Reject) -> dict[str, str | None]:
    """The values of a row as text, by column; of a record that could not be read there are none."""
    if reject.column is None or not reject.raw:
        return {}
    try:
        values = json.loads(reject.raw, parse_int=Number, parse_float=Number, parse_constant=str)
    except ValueError:  # it was cut
        return {}
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """As the file had it: a number keeps all of its digits."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(_json, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_json(name)}:{_json(inner)}' for name, inner in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


# -- one shape -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToldReject:
    """A reject with all that helps a person."""

    chunk: Chunk
    reject: Reject
    marked: str
    hint: str | None

    @property
    def where(self) -> str:
        reject = self.reject
        column = f", column {reject.column}" if reject.column is not None else ""
        return f"Chunk {self.chunk.number}, line {reject.line}{column}"

    @property
    def message(self) -> str:
        reject = self.reject
        if reject.column is None:
            return f"the record cannot be read: {reject.expected}."
        return f"{reject.value!r} found, expected {reject.expected}."

    @property
    def sentence(self) -> str:
        fix = f" Likely: {self.hint}." if self.hint else ""
        return f"{self.where}: {self.message}{fix}"


class Teller:
    """Tells the rejects of one job; a hint is drawn from all that are alike, of all of its chunks."""

    def __init__(self, job: Job, chunks: Sequence[Chunk]) -> None:
        self._job = job
        self._chunks = chunks
        self._separator = (job.spec.csv.separator if job.spec.csv else None) or ","

    def first(self, count: int) -> list[ToldReject]:
        """The first rejects of the job, from its reports."""
        found = ((c, r) for c in self._chunks if c.report for r in c.report.first_rejects)
        return [self.told(chunk, reject) for chunk, reject in islice(found, count)]

    def told(self, chunk: Chunk, reject: Reject) -> ToldReject:
        return ToldReject(chunk, reject, marked(reject, self._separator), self.hint(reject))

    def hint(self, reject: Reject) -> str | None:
        return self.hint_of(reject.code, reject.column)

    def hint_of(self, code: str, column: str | None) -> str | None:
        return self._hints.get((code, column))

    def expected(self, code: str, column: str | None) -> str:
        """What the first of these should have been; '' if none was kept in a report."""
        found = (r for c in self._chunks if c.report for r in c.report.first_rejects)
        return next((r.expected for r in found if (r.code, r.column) == (code, column)), "")

    @cached_property
    def _hints(self) -> dict[tuple[str, str | None], str | None]:
        alike: dict[tuple[str, str | None], list[Reject]] = {}
        for chunk in self._chunks:
            for reject in chunk.report.first_rejects if chunk.report else ():
                alike.setdefault((reject.code, reject.column), []).append(reject)
        return {
            (code, column): likely(found, self._type(column), self._job.spec.csv, self._overlong(column))
            for (code, column), found in alike.items()
        }

    def _type(self, column: str | None) -> ColumnType | None:
        columns = (c for chunk in self._chunks if chunk.report for c in chunk.report.columns)
        return next((c.type for c in columns if c.name == column), None)

    def _overlong(self, column: str | None) -> Cut | None:
        found = [cut for c in self._chunks if c.report for cut in c.report.overlong if cut.column == column]
        return next(iter(sum_of_cuts(found)), None)


@dataclass(frozen=True)
class Reason:
    """So many rows were rejected for one reason; ``hint`` is the likely fix, ``expected`` what was."""

    count: RejectCount
    expected: str
    hint: str | None


def reasons(teller: Teller, counts: Iterable[RejectCount]) -> list[Reason]:
    return [Reason(c, teller.expected(c.code, c.column), teller.hint_of(c.code, c.column)) for c in counts]


def sum_of_cuts(cuts: Iterable[Cut]) -> list[Cut]:
    """One for each column and length."""
    total: dict[tuple[str, int], Cut] = {}
    for cut in cuts:
        known = total.get((fold(cut.column), cut.length), Cut(cut.column, cut.length, 0, 0))
        total[fold(cut.column), cut.length] = Cut(
            known.column, cut.length, known.rows + cut.rows, max(known.longest, cut.longest)
        )
    return list(total.values())


def marked(reject: Reject, separator: str) -> str:
    """The row in short with the cell between ``>>`` and ``<<``, or the first line of a record."""
    if reject.column is None:
        line = (reject.raw or "").partition("\n")[0]
        return _UNDECODABLE.sub(r">>\g<0><<", _cut(line, 2 * _LONGEST_SIDE))
    values = values_of(reject)
    if reject.column not in values:
        return f">>{_cut(reject.value)}<<"
    names = list(values)
    at = names.index(reject.column)
    left = separator.join([_cut(values[n]) for n in names[:at]] + [""])
    right = separator.join(["", *(_cut(values[n]) for n in names[at + 1 :])])
    before = left if len(left) <= _LONGEST_SIDE else "…" + left[-_LONGEST_SIDE:]
    return f"{before}>>{_cut(values[reject.column])}<<{_cut(right, _LONGEST_SIDE)}"


def _cut(text: str | None, longest: int = _LONGEST_CELL) -> str:
    shown = " ".join((text or "").splitlines())
    return shown if len(shown) <= longest else shown[:longest] + "…"


# -- as a file -----------------------------------------------------------------------------------------


def as_csv(
    teller: Teller, chunks: Sequence[Chunk], rejects: Iterable[tuple[Chunk, Reject]]
) -> Iterator[bytes]:
    """A CSV that a person can open: the values as they were sent, then the reasons, in columns with ``_``.

    NULL is empty, the empty string is ``""``. ``_raw`` has the text of a record whose values are not known.
    """
    names = _names(chunks)
    yield plain_record([*names, *_reasons(names)])
    for chunk, reject in rejects:
        values = {fold(name): value for name, value in values_of(reject).items()}
        raw = None if values else reject.raw
        why = (reject.column, reject.code, reject.expected, teller.hint(reject), raw)
        place = (str(chunk.number), chunk.type.value, str(reject.line))
        yield plain_record([*(values.get(fold(name)) for name in names), *place, *why])


def _names(chunks: Sequence[Chunk]) -> list[str]:
    """The columns of all chunks that have rejects, in the order of their first arrival."""
    names: dict[str, str] = {}
    for chunk in chunks:
        for column in chunk.report.columns if chunk.report and chunk.report.rejected else ():
            names.setdefault(fold(column.name), column.name)
    return list(names.values())


def _reasons(names: Sequence[str]) -> list[str]:
    """A column that the rows have themselves keeps its name."""
    taken = {fold(name) for name in names}
    return [f"_{reason}" if reason in taken else reason for reason in _REASONS]
