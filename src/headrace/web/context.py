"""What a handler may reach: the services, and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from pydantic import AfterValidator

from headrace.access import Access, Scrapers
from headrace.cancels import Cancels
from headrace.changes import Changes
from headrace.histories import Histories
from headrace.keys import KeyRing
from headrace.metadata.audit import Audit
from headrace.model import Key
from headrace.observing import Observe
from headrace.overview import Overview
from headrace.pools import Pools
from headrace.profiles import Profiles
from headrace.pushes import Pushes
from headrace.rehearsal import Rehearsal
from headrace.replays import Replays
from headrace.retention import Retention
from headrace.retries import Retries
from headrace.schemas import Schemas
from headrace.sessions import Sessions
from headrace.tokens import Tokens
from headrace.undoing import Undos
from headrace.uploads import Uploads
from headrace.web.noting import Write


@dataclass(frozen=True)
class Services:
    pushes: Pushes
    replays: Replays
    retries: Retries
    cancels: Cancels
    undos: Undos
    uploads: Uploads
    pools: Pools
    schemas: Schemas
    access: Access
    keys: KeyRing
    tokens: Tokens
    audit: Audit
    retention: Retention
    note: Write
    overview: Overview
    profiles: Profiles
    histories: Histories
    sessions: Sessions
    changes: Changes
    settings: Mapping[str, object]
    ready: Callable[[], bool]
    metrics: Callable[[], bytes]
    scrapers: Scrapers
    observe: Observe
    rehearsal: Rehearsal | None = None
    """Only in a server of somebody's tests."""
    confinement: tuple[str, ...] = ()
    """What of the operating system holds users' SQL in."""


def the_services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


async def services(request: Request) -> Services:
    return the_services(request)  # async: for a plain function the framework would take a thread


async def asking(request: Request) -> Key:
    """The key of the request, put there by its route's rule."""
    key = request.state.key
    assert isinstance(key, Key)
    return key


IdempotencyKey = Annotated[
    str | None,
    Header(
        description="ours: the same request sent again under it has no second effect",
        min_length=1,
        max_length=255,
    ),
]

Offset = Annotated[int, Query(ge=0, le=2**31 - 1)]
"""How many are passed over; neither the database nor Python counts on without end."""


def _in_utc(at: datetime) -> datetime:
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC this is before the year 1 or after 9999") from error


Moment = Annotated[datetime, AfterValidator(_in_utc)]
"""A time in UTC; sent without a zone it is taken as UTC."""

Use = Annotated[Services, Depends(services)]
Asking = Annotated[Key, Depends(asking)]
