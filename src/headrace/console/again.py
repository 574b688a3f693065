"""Running a job again, or a new one like it: with what a person has changed of its request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Form, Response

from headrace.console.job import path_of
from headrace.console.rendering import see
from headrace.errors import InvalidRequest
from headrace.guessing import CHARSETS, SEPARATORS
from headrace.model import (
    DECLARED_KINDS,
    Chunk,
    ColumnCsvOptions,
    ColumnKind,
    CsvOptions,
    DeclaredColumn,
    FileType,
    Job,
    JobType,
    PushSpec,
    fold,
)
from headrace.retries import Change, as_it_was, retryable
from headrace.web.context import Asking, Use
from headrace.web.noting import Note

_MOST_COLUMNS = 200
"""A form has a thousand fields at most; what is not in it stays as it was."""


@dataclass(frozen=True)
class ClonePage:
    job: Job
    path: str
    columns: Sequence[DeclaredColumn]
    is_csv: bool
    kinds: Sequence[ColumnKind] = DECLARED_KINDS
    types: Sequence[JobType] = tuple(JobType)
    separators: Sequence[str] = SEPARATORS
    charsets: Sequence[str] = CHARSETS

    @property
    def csv(self) -> CsvOptions:
        return self.job.spec.csv or CsvOptions()

    @property
    def retries(self) -> bool:
        """Its chunks are there still."""
        return retryable(self.job)

    @property
    def shown(self) -> Sequence[DeclaredColumn]:
        return self.columns[:_MOST_COLUMNS]

    def date_format(self, column: DeclaredColumn) -> str:
        """Of this column alone."""
        return _own(self.csv, column.name)[1].date_format or ""


def clone_page(pool_id: str, job_id: str, use: Use) -> ClonePage:
    job, chunks = use.pushes.ledger_entry(pool_id, job_id), use.pushes.ledger_chunks(pool_id, job_id)
    is_csv = FileType.CSV in {job.spec.file_type, *(chunk.file_type for chunk in chunks)}
    return ClonePage(job, path_of(job), _columns(job.spec, chunks), is_csv)


def _columns(spec: PushSpec, chunks: Sequence[Chunk]) -> list[DeclaredColumn]:
    """Those that the request declares, then those that came."""
    found = {fold(column.name): column for column in spec.columns}
    for chunk in chunks:
        for column in chunk.report.columns if chunk.report else ():
            found.setdefault(fold(column.name), DeclaredColumn(column.name))
    return list(found.values())


# -- what the form says --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A column in the form."""

    name: str
    kind: str
    length: str
    date_format: str

    def of_declared(self, old: DeclaredColumn) -> DeclaredColumn:
        """Keys are said beside the columns."""
        kind = ColumnKind(self.kind) if self.kind in set(DECLARED_KINDS) else None
        decimals = old.decimals if kind is old.kind else None
        return replace(old, kind=kind, length=_length(self.length), decimals=decimals, primary_key=False)


def written(
    csv: Annotated[bool, Form()] = False,
    separator: Annotated[str, Form()] = "",
    quote: Annotated[str, Form()] = "",
    escape: Annotated[str, Form()] = "",
    charset: Annotated[str, Form()] = "",
    decimal: Annotated[str, Form()] = "",
    thousands: Annotated[str, Form()] = "",
    dates: Annotated[str, Form()] = "",
) -> CsvOptions | None:
    """How the CSV is said to be written; None where the form does not ask."""
    if not csv:
        return None
    return CsvOptions(
        separator=separator or None,
        quote=quote or None,
        escape=escape or None,
        charset=charset or None,
        decimal_separator=decimal or None,
        thousands_separator=thousands or None,
        date_format=dates or None,
    )


def edited(
    csv: Annotated[CsvOptions | None, Depends(written)],
    said: Annotated[bool, Form()] = False,
    table: Annotated[str, Form()] = "",
    type: Annotated[JobType, Form()] = JobType.REPLACE,
    keys: Annotated[str, Form()] = "",
    column: Annotated[list[str] | None, Form()] = None,
    kind: Annotated[list[str] | None, Form()] = None,
    length: Annotated[list[str] | None, Form()] = None,
    date_format: Annotated[list[str] | None, Form()] = None,
) -> Change:
    """What becomes of a request; a button without the form changes nothing."""
    if not said:
        return as_it_was
    lines = _lines(column or [], kind or [], length or [], date_format)
    key_columns = tuple(key for line in keys.splitlines() if (key := line.strip()))

    def change(spec: PushSpec) -> PushSpec:
        return replace(
            spec,
            target_name=table.strip(),
            type=type,
            keys=key_columns,
            columns=_declared(spec.columns, lines),
            csv=_csv(spec.csv or CsvOptions(), csv, lines) if csv else spec.csv,
        )

    return change


Edited = Annotated[Change, Depends(edited)]


def _lines(
    names: Sequence[str], kinds: Sequence[str], lengths: Sequence[str], formats: Sequence[str] | None
) -> list[Line]:
    """The form asks for formats of dates only where there is a CSV. Raises InvalidRequest."""
    formats = formats or [""] * len(names)
    try:
        return [Line(*one) for one in zip(names, kinds, lengths, formats, strict=True)]
    except ValueError as error:
        raise InvalidRequest(
            "Each column of the form has a type and a length.", attribute="column"
        ) from error


def _declared(columns: Sequence[DeclaredColumn], lines: Sequence[Line]) -> tuple[DeclaredColumn, ...]:
    """Each line's column, if something is said of it; then those that were not in the form."""
    known = {fold(column.name): column for column in columns}
    said = [line.of_declared(known.pop(fold(line.name), DeclaredColumn(line.name))) for line in lines]
    return (*(c for c in said if c.kind or c.length), *known.values())


def _csv(old: CsvOptions, said: CsvOptions, lines: Sequence[Line]) -> CsvOptions:
    columns = dict(old.columns)
    for line in lines:
        name, own = _own(old, line.name)
        columns[name] = replace(own, date_format=line.date_format.strip() or None)
    told = {name: own for name, own in columns.items() if own != ColumnCsvOptions()}
    return replace(said, line_ending=old.line_ending, empty_is_false=old.empty_is_false, columns=told)


def _own(csv: CsvOptions, column: str) -> tuple[str, ColumnCsvOptions]:
    """The options of a column alone, under the name that they have."""
    found = ((name, own) for name, own in csv.columns.items() if fold(name) == fold(column))
    return next(found, (column, ColumnCsvOptions()))


def _length(text: str) -> int | None:
    if not (text := text.strip()):
        return None
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise InvalidRequest("A length is a number of characters.", attribute="length")
    return int(text)


# -- what is done --------------------------------------------------------------------------------------


def clone_job(pool_id: str, job_id: str, use: Use, key: Asking, note: Note, change: Edited) -> Response:
    """A NEW job like this one; its chunks are to be sent anew."""
    clone = use.retries.clone(pool_id, job_id, change, key)
    note.subject = clone.id
    return see(path_of(clone))


def retry_job(pool_id: str, job_id: str, use: Use, key: Asking, note: Note, change: Edited) -> Response:
    """A new job with the chunks of this one."""
    job = use.retries.retry(pool_id, job_id, change, key)
    note.subject = job.id
    return see(path_of(job))
