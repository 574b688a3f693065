"""Import: a file is looked at, corrected, tried and loaded. It goes up once, as a chunk of a NEW job."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Form, Response
from fastapi.responses import JSONResponse

from headrace.console.fixes import Fix, fixes_of
from headrace.console.job import path_of
from headrace.errors import HeadraceError, InvalidRequest
from headrace.guessing import CHARSETS, SEPARATORS, Looks, look_at
from headrace.model import (
    DECLARED_KINDS,
    ColumnCsvOptions,
    ColumnKind,
    CsvOptions,
    DeclaredColumn,
    FileType,
    Job,
    JobType,
    Pool,
    PushSpec,
    Table,
)
from headrace.rejected import Reason
from headrace.schemas import Planned
from headrace.telling import ColumnChange, Outlook, column_changes
from headrace.web.context import Asking, Use
from headrace.web.jobs import TRYING
from headrace.web.noting import Note


@dataclass(frozen=True)
class ImportPage:
    pool: Pool
    tables: Sequence[Table]


@dataclass(frozen=True)
class ColumnLook:
    """A column of the sample, with what is guessed of its spelling."""

    name: str
    date_format: str = ""
    decimal: str = ""
    thousands: str = ""


@dataclass(frozen=True)
class LookPage:
    looks: Looks
    columns: Sequence[ColumnLook]
    charsets: Sequence[str] = CHARSETS
    separators: Sequence[str] = SEPARATORS


@dataclass(frozen=True)
class OutlookPage:
    job: Job
    path: str
    outlook: Outlook | None
    changes: Sequence[tuple[str, str, Sequence[ColumnChange]]]
    planned: Sequence[Planned]
    reasons: Sequence[Reason]
    kinds: Sequence[ColumnKind] = DECLARED_KINDS
    problem: str = ""

    @staticmethod
    def fixes(reason: Reason) -> Sequence[Fix]:
        """Of these only what the form of the import can say; types are corrected below."""
        return [
            fix for fix in fixes_of(reason.hint, reason.count.column) if fix.kind is None and not fix.length
        ]


def import_page(pool_id: str, use: Use, key: Asking) -> ImportPage:
    return ImportPage(use.pools.get(pool_id), use.pools.all_tables(pool_id, key))


def look(
    sample: Annotated[str, Form()] = "",
    charset: Annotated[str | None, Form()] = None,
    separator: Annotated[str | None, Form(max_length=1)] = None,
) -> LookPage:
    """How the first bytes of a file look; nothing is kept. As Base64: bytes may look like JSON."""
    if charset and charset not in CHARSETS:
        raise InvalidRequest(f"The charset is one of {', '.join(CHARSETS)}.")
    try:
        data = b64decode(sample, validate=True)
    except ValueError as error:
        raise InvalidRequest("The sample is Base64.") from error
    looks = look_at(data, charset or None, separator or None)
    return LookPage(looks, [_column(name, looks.hints.get(name)) for name in looks.header])


def _column(name: str, hint: str | None) -> ColumnLook:
    options = next(iter(fixes_of(hint, name)), Fix("")).options
    return ColumnLook(
        name, options.date_format or "", options.decimal_separator or "", options.thousands_separator or ""
    )


def create_job(
    pool_id: str,
    use: Use,
    key: Asking,
    note: Note,
    table: Annotated[str, Form()] = "",
    type: Annotated[JobType, Form()] = JobType.REPLACE,
    kind: Annotated[FileType | None, Form()] = None,
    charset: Annotated[str, Form()] = "",
    separator: Annotated[str, Form()] = "",
    column: Annotated[list[str] | None, Form()] = None,
    date_format: Annotated[list[str] | None, Form()] = None,
    decimal: Annotated[list[str] | None, Form()] = None,
    thousands: Annotated[list[str] | None, Form()] = None,
    keys: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """A NEW job for the file; the script of the page sends it, and shows what it would do."""
    spelled = zip(column or (), date_format or (), decimal or (), thousands or (), strict=True)
    columns = {
        name: ColumnCsvOptions(day or None, point or None, group or None)
        for name, day, point, group in spelled
        if day or point or group
    }
    is_csv = kind is FileType.CSV
    spec = PushSpec(
        table.strip(),
        type,
        kind,
        tuple(name for name in keys or () if name.strip()),
        csv=CsvOptions(separator=separator or None, charset=charset or None, columns=columns)
        if is_csv
        else None,
        infer_types=is_csv,
    )
    try:
        job = use.pushes.create(pool_id, spec, key)
    except HeadraceError as error:
        return JSONResponse({"problem": error.message}, status_code=error.status)
    note.job_id = job.id
    return JSONResponse({"path": path_of(job)}, status_code=201)


async def outlook(pool_id: str, job_id: str, use: Use) -> OutlookPage:
    """What executing the job would do; it stays NEW."""
    return await to_thread.run_sync(partial(_outlook, pool_id, job_id, use), limiter=TRYING)


def _outlook(pool_id: str, job_id: str, use: Use) -> OutlookPage:
    job = use.pushes.get(pool_id, job_id)
    try:
        foreseen = use.pushes.preview(pool_id, job_id, None)
    except HeadraceError as error:
        return OutlookPage(job, path_of(job), None, (), (), (), problem=error.message)
    chunks = use.pushes.chunk_list(pool_id, job_id)
    changes = [(d.ref.name, str(d.change), column_changes(d, foreseen.columns)) for d in foreseen.tables]
    planned, reasons = use.schemas.of(job, chunks) or (), use.pushes.reasons_of(pool_id, job_id)
    return OutlookPage(job, path_of(job), foreseen, changes, planned, reasons)


def put_schema(
    pool_id: str,
    job_id: str,
    use: Use,
    column: Annotated[list[str] | None, Form()] = None,
    kind: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Types that a person has corrected; those left as they are stay guessed."""
    said = zip(column or (), kind or (), strict=True)
    columns = [DeclaredColumn(name, ColumnKind(word)) for name, word in said if word in DECLARED_KINDS]
    use.schemas.correct(pool_id, job_id, columns)
    return Response(status_code=204)
