"""Toward very many pools, by simulation: ``make simulate`` writes ``docs/simulation.md`` and its plots.

A discrete-event model (simpy) of an installation on PostgreSQL and S3, fed with what steps cost. Four
questions: what is full first, how many of each are needed, what a day looks like, what a million rows cost.
It is a model: the page says what it leaves out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace

from bench.simulation import page
from bench.simulation.costs import MEASURED, Costs, Limits, Prices
from bench.simulation.installation import Installation, Size
from bench.simulation.page import Findings, Run
from bench.simulation.workload import DAY, HOUR, Workload, arrivals

SEED = 1
PATIENCE = 60.0
"""Seconds from execute to DONE that 99 of 100 jobs shall keep to, in the busiest hour."""
NOON = (13.75 * HOUR, 15.25 * HOUR)
"""The busiest time, with a full hour in it: what must be enough is tried there."""
HOUR_OF_NOON = range(14 * 60, 15 * 60)
"""Its minutes that count."""
ENDLESS = 100_000
"""Cores: nothing waits."""
ROOM = 0.7
"""How full a part may be on the average of its busiest hour."""


def main() -> None:
    work = Workload(jobs=_options().jobs)
    costs = Costs.read()
    tried = sized(work, costs)
    enough = tried[-1].size
    page.write(
        Findings(
            costs=costs,
            measured=json.loads(MEASURED.read_text()),
            limits=Limits(),
            prices=Prices(),
            patience=PATIENCE,
            seed=SEED,
            growing=[run(replace(work, jobs=jobs), enough, costs) for jobs in _around(work.jobs)],
            tried=tried,
            pruned=sized(replace(work, scanned=0.1), costs)[-1],
            day=run(work, enough, costs, (0.0, DAY)),
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.simulate")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="a day")
    return parser.parse_args()


def run(work: Workload, size: Size, costs: Costs, when: tuple[float, float] = NOON) -> Run:
    """Seconds of a day with that work, on an installation of that size."""
    installation = Installation(size, costs)
    seen = installation.run(arrivals(work, costs.row_parquet, SEED, *when))
    parts = {
        "servers": installation.servers,
        "workers": installation.workers,
        "database": installation.database,
    }
    full = {name: sum(map(part.share, HOUR_OF_NOON)) / len(HOUR_OF_NOON) for name, part in parts.items()}
    return Run(work, size, seen, full)


def sized(work: Workload, costs: Costs) -> list[Run]:
    """What was tried; the last has the fewest cores of each part with which the busiest hour goes well.

    The search begins with what the work needs on the average of that hour, servers and database with room.
    Workers are added, a tenth at a time, until 99 of 100 jobs are done in time, or as soon as they can be.
    """
    endless = run(work, Size(server_cores=ENDLESS, worker_cores=ENDLESS, database_cores=ENDLESS), costs)
    busy = {name: share * ENDLESS for name, share in endless.full.items()}
    size = Size(
        server_cores=_cores(busy["servers"] / ROOM),
        worker_cores=_cores(busy["workers"]),
        database_cores=_cores(busy["database"] / ROOM),
    )
    bar = max(PATIENCE, 1.1 * endless.seen.quantile(0.99))
    tried = [run(work, size, costs)]
    while tried[-1].seen.quantile(0.99) > bar:
        size = replace(size, worker_cores=math.ceil(size.worker_cores * 1.1))
        tried.append(run(work, size, costs))
    return tried


def _cores(busy: float) -> int:
    return max(2, math.ceil(busy))


def _around(jobs: int) -> Sequence[int]:
    return [int(jobs * part) for part in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)]


if __name__ == "__main__":
    main()
