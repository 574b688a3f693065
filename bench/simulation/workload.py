"""Who pushes what and when: pools of very different size, a day with its noon, and everybody's full hour.

Nobody has measured an installation of this size, so its shape is a guess that is written down: a few pools
make most of the jobs (Zipf), a few tables are huge (log-normal), a part of the jobs is started by a timer at
the full hour, and the rest follows the sun.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

DAY = 86_400.0
HOUR = 3_600.0


class Kind(StrEnum):
    DELTA = "delta"
    """By key: its keys are looked up in the table."""
    APPEND = "append"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A push: when, where, how much. ``rows`` in ``chunks`` equal chunks; ``base`` rows are in its table."""

    at: float
    pool: int
    table: int
    kind: Kind
    rows: float
    chunks: int
    base: float


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The figures of an installation's day."""

    pools: int = 10_000
    tables: int = 100_000
    jobs: int = 1_000_000
    """In a day."""
    bytes: float = 100e12
    """Of all tables."""
    rows: float = 2_000
    """Of the median push."""
    spread: float = 1.8
    """Of pushes, the deviation of the logarithm: the mean push has five times the rows of the median."""
    spread_tables: float = 2.0
    zipf: float = 1.0
    timed: float = 0.3
    """The share of jobs that a timer starts, most at the full hour."""
    deltas: float = 0.7
    replaces: float = 0.1
    scanned: float = 1.0
    """The share of a table that a delta's keys are looked up in: below 1, if keys grow with time."""
    chunk_rows: float = 500_000

    @property
    def rows_a_day(self) -> float:
        return self.jobs * self.rows * math.exp(self.spread**2 / 2)


def tables_of(work: Workload, row_bytes: float, rng: np.random.Generator) -> np.ndarray:
    """The rows of each table; together they have the bytes that are asked for."""
    sizes = rng.lognormal(0.0, work.spread_tables, work.tables)
    rows: np.ndarray = sizes * (work.bytes / row_bytes / sizes.sum())
    return rows


def arrivals(work: Workload, row_bytes: float, seed: int, start: float, end: float) -> Iterator[Arrival]:
    """The pushes from second to second of a day, in order."""
    rng = np.random.default_rng(seed)
    sizes = tables_of(work, row_bytes, rng)
    shares = 1.0 / np.arange(1, work.pools + 1) ** work.zipf
    times = np.sort(_times(work, rng, start, end))
    number = len(times)
    pools = rng.choice(work.pools, number, p=shares / shares.sum())
    own = work.tables // work.pools
    tables = pools * own + rng.integers(0, own, number)
    kinds = rng.choice(
        np.array([Kind.DELTA, Kind.REPLACE, Kind.APPEND]),
        number,
        p=[work.deltas, work.replaces, 1 - work.deltas - work.replaces],
    )
    rows = np.maximum(1.0, rng.lognormal(math.log(work.rows), work.spread, number))
    chunks = np.maximum(1, np.ceil(rows / work.chunk_rows)).astype(int)
    for n in range(number):
        yield Arrival(
            float(times[n]),
            int(pools[n]),
            int(tables[n]),
            Kind(kinds[n]),
            float(rows[n]),
            int(chunks[n]),
            float(sizes[tables[n]]) * work.scanned,
        )


def _times(work: Workload, rng: np.random.Generator, start: float, end: float) -> np.ndarray:
    """Of the jobs that follow the sun, and of those that a timer starts within a minute of the full hour."""
    free = rng.uniform(0, DAY, rng.poisson(2 * work.jobs * (1 - work.timed)))
    free = free[rng.uniform(0, 2, len(free)) < sun(free)]
    hours = rng.integers(0, 24, rng.poisson(work.jobs * work.timed)) * HOUR
    times = np.concatenate([free, hours + rng.exponential(20.0, len(hours))])
    within: np.ndarray = times[(times >= start) & (times < end)]
    return within


def sun(at: np.ndarray) -> np.ndarray:
    """How busy people are, 1 on the average, least at night, 1.8 times at two in the afternoon."""
    share: np.ndarray = 1 + 0.8 * np.cos(2 * np.pi * (at - 14 * HOUR) / DAY)
    return share
