"""Handlers of the audit: a page of it, or all of it as a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from headrace.metadata.audit import Audit, AuditFilter
from headrace.model import AuditEntry
from headrace.web.context import Moment, Use

_PAGE = 1000


class AuditFormat(StrEnum):
    JSON = "json"  # one page
    CSV = "csv"
    NDJSON = "ndjson"


def wanted(
    key: Annotated[str | None, Query(description="the id of the key or client that acted")] = None,
    action: str | None = None,
    pool: str | None = None,
    job: str | None = None,
    subject: str | None = None,
    peer: str | None = None,
    status: Annotated[int | None, Query(ge=100, le=599)] = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> AuditFilter:
    return AuditFilter(key, action, pool, job, subject, peer, status, since, until)


Wanted = Annotated[AuditFilter, Depends(wanted)]


def read_audit(
    use: Use,
    filter: Wanted,
    limit: int = Query(100, ge=1, le=1000),
    before: int | None = Query(None, ge=1, le=2**63 - 1),
    format: AuditFormat = AuditFormat.JSON,
) -> Response:
    """Who did what, the youngest first. CSV and NDJSON are all of it, streamed, whatever the limit."""
    if format is AuditFormat.JSON:
        return JSONResponse([_entry(e) for e in use.audit.page(filter, before=before, limit=limit)])
    entries = _all(use.audit, filter, before)
    if format is AuditFormat.CSV:
        return StreamingResponse(_as_csv(entries), media_type="text/csv; charset=utf-8")
    lines = (json.dumps(_entry(entry)) + "\n" for entry in entries)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def _all(audit: Audit, filter: AuditFilter, before: int | None) -> Iterator[AuditEntry]:
    while page := audit.page(filter, before=before, limit=_PAGE):
        yield from page
        before = page[-1].number


def _as_csv(entries: Iterator[AuditEntry]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS)
    writer.writeheader()
    for entry in entries:
        writer.writerow({name: _harmless(value) for name, value in _entry(entry).items()})
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()  # of an empty book: the header alone


def _harmless(value: Any) -> Any:
    """Names are other people's words: no spreadsheet shall take one for a formula."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value


_FIELDS = (
    *("number", "at", "key", "name", "from", "action", "pool", "job", "subject"),
    *("status", "code", "request", "times"),
)


def _entry(entry: AuditEntry) -> dict[str, Any]:
    values = (
        *(entry.number, entry.at.isoformat(), entry.actor_id, entry.actor_name, entry.peer, entry.action),
        *(entry.pool_id, entry.job_id, entry.subject, entry.status, entry.code, entry.request_id),
        entry.times,
    )
    return dict(zip(_FIELDS, values, strict=True))
