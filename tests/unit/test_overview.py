"""The server's figures, as far as a key may know them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.console.charts import HEIGHT, day_chart, timeline
from headrace.metadata import Metadata
from headrace.metadata.jobs import JobFilter
from headrace.model import Job, JobStatus, Key, KeyKind, Permission, PushSpec, now
from headrace.overview import Hour, Overview

KEY = Key("k", "k", KeyKind.APPLICATION, "", frozenset({Permission.READ}), None, now())
NEW, QUEUED, DONE, ERROR = JobStatus.NEW, JobStatus.QUEUED, JobStatus.DONE, JobStatus.ERROR


@pytest.fixture
def metadata(database: Path | str) -> Iterator[Metadata]:
    opened = Metadata(database)
    yield opened
    opened.close()


@pytest.fixture
def overview(metadata: Metadata, tmp_path: Path) -> Overview:
    return Overview(metadata, tmp_path, 10)


def add(
    metadata: Metadata, pool: str, table: str, status: JobStatus, hours: float = 0, **more: object
) -> Job:
    at = now() - timedelta(hours=hours)
    job = Job(str(uuid4()), pool, PushSpec(table), status, at, at)
    return metadata.jobs.add(replace(job, **more))  # type: ignore[arg-type]


def test_the_last_day_by_the_hour(metadata: Metadata, overview: Overview) -> None:
    add(metadata, "a", "t", DONE)
    add(metadata, "a", "t", ERROR)
    add(metadata, "b", "t", DONE, hours=5)
    add(metadata, "b", "t", DONE, hours=25)
    day = overview.day(KEY)
    assert len(day) == 24
    assert [hour.begins for hour in day] == sorted(hour.begins for hour in day)
    assert day[-1].jobs == {DONE: 1, ERROR: 1}
    assert day[-6].jobs == {DONE: 1}
    assert sum(hour.total for hour in day) == 3


def test_a_key_counts_what_it_sees(metadata: Metadata, overview: Overview) -> None:
    add(metadata, "a", "sales_1", DONE)
    add(metadata, "a", "other", DONE)
    add(metadata, "a", "sales_2", DONE, **{"spec": PushSpec("sales_2", mirror_names=("other",))})
    add(metadata, "b", "sales_1", QUEUED)
    of_pool = replace(KEY, pool_ids=frozenset({"a"}))
    of_table = replace(KEY, tables=frozenset({"sales_*"}))
    assert sum(hour.total for hour in overview.day(KEY)) == 4
    assert sum(hour.total for hour in overview.day(of_pool)) == 3
    assert sum(hour.total for hour in overview.day(of_table)) == 2
    assert sum(hour.total for hour in overview.day(replace(of_pool, tables=of_table.tables))) == 1
    assert overview.waiting(of_table) == {QUEUED: 1}
    assert overview.waiting(of_pool) == {}


def test_what_waits(metadata: Metadata, overview: Overview) -> None:
    add(metadata, "a", "t", NEW, hours=100)
    add(metadata, "a", "t", NEW, **{"deleted_at": now()})
    add(metadata, "a", "t", QUEUED)
    add(metadata, "a", "t", DONE)
    assert overview.waiting(KEY) == {NEW: 1, QUEUED: 1}


def test_the_disk(overview: Overview) -> None:
    disk = overview.disk()
    assert 0 < disk.free <= disk.total
    assert disk.least == 10


def test_jobs_are_found(metadata: Metadata) -> None:
    one = add(metadata, "a", "Sales_%1", DONE, created_by="me")
    two = add(metadata, "a", "other", ERROR, hours=3)
    add(metadata, "b", "Sales_%1", DONE)

    def found(**wanted: object) -> list[str]:
        jobs = metadata.jobs.ledger("a", limit=9, offset=0, wanted=JobFilter(**wanted))  # type: ignore[arg-type]
        return [job.id for job in jobs]

    assert found() == [one.id, two.id]
    assert found(status=ERROR) == [two.id]
    assert found(table="s_%") == [one.id]
    assert found(table="S%1") == []
    assert found(created_by="me") == [one.id]
    assert found(since=now() - timedelta(hours=1)) == [one.id]
    assert found(until=now() - timedelta(hours=1)) == [two.id]
    assert found(status=DONE, table="other") == []


# -- drawn -------------------------------------------------------------------------------------------


def test_bars() -> None:
    at = now().replace(minute=0)
    bars = day_chart([Hour(at), Hour(at, {DONE: 1000}), Hour(at, {DONE: 1, ERROR: 1})])
    assert [(bar.good, bar.failed) for bar in bars] == [(0, 0), (1000, 0), (1, 1)]
    assert bars[0].good_height == 0
    assert bars[1].good_height == HEIGHT - 2
    assert bars[2].good_height == bars[2].failed_height == 2
    assert all(bar.failed_y >= 0 for bar in bars)


def test_the_phases_of_a_job() -> None:
    at = now()
    job = Job("j", "p", PushSpec("t"), DONE, at, at)
    assert timeline(job) == []
    seconds = [timedelta(seconds=s) for s in (1, 2, 4)]
    ended = replace(job, queued_at=at + seconds[0], started_at=at + seconds[1], finished_at=at + seconds[2])
    phases = [(p.name, p.ms, p.begins, p.width) for p in timeline(ended)]
    assert phases == [("receiving", 1000, 0, 25), ("waiting", 1000, 25, 25), ("loading", 2000, 50, 50)]
