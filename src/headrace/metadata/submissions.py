"""How many jobs were executed in this second and in this hour: one row for all servers of an installation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, ColumnElement, Engine, case, or_, select, update

from headrace.metadata.schema import submissions
from headrace.model import SubmissionLimits

_MINUTE, _HOUR = 60, 3600


class Submissions:
    """Windows are those of the clock: a full second, a full UTC hour."""

    def __init__(self, reads: Engine, writes: Engine) -> None:
        self._reads = reads
        self._writes = writes

    def take(self, limits: SubmissionLimits, at: datetime) -> timedelta | None:
        """Count one submission; or, with nothing counted, the time until the next may be tried.

        One compare-and-swap: however many servers ask at once, no window gets more than its limit.
        """
        second = int(at.timestamp())
        hour = second // _HOUR
        new_second = _is_over(submissions.c.second, second, ahead=_MINUTE)
        new_hour = _is_over(submissions.c.hour, hour, ahead=1)
        change = (
            update(submissions)
            .where(or_(new_second, submissions.c.in_second < limits.per_second))
            .where(or_(new_hour, submissions.c.in_hour < limits.per_hour))
            .values(
                second=case((new_second, second), else_=submissions.c.second),
                in_second=case((new_second, 1), else_=submissions.c.in_second + 1),
                hour=case((new_hour, hour), else_=submissions.c.hour),
                in_hour=case((new_hour, 1), else_=submissions.c.in_hour + 1),
            )
        )
        with self._writes.begin() as db:
            if db.execute(change).rowcount == 1:
                return None
        return self._until_next(limits, at)

    def _until_next(self, limits: SubmissionLimits, at: datetime) -> timedelta:
        with self._reads.connect() as db:
            in_hour = db.execute(select(submissions.c.in_hour)).scalar_one()
        if in_hour < limits.per_hour:
            return timedelta(seconds=1)
        this_hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return this_hour + timedelta(hours=1) - at


def _is_over(window: Column[int], now: int, *, ahead: int) -> ColumnElement[bool]:
    """The counted window is over. A server whose clock is a little behind counts in the newer window; a
    clock that was further ``ahead`` was wrong, and must not close the windows for years."""
    return or_(window < now, window > now + ahead)
