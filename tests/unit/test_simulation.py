"""The simulation beside what is known of queues, and its own accounts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from bench.simulate import run
from bench.simulation.costs import Costs
from bench.simulation.installation import Installation, Size
from bench.simulation.workload import DAY, HOUR, Arrival, Kind, Workload, arrivals, tables_of

NOTHING = Costs(
    request=0,
    create=0,
    receive=0,
    receive_gb=0,
    stage=0,
    stage_million=0,
    load=0,
    delta_million=0,
    scan_million=0,
    upkeep=0,
    statement=0,
    catalog=0,
)
SMALL = Workload(pools=200, tables=2_000, jobs=20_000, bytes=1e11)


def erlang_c(load: float, servers: int) -> float:
    """The chance that one has to wait, with random arrivals and service times (Erlang, 1917)."""
    full = load**servers / math.factorial(servers) * servers / (servers - load)
    return full / (sum(load**k / math.factorial(k) for k in range(servers)) + full)


@pytest.mark.parametrize(
    ("cores", "load", "pushes"), [(1, 0.6, 40_000), (4, 3.0, 40_000), (16, 12.0, 100_000)]
)
def test_waiting_is_as_erlang_says(cores: int, load: float, pushes: int) -> None:
    """Service times are those of loads: rows are drawn so that they are exponential, a second in the mean."""
    installation = Installation(Size(worker_cores=cores), replace(NOTHING, delta_million=1e6))
    seen = installation.run(_random_pushes(load, pushes))
    waited = np.mean(seen.waited) - 1.0
    expected = erlang_c(load, cores) / (cores - load)
    assert waited == pytest.approx(expected, rel=0.2)


def _random_pushes(rate: float, number: int) -> Iterator[Arrival]:
    rng = np.random.default_rng(11)
    times = np.cumsum(rng.exponential(1 / rate, number))
    seconds = rng.exponential(1.0, number)
    for n in range(number):
        yield Arrival(float(times[n]), n, n, Kind.DELTA, float(seconds[n]), 1, 0.0)


def test_a_table_takes_one_load_at_a_time() -> None:
    pushes = [Arrival(0.0, 1, 1, Kind.DELTA, 10.0, 1, 0.0) for _ in range(5)]
    seen = Installation(Size(worker_cores=8), replace(NOTHING, delta_million=1e6)).run(pushes)
    assert sorted(seen.waited) == pytest.approx([10, 20, 30, 40, 50])


def test_a_lake_takes_one_commit_at_a_time() -> None:
    pushes = [Arrival(0.0, 1, table, Kind.APPEND, 10.0, 1, 0.0) for table in range(5)]
    seen = Installation(Size(), replace(NOTHING, catalog=1.0)).run(pushes)
    assert sorted(seen.waited) == pytest.approx([1, 2, 3, 4, 5])


def test_what_cores_did_is_what_was_asked_of_them() -> None:
    costs = Costs.read()
    pushes = list(arrivals(SMALL, costs.row_parquet, 3, 0.0, DAY))
    installation = Installation(Size(worker_cores=3), costs)
    seen = installation.run(pushes)
    chunks = sum(push.chunks for push in pushes)
    deltas = [push for push in pushes if push.kind is Kind.DELTA]
    expected = (
        chunks * costs.stage
        + costs.stage_million * sum(push.rows for push in pushes) / 1e6
        + len(pushes) * (costs.load + costs.upkeep)
        + sum(costs.delta_million * push.rows + costs.scan_million * push.base for push in deltas) / 1e6
    )
    assert seen.pushed == len(seen.waited) == len(pushes)
    assert seen.rows == pytest.approx(sum(push.rows for push in pushes))
    assert installation.workers.seconds == pytest.approx(expected)


def test_a_day_has_the_jobs_and_the_bytes_that_are_asked_for() -> None:
    pushes = list(arrivals(SMALL, 20, 7, 0.0, DAY))
    rows = tables_of(SMALL, 20, np.random.default_rng(7)).sum()
    assert len(pushes) == pytest.approx(SMALL.jobs, rel=0.03)
    assert rows * 20 == pytest.approx(SMALL.bytes)
    assert sum(push.rows for push in pushes) == pytest.approx(SMALL.rows_a_day, rel=0.15)
    assert [push.at for push in pushes] == sorted(push.at for push in pushes)
    assert all(0 <= push.at < DAY for push in pushes)


def test_the_same_seed_gives_the_same_run() -> None:
    size = Size(server_cores=2, worker_cores=4, database_cores=2)
    first, second = (run(SMALL, size, Costs.read()) for _ in range(2))
    assert first.seen == second.seen


def test_more_workers_make_nobody_wait_longer() -> None:
    busy = replace(SMALL, jobs=200_000)
    late = [
        run(busy, Size(worker_cores=cores), Costs.read(), (14 * HOUR, 14.2 * HOUR)).seen.quantile(0.9)
        for cores in (1, 2, 4, 8)
    ]
    assert late == sorted(late, reverse=True)
    assert late[0] > 2 * late[-1]


def test_parts_of_an_upload() -> None:
    costs = Costs.read()
    assert [costs.parts(size) for size in (1, 8e6, 8e6 + 1, 80e6)] == [1, 1, 4, 12]
