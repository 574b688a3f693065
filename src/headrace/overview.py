"""How the server does, as far as a key may know: its disk, its queue, the jobs of the last day."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from headrace.metadata import Metadata
from headrace.model import JobStatus, Key, now
from headrace.permissions import sees_table

HOURS = 24


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk that the data lie on; below ``least`` free ones no chunk is taken."""

    free: int
    total: int
    least: int


@dataclass(frozen=True)
class Hour:
    """Jobs that were created in one hour, by their state now."""

    begins: datetime
    jobs: Mapping[JobStatus, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.jobs.values())


@dataclass(frozen=True)
class Overview:
    metadata: Metadata
    folder: Path
    least_free: int

    def disk(self) -> Disk:
        usage = shutil.disk_usage(self.folder)
        return Disk(usage.free, usage.total, self.least_free)

    def waiting(self, by: Key) -> Mapping[JobStatus, int]:
        """Jobs of the pools of the key that have not ended, by their state."""
        return self._counted(by, None)[0]

    def day(self, by: Key) -> Sequence[Hour]:
        """The last 24 hours, this one included, the oldest first."""
        this = now().replace(minute=0, second=0, microsecond=0)
        begins = [this - timedelta(hours=back) for back in reversed(range(HOURS))]
        by_hour = self._counted(by, begins[0])[1]
        return [Hour(hour, by_hour.get(hour, {})) for hour in begins]

    def _counted(
        self, by: Key, since: datetime | None
    ) -> tuple[Mapping[JobStatus, int], Mapping[datetime, Mapping[JobStatus, int]]]:
        """In all, and by the hour; with ``since`` what was created from then on, else what has not ended."""
        total: Counter[JobStatus] = Counter()
        hours: dict[datetime, Counter[JobStatus]] = {}
        for seen in self.metadata.jobs.counted(by.pool_ids, since, by_tables=by.tables is not None):
            if sees_table(by, *seen.tables):
                total[seen.status] += seen.jobs
                hours.setdefault(seen.hour, Counter())[seen.status] += seen.jobs
        return total, hours
