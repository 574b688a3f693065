"""Versions of a table, each beside the one before: how many rows there were, and what its job did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from headrace.metadata import Metadata
from headrace.model import Counts, Job, Key, TableRef, Version
from headrace.pools import Pools, of_table

_LONGEST_QUERY = 16_000


@dataclass(frozen=True)
class Step:
    """A version, and what it changed. ``counts``: of its job; None where that is not known."""

    version: Version
    before: int | None
    after: int | None
    counts: Counts | None


@dataclass(frozen=True)
class Histories:
    metadata: Metadata
    pools: Pools

    def of(
        self, pool_id: str, ref: TableRef, versions: Sequence[Version], by: Key, *, limit: int
    ) -> list[Step]:
        """The first of the versions, of which the newest comes first. Raises QueryTooLong, QueryRefused."""
        counted = versions[: limit + 1]
        rows = self._rows(pool_id, ref, counted, by)
        made = {v.job_id for v in counted if v.job_id and not v.undo}
        jobs = self.metadata.jobs.some(pool_id, made)
        steps = [_step(version, older, rows, jobs) for version, older in zip_longest(counted, counted[1:])]
        return steps[:limit]

    def _rows(self, pool_id: str, ref: TableRef, versions: Sequence[Version], by: Key) -> Mapping[int, int]:
        """How many there were, by version, of as many as fit into one query."""
        rows = {v.version: 0 for v in versions if v.gone}
        parts = [
            f"SELECT {v.version}, count(*) FROM {of_table(ref)} AT (VERSION => {v.version})"
            for v in versions
            if not v.gone
        ]
        parts = parts[: _LONGEST_QUERY // (100 + len(of_table(ref).encode()))]
        if parts:
            answer = self.pools.query(pool_id, by, " UNION ALL ".join(parts), len(parts), None)
            rows |= {int(str(version)): int(str(count)) for version, count in answer.rows}
        return rows


def _step(version: Version, older: Version | None, rows: Mapping[int, int], jobs: Mapping[str, Job]) -> Step:
    job = jobs.get(version.job_id or "") if not version.undo else None
    before = rows.get(older.version) if older else None
    return Step(version, before, rows.get(version.version), job.counts if job else None)
