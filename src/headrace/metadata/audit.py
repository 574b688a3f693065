"""The audit: rows are added and, when they are old enough, deleted; the database refuses all else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, Select, delete, func, insert, select

from headrace.metadata.schema import audit
from headrace.model import AuditEntry


@dataclass(frozen=True)
class AuditFilter:
    """None: whatever it is."""

    actor_id: str | None = None
    action: str | None = None
    pool_id: str | None = None
    job_id: str | None = None
    subject: str | None = None
    peer: str | None = None
    status: int | None = None
    since: datetime | None = None
    until: datetime | None = None


_PRUNED_AT_ONCE = 1000
"""So many in one transaction, for which every other writer waits."""

_SAME = ("actor_id", "action", "pool_id", "job_id", "subject", "peer", "status")


class Audit:
    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def add(self, entries: Iterable[AuditEntry], keep: timedelta) -> None:
        """All of them or none, in their order."""
        rows = [_row(entry, keep) for entry in entries]
        with self._writes.begin() as db:
            db.execute(insert(audit), rows)

    def page(self, wanted: AuditFilter, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """The youngest first; ``before`` is the number of the last one of the page before."""
        query = _matching(wanted).order_by(audit.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.number < before)
        with self._reads.connect() as db:
            return [_entry(row) for row in db.execute(query)]

    def expired(self, at: datetime) -> int:
        """How many have been kept long enough."""
        with self._reads.connect() as db:
            return db.execute(select(func.count()).where(audit.c.kept_until < at)).scalar_one()

    def prune(self, at: datetime) -> int:
        """Delete what has been kept long enough, a few at a time; answers how many."""
        some = select(audit.c.number).where(audit.c.kept_until < at).limit(_PRUNED_AT_ONCE)
        pruned = 0
        while True:
            with self._writes.begin() as db:
                found = db.execute(delete(audit).where(audit.c.number.in_(some))).rowcount
            pruned += found
            if found < _PRUNED_AT_ONCE:
                return pruned


def _matching(wanted: AuditFilter) -> Select[Any]:
    query = select(audit)
    for name in _SAME:
        if (value := getattr(wanted, name)) is not None:
            query = query.where(audit.c[name] == value)
    if wanted.since:
        query = query.where(audit.c.at >= wanted.since)
    return query.where(audit.c.at < wanted.until) if wanted.until else query


def _row(entry: AuditEntry, keep: timedelta) -> dict[str, Any]:
    row = {name: value for name, value in vars(entry).items() if name != "number"}
    return {**row, "kept_until": entry.at + keep}


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(**{name: value for name, value in row._mapping.items() if name != "kept_until"})
