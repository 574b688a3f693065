"""What the metadata say of jobs that are taken back, called off, or run again: all of it once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Cancelled, NotUndoable, Overloaded
from headrace.metadata import Metadata
from headrace.model import (
    Chunk,
    ChunkType,
    Counts,
    CsvOptions,
    DeclaredColumn,
    FileType,
    Job,
    JobStatus,
    PushSpec,
)
from headrace.retries import changed
from headrace.web import wire

AT = datetime(2024, 2, 29, 12, tzinfo=UTC)
LATER = AT + timedelta(hours=1)


class Books(Metadata):
    def job(self, id: str, table: str = "t", *, pool: str = "p", mirrors: tuple[str, ...] = ()) -> Job:
        """A QUEUED one."""
        self.jobs.add(Job(id, pool, PushSpec(table, mirror_names=mirrors), JobStatus.NEW, AT, AT))
        assert self.jobs.queue(id, None, AT)
        return self.now(id, pool)

    def claim(self) -> str | None:
        job = self.jobs.claim("worker", AT, timedelta(seconds=60))
        return job.id if job else None

    def end(self, id: str, status: JobStatus = JobStatus.DONE, **more: Any) -> Job:
        job = self.now(id)
        assert self.jobs.finish(job, status, at=AT, counts=Counts(), logs=["end"], phases_ms={}, **more)
        return self.now(id)

    def done(self, id: str, table: str = "t", **more: Any) -> Job:
        self.job(id, table, **more)
        assert self.claim() == id
        return self.end(id)

    def failed(self, id: str, until: datetime | None) -> Job:
        self.job(id)
        assert self.claim() == id
        return self.end(id, JobStatus.ERROR, error_code="rows-rejected", chunks_until=until)

    def now(self, id: str, pool: str = "p") -> Job:
        found = self.jobs.get(pool, id)
        assert found
        return found


@pytest.fixture
def books(database: Path | str) -> Iterator[Books]:
    opened = Books(database)
    yield opened
    opened.close()


# -- undone --------------------------------------------------------------------------------------------


def test_while_a_job_is_undone_its_tables_are_loaded_by_nobody(books: Books) -> None:
    job = books.done("first", mirrors=("M",))
    books.undoings.begin(job, "key", AT)
    books.job("waits", "m")
    books.job("goes", "other")
    assert (books.claim(), books.claim()) == ("goes", None)
    assert books.undoings.under_way() == [("p", "first")]
    assert books.undoings.finish("first", LATER, ["a line"])
    assert not books.undoings.finish("first", LATER, ["a line"])
    assert books.claim() == "waits"
    after = books.now("first")
    assert (after.status, after.undone_at, after.undo_began_at) == (JobStatus.DONE, LATER, None)
    assert (after.undo_key, after.logs) == ("key", ("end", "a line"))
    with pytest.raises(NotUndoable):
        books.undoings.begin(after, None, AT)


def test_what_came_to_nothing_may_begin_again(books: Books) -> None:
    job = books.done("first")
    books.undoings.begin(job, "key", AT)
    with pytest.raises(NotUndoable, match="is being undone"):
        books.undoings.begin(job, "key", AT)
    books.undoings.give_up("first")
    assert (books.undoings.under_way(), books.now("first").undo_key) == ([], None)
    books.undoings.begin(job, None, AT)


def test_a_table_that_is_written_to_is_left_alone(books: Books) -> None:
    job, other = books.done("first"), books.done("other", "other")
    elsewhere = books.done("elsewhere", "elsewhere", mirrors=("shared",))
    beside = books.done("beside", "shared")
    books.job("second", "T")
    assert books.claim() == "second"
    with pytest.raises(NotUndoable, match="The job second is writing"):
        books.undoings.begin(job, None, AT)
    books.undoings.begin(other, None, AT)
    books.undoings.begin(elsewhere, None, AT)
    with pytest.raises(NotUndoable, match="elsewhere"):
        books.undoings.begin(beside, None, AT)


def test_rejects_are_free_when_their_replay_was_undone(books: Books) -> None:
    of = books.done("of")
    replay = Job("replay", "p", PushSpec("t"), JobStatus.QUEUED, AT, AT)
    assert books.jobs.add_replay(of, replay, [])
    assert books.claim() == "replay"
    undone = books.end("replay")
    again = Job("again", "p", PushSpec("t"), JobStatus.QUEUED, AT, AT)
    assert not books.jobs.add_replay(of, again, [])
    books.undoings.begin(undone, None, AT)
    books.undoings.finish("replay", AT, [])
    assert books.jobs.add_replay(of, again, [])
    assert books.now("of").replayed_by == "again"


# -- cancelled -----------------------------------------------------------------------------------------


def test_a_queued_job_ends_at_once(books: Books) -> None:
    books.job("one")
    books.jobs.cancel("one", AT, LATER)
    job = books.now("one")
    assert (job.status, job.error_code, job.chunks_until) == (JobStatus.ERROR, "cancelled", LATER)
    assert (job.finished_at, job.logs) == (AT, ("The job was cancelled before it ran.",))
    assert books.claim() is None


def test_of_a_running_job_the_worker_hears(books: Books) -> None:
    books.job("one")
    books.claim()
    assert books.jobs.check_mine("one", 1)
    books.jobs.cancel("one", AT, LATER)
    assert books.now("one").status is JobStatus.RUNNING
    with pytest.raises(Cancelled):
        books.jobs.check_mine("one", 1)
    assert not books.jobs.check_mine("one", 2)


def test_one_that_was_claimed_before_may_be_committed(books: Books) -> None:
    books.job("one")
    books.claim()
    books.jobs.requeue_all()
    books.jobs.cancel("one", AT, None)
    assert books.now("one").status is JobStatus.QUEUED
    assert books.claim() == "one"
    with pytest.raises(Cancelled):
        books.jobs.check_mine("one", 2)


@pytest.mark.parametrize("status", [JobStatus.DONE, JobStatus.ERROR])
def test_what_has_ended_stays_as_it_is(books: Books, status: JobStatus) -> None:
    books.job("one")
    books.claim()
    before = books.end("one", status)
    books.jobs.cancel("one", AT, LATER)
    assert books.now("one") == before


# -- run again -----------------------------------------------------------------------------------------


def test_chunks_are_taken_over_once(books: Books) -> None:
    of = books.failed("of", LATER)
    details = (ChunkType.UPSERT, 30, "sha", FileType.CSV, AT)
    job, other = (Job(id, "p", PushSpec("t"), JobStatus.QUEUED, AT, AT) for id in ("new", "other"))
    assert not books.jobs.add_retry(of, job, [Chunk("c", "new", "p", 1, *details)], LATER)
    with pytest.raises(Overloaded):
        books.jobs.add_retry(of, job, [], AT, most=0)
    assert books.jobs.add_retry(of, job, [Chunk("c", "new", "p", 1, *details)], AT)
    assert not books.jobs.add_retry(of, other, [], AT)
    assert (books.now("of").retried_by, books.now("of").chunks_until) == ("new", None)
    assert [c.id for c in books.chunks.list("new")] == ["c"]


def test_whose_chunks_are_kept_counted_and_swept(books: Books) -> None:
    books.failed("kept", LATER)
    books.failed("dropped", None)
    books.job("waits")
    every = ["kept", "dropped", "waits", "nobody"]
    assert books.jobs.unfinished(every) == {"waits"}
    assert books.jobs.retryable(every, AT) == {"kept"}
    assert books.jobs.past_retrying(every, AT) == {"dropped"}
    assert books.jobs.past_retrying(every, LATER) == {"kept", "dropped"}
    books.jobs.delete("p", "kept", AT)
    assert books.jobs.retryable(every, AT) == set()


def test_kept_chunks_count_for_the_pool(books: Books) -> None:
    books.jobs.add(Job("one", "p", PushSpec("t"), JobStatus.NEW, AT, AT))
    books.chunks.add(Chunk("c", "one", "p", 0, ChunkType.UPSERT, 30, "sha", FileType.CSV, AT))
    books.jobs.queue("one", None, AT)
    books.jobs.cancel("one", AT, LATER)
    assert (books.chunks.bytes_of_pool("p", AT), books.chunks.bytes_of_pool("p", LATER)) == (30, 0)


def test_what_is_said_changes_and_the_rest_stays() -> None:
    key = DeclaredColumn("id", primary_key=True)
    spec = PushSpec("t", columns=(key,), csv=CsvOptions(";", decimal_separator="."), max_rejected_rows=1)
    sent = wire.Changes.model_validate(
        {
            "csvParsingOptions": {"decimalSeparator": ","},
            "tableSchema": {"columns": [{"columnName": "n"}]},
            "keys": None,
            "strictLengths": False,
            "unknown": 1,
        }
    )
    assert changed(spec, wire.to_changes(sent)) == PushSpec(
        "t",
        columns=(DeclaredColumn("n"),),
        keys=("id",),
        csv=CsvOptions(";", decimal_separator=","),
        max_rejected_rows=1,
    )
    assert changed(spec, wire.to_changes(None)) == spec
    assert changed(spec, {"keys": ("n",), "columns": ()}).key_columns == ("n",)


def test_every_field_of_a_job_can_be_changed() -> None:
    assert set(wire._FIELDS) == set(wire.DataPushJob.model_fields) - {"dataPoolId"}
    named = set(PushSpec.__dataclass_fields__) - {"schema_table_name"}
    assert set(wire._FIELDS.values()) == named
