"""What is old enough goes, and nothing that is still needed; with real metadata and real files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import insert

from headrace.metadata import Metadata
from headrace.metadata.schema import chunks
from headrace.model import (
    AuditEntry,
    Chunk,
    ChunkType,
    FileType,
    Job,
    JobStatus,
    PushSpec,
    Upload,
    now,
)
from headrace.rejectfiles import RejectFolders
from headrace.retention import Keeping, Kind, Retention
from headrace.tables import TableEngine

DAY = timedelta(days=1)
NEW, QUEUED, DONE, ERROR = JobStatus.NEW, JobStatus.QUEUED, JobStatus.DONE, JobStatus.ERROR


@dataclass
class Versions:
    """A table engine as far as it is asked: what versions name, and which receipts there are."""

    named: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)

    def named_jobs(self, pool_id: str) -> Collection[str]:
        assert pool_id == "p"
        return self.named

    def forget_jobs(self, _pool_id: str, job_ids: Collection[str]) -> int:
        gone = self.receipts & set(job_ids)
        self.receipts -= gone
        return len(gone)


class House:
    def __init__(self, folder: Path, database: Path | str) -> None:
        self.metadata = Metadata(database)
        self.rejects = RejectFolders(folder / "pools")
        self.versions = Versions()
        self.entries: list[AuditEntry] = []

    def retention(
        self, jobs: float | None = 10, rejects: float | None = 5, new_jobs: float | None = 3
    ) -> Retention:
        keeping = Keeping(*(None if days is None else days * DAY for days in (jobs, rejects, new_jobs)))
        tables = cast(TableEngine, self.versions)
        return Retention(self.metadata, tables, self.rejects, keeping, self.entries.append)

    def job(self, id: str, status: JobStatus, days: float, **more: Any) -> str:
        """A job whose last change is so many days ago."""
        at = now() - days * DAY
        ended = {"finished_at": at} if status.final else {}
        self.metadata.jobs.add(Job(id, "p", PushSpec("t"), status, at, at, **{**ended, **more}))
        self.versions.receipts.add(id)
        return id

    def chunk(self, job_id: str, rejects: str = "") -> None:
        """As if it had come while the job was NEW."""
        chunk = Chunk(f"of-{job_id}", job_id, "p", 1, ChunkType.UPSERT, 10, "sha", FileType.CSV, now())
        with self.metadata.engine.execution_options(write=True).begin() as db:
            db.execute(insert(chunks), vars(chunk))
        if rejects:
            path = self.rejects.path(chunk)
            path.parent.mkdir(parents=True)
            path.write_text(rejects)

    @property
    def jobs(self) -> set[str]:
        return {job.id for job in self.metadata.jobs.ledger("p", limit=10_000, offset=0)}

    @property
    def with_rejects(self) -> set[str]:
        return {job for _, job in self.rejects.jobs()}


@pytest.fixture
def house(tmp_path: Path, database: Path | str) -> Iterator[House]:
    house = House(tmp_path, database)
    yield house
    house.metadata.close()


def told(retention: Retention) -> dict[str, int]:
    """What would go, and goes, but for what is nothing."""
    foreseen = {kind: count for kind, count in retention.foreseen().items() if count}
    gone = {kind: count for kind, count in retention.sweep().items() if count}
    assert {kind: count for kind, count in gone.items() if kind is not Kind.RECEIPTS} == foreseen
    return gone


@pytest.mark.parametrize("status", [DONE, ERROR])
def test_a_job_that_ended_long_ago_goes_with_all_that_it_had(house: House, status: JobStatus) -> None:
    house.chunk(house.job("old", status, 11), rejects="{}")
    house.chunk(house.job("young", status, 1), rejects="{}")
    assert told(house.retention()) == {"jobs": 1, "rejects": 1, "receipts": 1}
    assert (house.jobs, house.with_rejects, house.versions.receipts) == ({"young"}, {"young"}, {"young"})
    assert not house.metadata.chunks.list("old")
    assert told(house.retention()) == {}


@pytest.mark.parametrize(
    "held",
    [
        {"chunks_until": now() + DAY},
        {"undo_began_at": now()},
    ],
    ids=["it may be run again", "it is being undone"],
)
def test_a_job_that_is_needed_stays_with_its_rejects(house: House, held: dict[str, datetime]) -> None:
    status = ERROR if "chunks_until" in held else DONE
    house.chunk(house.job("held", status, 1000, **held), rejects="{}")
    assert told(house.retention()) == {}
    assert (house.jobs, house.with_rejects, house.versions.receipts) == ({"held"}, {"held"}, {"held"})


def test_a_job_that_a_version_names_stays_until_none_does(house: House) -> None:
    house.job("named", DONE, 1000)
    house.versions.named.add("named")
    assert told(house.retention()) == {}
    house.versions.named.clear()
    assert told(house.retention()) == {"jobs": 1, "receipts": 1}


def test_an_undone_job_and_one_that_was_retried_go(house: House) -> None:
    house.job("undone", DONE, 11, undo_began_at=now() - 11 * DAY, undone_at=now() - 11 * DAY)
    house.job("retried", ERROR, 11, retried_by="x")
    house.job("over", ERROR, 11, chunks_until=now() - DAY)
    assert told(house.retention()) == {"jobs": 3, "receipts": 3}


@pytest.mark.parametrize("status", [QUEUED, JobStatus.RUNNING])
def test_a_job_that_has_not_ended_stays(house: House, status: JobStatus) -> None:
    house.job("waits", status, 1000)
    assert told(house.retention()) == {}
    assert house.jobs == {"waits"}


def test_a_new_job_goes_only_if_nobody_has_pushed_anything_to_it(house: House) -> None:
    house.job("empty", NEW, 4)
    house.job("younger", NEW, 2)
    house.chunk(house.job("pushed", NEW, 1000))
    part = Upload("u", house.job("half-pushed", NEW, 1000), "p", "key", 10, ChunkType.UPSERT, now())
    house.metadata.uploads.add(part, most=9)
    assert told(house.retention()) == {"new-jobs": 1}
    assert house.jobs == {"younger", "pushed", "half-pushed"}


def test_a_job_that_was_deleted_before_it_ran_goes_as_one_that_ended(house: House) -> None:
    house.chunk(house.job("old", NEW, 11, deleted_at=now() - 11 * DAY))
    house.job("young", NEW, 20, deleted_at=now() - 9 * DAY)
    assert told(house.retention()) == {"jobs": 1, "receipts": 1}
    assert house.jobs == {"young"}


def test_rejects_go_before_their_job(house: House) -> None:
    house.chunk(house.job("old", DONE, 6), rejects="{}")
    house.chunk(house.job("young", DONE, 4), rejects="{}")
    house.chunk(house.job("waits", QUEUED, 1000), rejects="{}")
    assert told(house.retention()) == {"rejects": 1}
    assert (house.with_rejects, len(house.jobs)) == ({"young", "waits"}, 3)


def test_what_is_kept_for_ever_stays(house: House) -> None:
    house.chunk(house.job("old", DONE, 10_000), rejects="{}")
    house.job("empty", NEW, 10_000)
    assert told(house.retention(None, None, None)) == {}
    assert (len(house.jobs), house.with_rejects) == (2, {"old"})


def test_more_than_go_at_once(house: House) -> None:
    for n in range(450):
        house.job(f"old-{n}", DONE, 11 + n % 3)
    house.versions.named = {f"old-{n}" for n in range(0, 450, 9)}
    assert told(house.retention()) == {"jobs": 400, "receipts": 400}
    assert house.jobs == house.versions.named


def test_a_sweep_that_is_ended_is_gone_on_with(house: House) -> None:
    for n in range(450):
        house.job(f"old-{n}", DONE, 11)
    steps = iter([True, False])
    assert house.retention().sweep(lambda: next(steps))[Kind.JOBS] == 200
    assert len(house.jobs) == 250
    assert told(house.retention()) == {"jobs": 250, "receipts": 250}


def test_a_job_whose_undoing_began_meanwhile_stays(house: House) -> None:
    """Between the look and the deletion."""
    house.job("old", DONE, 11)
    [found] = house.metadata.forgetting.ended(now() - DAY, now())
    job = house.metadata.jobs.get("p", "old")
    assert job
    house.metadata.undoings.begin(job, None, now())
    assert house.metadata.forgetting.forget([found.id], now()) == 0
    assert house.jobs == {"old"}


def test_the_audit_hears_of_what_went_and_not_of_nothing(house: House) -> None:
    house.retention().sweep()
    assert not house.entries
    house.job("old", DONE, 11)
    house.job("empty", NEW, 4)
    house.retention().sweep()
    [entry] = house.entries
    assert (entry.actor_name, entry.action) == ("server", "retention")
    assert entry.subject == "1 jobs, 1 new-jobs, 1 receipts"


def test_old_entries_of_the_audit_go_too(house: House) -> None:
    old = AuditEntry(now() - 2 * DAY, None, "x", "", "push", 200, "")
    house.metadata.audit.add([old] * 1001, DAY)
    assert told(house.retention()) == {"audit": 1001}
