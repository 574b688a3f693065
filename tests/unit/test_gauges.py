"""How things stand: looked up, kept for a moment, and only as much of it as a page should hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from headrace.errors import DatabaseUnreachable
from headrace.gauges import (
    KEEP_S,
    LOOK_S,
    NO_FIGURES,
    OLD_S,
    OTHERS,
    POOLS_SHOWN,
    Gauges,
    LakeFigures,
    Lakes,
    Process,
)
from headrace.metadata import Metadata
from headrace.model import (
    Chunk,
    ChunkType,
    Counts,
    FileType,
    Job,
    JobStatus,
    Pool,
    PushSpec,
    TableRef,
    now,
)
from headrace.observing import Ended, LeaseLost, Maintained, Observation, Undone
from headrace.overview import Overview
from headrace.tables import Stored, StoredTable


@dataclass
class Clock:
    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Tables:
    """Lakes whose size is the number of times that somebody looked, and which take their time."""

    clock: Clock
    takes: float = 0.0
    broken: set[str] = field(default_factory=set)
    looked: list[str] = field(default_factory=list)

    def stored(self, pool_id: str) -> Stored:
        self.looked.append(pool_id)
        self.clock.at += self.takes
        if pool_id in self.broken:
            raise ValueError("a broken catalog")
        table = StoredTable(TableRef("t"), 1, self.looked.count(pool_id), 0, None)
        return Stored(1, (table,))


def lakes(takes: float = 0.0) -> tuple[Lakes, Tables, Clock]:
    clock = Clock()
    tables: Any = Tables(clock, takes)
    return Lakes(tables, clock), tables, clock


def test_a_lake_is_looked_at_when_it_has_changed_or_after_a_while() -> None:
    some, tables, clock = lakes()
    for _ in range(3):
        assert some.figures(["a", "b"])["a"].bytes == 1
    some.changed("b")
    assert [f.bytes for f in some.figures(["a", "b"]).values()] == [1, 2]
    clock.at += OLD_S
    some.figures(["a", "b"])
    assert tables.looked == ["a", "b", "b", "a", "b"]


def test_one_answer_looks_for_a_while_and_the_next_one_goes_on() -> None:
    some, tables, _ = lakes(takes=LOOK_S / 2)
    assert [f.bytes for f in some.figures(["a", "b", "c"]).values()] == [1, 1, 0]
    some.changed("a")
    some.figures(["a", "b", "c"])
    assert tables.looked == ["a", "b", "a", "c"], "what has changed comes first"


def test_a_lake_that_cannot_be_looked_at_is_as_it_was() -> None:
    some, tables, _ = lakes()
    tables.broken = {"b"}
    with capture_logs() as logged:
        assert some.figures(["a", "b"])["b"] == NO_FIGURES
        tables.broken = {"a"}
        some.changed("a")
        assert [f.bytes for f in some.figures(["a", "b"]).values()] == [1, 0]
    assert [line["pool"] for line in logged] == ["b", "a"]


def test_a_pool_that_is_gone_is_forgotten() -> None:
    some, tables, _ = lakes()
    some.figures(["a"])
    some.figures([])
    some.figures(["a"])
    assert tables.looked == ["a", "a"]


def test_figures_add_up() -> None:
    some, more = LakeFigures(1, 2, 3, 4, 5), LakeFigures(1, 1, 1, 1, 1)
    assert sum([some, more], NO_FIGURES) == LakeFigures(2, 3, 4, 5, 6)


# -- all of them ---------------------------------------------------------------------------------------


@dataclass
class World:
    metadata: Metadata
    tables: Tables
    clock: Clock
    gauges: Gauges

    def value(self, name: str, *labels: str) -> float:
        [found] = [value for n, of, value in self.gauges.now() if (n, of) == (name, labels)]
        return found

    def job(self, pool: str, status: JobStatus = JobStatus.NEW, **more: Any) -> Job:
        at = now()
        job = Job(str(uuid4()), pool, SPEC, status, at, at, **more)
        return self.metadata.jobs.add(job)


SPEC = PushSpec("t")


@pytest.fixture
def world(database: Path | str, tmp_path: Path) -> Iterator[World]:
    metadata, clock = Metadata(database), Clock()
    tables: Any = Tables(clock)
    process = Process(lambda: 3, lambda: True, lambda: 5, lambda: 2)
    gauges = Gauges(metadata, Lakes(tables, clock), Overview(metadata, tmp_path, 42), process, clock)
    yield World(metadata, tables, clock, gauges)
    metadata.close()


def test_the_queue_and_what_waits_to_be_staged(world: World) -> None:
    at = now()
    world.job("p", deleted_at=at)
    job = world.job("p")
    world.job("p", JobStatus.QUEUED, queued_at=at - timedelta(minutes=2))
    world.job("q", JobStatus.QUEUED, queued_at=at - timedelta(minutes=1))
    world.job("q", JobStatus.DONE, queued_at=at - timedelta(days=1))
    chunk = Chunk("c", job.id, "p", 1, ChunkType.UPSERT, 70, "", FileType.CSV, at)
    world.metadata.chunks.add(chunk)
    states = [world.value("headrace_unfinished_jobs", s) for s in ("NEW", "QUEUED", "RUNNING")]
    assert states == [1, 2, 0]
    assert 120 <= world.value("headrace_queue_age_seconds") < 150
    assert (world.value("headrace_unstaged_chunks"), world.value("headrace_unstaged_bytes")) == (1, 70)
    assert world.value("headrace_disk_watermark_bytes") == 42
    held = [world.value(f"headrace_{name}") for name in ("held_leases", "sql_children", "sql_running")]
    assert held == [3, 5, 2]


def test_an_answer_counts_for_a_moment(world: World) -> None:
    assert world.value("headrace_unfinished_jobs", "NEW") == 0
    assert world.value("headrace_queue_age_seconds") == 0
    world.job("p")
    world.clock.at += KEEP_S - 0.1
    assert world.value("headrace_unfinished_jobs", "NEW") == 0
    world.clock.at += 0.1
    assert world.value("headrace_unfinished_jobs", "NEW") == 1


def test_the_largest_pools_have_figures_of_their_own(world: World) -> None:
    for n in range(POOLS_SHOWN + 3):
        world.metadata.pools.add(Pool(f"{n:03}", f"pool {n}", now()))
    world.gauges.now()
    for n in (1, 50, POOLS_SHOWN + 2):
        world.gauges.observe(Undone(f"{n:03}", "a job"))
    world.clock.at += KEEP_S
    shown = {labels[0] for name, labels, _ in world.gauges.now() if name == "headrace_lake_versions"}
    assert len(shown) == POOLS_SHOWN + 1
    assert {OTHERS, "001", "050", f"{POOLS_SHOWN + 2:03}"} <= shown
    assert world.value("headrace_lake_bytes", OTHERS, "current") == 3


def test_while_the_database_is_away_the_others_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnreachable

    monkeypatch.setattr(world.metadata.pools, "list", away)
    with capture_logs() as logged:
        told = {name for name, _, _ in world.gauges.now()}
    assert "headrace_disk_free_bytes" in told
    assert not {name for name in told if name.startswith(("headrace_queue", "headrace_lake"))}
    assert [line["log_level"] for line in logged] == ["warning"]


@pytest.mark.parametrize(("status", "looked"), [(JobStatus.DONE, 2), (JobStatus.ERROR, 1)])
def test_a_load_changes_its_lake(world: World, status: JobStatus, looked: int) -> None:
    world.metadata.pools.add(Pool("p", "a pool", now()))
    world.gauges.now()
    world.gauges.observe(Ended(world.job("p"), status, now(), 1, Counts(0), (), (), None))
    world.clock.at += KEEP_S
    assert world.value("headrace_lake_bytes", "p", "current") == looked
    assert world.value("headrace_pool_info", "p", "a pool") == 1


@pytest.mark.parametrize("seen", [Undone("p", "j"), Maintained("p", TableRef("t"), 1.0)])
def test_so_do_an_undo_and_upkeep(world: World, seen: Observation) -> None:
    world.metadata.pools.add(Pool("p", "a pool", now()))
    world.gauges.now()
    world.gauges.observe(seen)
    world.gauges.observe(LeaseLost(world.job("p")))
    world.clock.at += KEEP_S
    assert world.value("headrace_lake_bytes", "p", "current") == 2
