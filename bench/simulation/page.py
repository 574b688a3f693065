"""Writes what the simulation found: ``docs/simulation.md`` and three plots beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, StrictUndefined

from bench.simulation.costs import Costs, Limits, Prices, told
from bench.simulation.installation import MINUTE, Seen, Size
from bench.simulation.workload import DAY, HOUR, Workload

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "headrace"
from matplotlib import pyplot as plt  # noqa: E402  after the kind of output is chosen

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = DOCS / "images"
TEMPLATE = Path(__file__).parent / "page.md.j2"


@dataclass(frozen=True)
class Run:
    """One simulation, seen in its busiest time."""

    work: Workload
    size: Size
    seen: Seen
    full: dict[str, float]
    """The share of each part's cores that was busy, on the average of the busiest hour."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    costs: Costs
    measured: dict[str, Any]
    """``measured.json``: when and on which machine."""
    limits: Limits
    prices: Prices
    patience: float
    seed: int
    growing: Sequence[Run]
    """The same installation under more and more jobs a day."""
    tried: Sequence[Run]
    """Installations of more and more workers, the last of which is enough."""
    pruned: Run
    """What is enough, if a delta's keys are looked up in a tenth of its table."""
    day: Run
    """A whole day on the installation that is enough."""


def write(found: Findings) -> None:
    _plot_growing(found)
    _plot_workers(found)
    _plot_day(found)
    (DOCS / "simulation.md").write_text(text(found))


def text(found: Findings) -> str:
    """The page; ``page.md.j2`` says it."""
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        TEMPLATE.read_text()
    )
    return template.render(
        vars(found),
        work=found.day.work,
        costs=told(found.costs),
        ends=sorted(ends(found).items(), key=lambda end: end[1]),
        bill=bill(found),
        most=most,
    )


def ends(found: Findings) -> dict[str, float]:
    """Jobs a day at which each part would be full, cores on the average of the busiest hour."""
    run = found.day
    [noon] = [other for other in found.growing if other.work.jobs == run.work.jobs]
    cores = {f"cores of {name}": run.work.jobs / share for name, share in noon.full.items()}
    puts, gets = found.limits.put / most(run.seen.puts), found.limits.get / most(run.seen.gets)
    return {
        **cores,
        "PUTs to a prefix of S3": run.work.jobs * puts,
        "GETs from a prefix of S3": run.work.jobs * gets,
    }


def bill(found: Findings) -> dict[str, float]:
    """Dollars for a million rows."""
    size, seen, prices = found.day.size, found.day.seen, found.prices
    dollars = {
        "servers and workers": (size.server_cores + size.worker_cores) * 24 * prices.core_hour,
        "PostgreSQL": size.database_cores * 24 * prices.database_core_hour,
        "requests to S3": sum(seen.puts.values()) * prices.put + sum(seen.gets.values()) * prices.get,
    }
    return {name: each / (seen.rows / 1e6) for name, each in dollars.items()}


def most(by_minute: dict[int, int]) -> float:
    """A second, in the busiest minute."""
    return max(by_minute.values()) / MINUTE


# -- plots -----------------------------------------------------------------------------------------------


def _plot_growing(found: Findings) -> None:
    jobs = [run.work.jobs / 1e6 for run in found.growing]

    def draw(axes: Any) -> None:
        for name in found.growing[0].full:
            axes.plot(jobs, [100 * run.full[name] for run in found.growing], marker="o", label=name)
        axes.set(xlabel="million jobs a day", ylabel="busy cores, %", ylim=(0, 105))
        other = axes.twinx()
        late = [run.seen.quantile(0.99) for run in found.growing]
        other.semilogy(jobs, late, "k--", label="99 of 100 are DONE after")
        other.set(ylabel="seconds")
        axes.legend(loc="upper left")
        other.legend(loc="lower right")

    _plot("growing", draw)


def _plot_workers(found: Findings) -> None:
    cores = [run.size.worker_cores for run in found.tried]

    def draw(axes: Any) -> None:
        for share, name in ((0.5, "median"), (0.99, "99 of 100"), (0.999, "999 of 1,000")):
            axes.semilogy(cores, [run.seen.quantile(share) for run in found.tried], marker="o", label=name)
        axes.axhline(found.patience, color="grey", linestyle=":")
        axes.set(xlabel="cores of workers", ylabel="execute to DONE, seconds")
        axes.legend()

    _plot("workers", draw)


def _plot_day(found: Findings) -> None:
    seen = found.day.seen
    minutes = range(int(DAY // MINUTE))

    def draw(axes: Any) -> None:
        hours = [minute * MINUTE / HOUR for minute in minutes]
        axes.plot(hours, [seen.queued.get(minute, 0) for minute in minutes], linewidth=0.8)
        axes.set(xlabel="hour of the day", ylabel="jobs between execute and DONE", xlim=(0, 24))

    _plot("day", draw)


def _plot(name: str, draw: Callable[[Any], None]) -> None:
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    draw(axes)
    figure.savefig(IMAGES / f"simulation-{name}.svg", metadata={"Date": None})
    plt.close(figure)
