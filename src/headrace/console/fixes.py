"""From the hint that a reject comes with to what can be done at once: a corrected option, or another type.

Hints are sentences for people; the options in them have fixed spellings (``hints.py``), which are read here.
A hint that names no option has no fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from headrace.model import (
    ColumnCsvOptions,
    ColumnKind,
    CsvOptions,
    DeclaredColumn,
    PushSpec,
    fold,
)

_MARKS = re.compile(r"(decimalSeparator '(?P<point>.)')?( and )?(thousandSeparator '(?P<thousands>.)')?")
_FORMAT = re.compile(r"dateFormat looks like (.+)$")
_KIND = re.compile(r"declare (?:it|the column) (STRING|FLOAT|DATETIME|INTEGER)\b")
_SEPARATOR = re.compile(r"separatorSequence looks like (?:'(.)'|(a tab))")
_CHARSET = re.compile(r"charSet looks like ([\w-]+)")
_ESCAPE = re.compile(r"escapeSequence looks like '(.)'")
_LENGTH = re.compile(r"the longest has (\d+) characters: raise fieldLength")


@dataclass(frozen=True)
class Fix:
    """One correction. ``label`` says on a button what it does."""

    label: str
    column: str | None = None
    options: ColumnCsvOptions = field(default_factory=ColumnCsvOptions)
    csv: CsvOptions = field(default_factory=CsvOptions)
    kind: ColumnKind | None = None
    length: int | None = None

    def of_csv(self, csv: CsvOptions | None) -> CsvOptions:
        """The options of a job with this correction."""
        csv = csv or CsvOptions()
        whole = {name: value for name, value in vars(self.csv).items() if value and name != "columns"}
        csv = replace(csv, **whole)
        if self.column is None or self.options == ColumnCsvOptions():
            return csv
        name = next((known for known in csv.columns if fold(known) == fold(self.column)), self.column)
        own = {field: value for field, value in vars(self.options).items() if value is not None}
        column = replace(csv.columns.get(name, ColumnCsvOptions()), **own)
        return replace(csv, columns={**csv.columns, name: column})

    def of_columns(self, columns: tuple[DeclaredColumn, ...]) -> tuple[DeclaredColumn, ...]:
        """The declared columns of a job with this correction."""
        if self.column is None or (self.kind is None and self.length is None):
            return columns
        changed = {"kind": self.kind} if self.kind else {"length": self.length}
        known = any(fold(c.name) == fold(self.column) for c in columns)
        every = columns if known else (*columns, DeclaredColumn(self.column))
        return tuple(replace(c, **changed) if fold(c.name) == fold(self.column) else c for c in every)

    def of_spec(self, spec: PushSpec) -> PushSpec:
        return replace(spec, csv=self.of_csv(spec.csv), columns=self.of_columns(spec.columns))


def fixes_of(hint: str | None, column: str | None) -> list[Fix]:
    """What the hint names, the likelier first."""
    return list(_found(hint, column)) if hint else []


def _found(hint: str, column: str | None) -> Iterator[Fix]:
    if kind := _KIND.search(hint):
        yield from _kinds(hint, column, ColumnKind(kind[1]))
    elif found := _FORMAT.search(hint):
        for pattern in found[1].split(" or "):
            yield Fix(f"Read {column} as {pattern}", column, ColumnCsvOptions(date_format=pattern))
    elif "Separator '" in hint:
        yield from _marks(hint, column)
    elif found := _LENGTH.search(hint):
        yield Fix(f"Let {column} have {found[1]} characters", column, length=int(found[1]))
    else:
        yield from _whole(hint)


def _kinds(hint: str, column: str | None, kind: ColumnKind) -> Iterator[Fix]:
    found = _FORMAT.search(hint)
    for pattern in found[1].split(" or ") if found else [None]:
        spelled = f", read as {pattern}" if pattern else ""
        options = ColumnCsvOptions(date_format=pattern)
        yield Fix(f"Make {column} {kind}{spelled}", column, options, kind=kind)


def _marks(hint: str, column: str | None) -> Iterator[Fix]:
    for said in hint.split(" or "):
        if not (found := _MARKS.fullmatch(said)):
            continue
        point, thousands = found["point"], found["thousands"]
        words = [f"decimal ‘{point}’"] if point else []
        words += [f"thousands ‘{thousands}’"] if thousands else []
        label = f"Read {column} with {' and '.join(words)}"
        yield Fix(label, column, ColumnCsvOptions(decimal_separator=point, thousands_separator=thousands))


def _whole(hint: str) -> Iterator[Fix]:
    """Options of the whole file."""
    if found := _SEPARATOR.search(hint):
        separator = found[1] or "\t"
        yield Fix(f"Separate fields by {found[2] or separator}", csv=CsvOptions(separator=separator))
    elif found := _CHARSET.search(hint):
        yield Fix(f"Read the file as {found[1]}", csv=CsvOptions(charset=found[1]))
    elif found := _ESCAPE.search(hint):
        yield Fix(f"Take {found[1]} as the escape", csv=CsvOptions(escape=found[1]))
