"""The story of one load: real metadata, chunks and staged files, and a lake that takes notes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.chunks.disk import DiskChunks
from headrace.durable import checksum
from headrace.errors import (
    Busy,
    Cancelled,
    ChunkFailed,
    DiskFull,
    RowsRejected,
    SchemaMismatch,
)
from headrace.loading import Loader, TakenOver
from headrace.metadata import Metadata
from headrace.model import (
    INTEGER,
    STRING,
    UNKNOWN,
    Chunk,
    ChunkType,
    Column,
    ColumnType,
    Counts,
    FileType,
    Job,
    JobStatus,
    JobType,
    PushSpec,
    Receipt,
    RejectCount,
    StageReport,
    Table,
    TableRef,
    UpsertStrategy,
    now,
)
from headrace.observing import Ended, Observation
from headrace.reducing import Reducer
from headrace.staged import StagingFolder
from headrace.tables import Load, Preview, TableDiff
from headrace.telling import Outlook

LEASE = timedelta(minutes=1)
ARROW = {INTEGER: pa.int64(), STRING: pa.string(), UNKNOWN: pa.null()}
DELTA = PushSpec("t", JobType.DELTA, keys=("id",))
ID, V = Column("id", INTEGER), Column("v", STRING)


class Lake:
    """Takes loads and keeps them, with the rows that it got; has the tables and receipts that it is given."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self.upserted: list[list[dict[str, Any]]] = []
        self.deleted: list[list[dict[str, Any]]] = []
        self.receipts: dict[tuple[str, str], Receipt] = {}
        self.known: dict[tuple[str, TableRef], Table] = {}
        self.previews: list[Load] = []
        self.fault: Exception | None = None
        self.before_commit: Callable[[], None] = lambda: None

    def find(self, pool_id: str, ref: TableRef) -> Table | None:
        return self.known.get((pool_id, ref))

    def receipt(self, pool_id: str, job_id: str) -> Receipt | None:
        if self.fault:
            raise self.fault
        return self.receipts.get((pool_id, job_id))

    def load(self, pool_id: str, load: Load) -> Receipt:
        if self.fault:
            raise self.fault
        self.loads.append(load)
        self.upserted.append(rows_of(load.upserts))
        self.deleted.append(rows_of(load.deletes))
        self.before_commit()
        load.still_mine()
        made = self.receipts[pool_id, load.job_id] = receipt_of(load)
        return made

    def preview(self, pool_id: str, load: Load) -> Preview:
        self.previews.append(load)
        self.upserted.append(rows_of(load.upserts))
        diffs = [TableDiff(ref, self.find(pool_id, ref), load.columns) for ref in load.targets]
        return Preview(receipt_of(load), tuple(diffs))


def receipt_of(load: Load) -> Receipt:
    return Receipt(
        load.job_id,
        load.change_date,
        inserted=load.upsert_rows,
        updated=0,
        deleted=load.delete_rows,
        not_found=0,
        duplicates=load.duplicates,
        logs=("the lake says",),
    )


def rows_of(files: Sequence[Path]) -> list[dict[str, Any]]:
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@dataclass
class Sent:
    """What a chunk is staged as; ``problem``: it could not be. One that ``waits`` is not staged yet."""

    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    type: ChunkType = ChunkType.UPSERT
    rejected_by: tuple[RejectCount, ...] = ()
    problem: str | None = None
    waits: bool = False

    @property
    def rejected(self) -> int:
        return sum(count.rows for count in self.rejected_by)


@dataclass
class Asked:
    """A chunk that the load wanted staged again."""

    chunk: Chunk
    columns: list[Column]
    aside: Path | None


class Desk:
    """A loader with all it needs, and hands to give it jobs."""

    def __init__(self, folder: Path, reducer: Reducer, fresh: Path) -> None:
        self.metadata = Metadata(shutil.copy(fresh, folder / "metadata.sqlite"))
        self.chunks = DiskChunks(folder / "chunks", min_free_bytes=0)
        self.lake = Lake()
        self.pools = folder / "pools"
        self.staging = StagingFolder(self.pools)
        self.seen: list[Observation] = []
        self.asked: list[Asked] = []
        self.sent: dict[str, Sent] = {}
        self.loader = Loader(
            self.metadata,
            self.chunks,
            self.lake,  # type: ignore[arg-type]  what a load asks of it
            reducer,
            self._restage,
            self.staging,
            observe=self.seen.append,
        )
        self._made = 0

    def job(self, spec: PushSpec, *chunks: Sent, pool: str = "p") -> Job:
        """A NEW job, its chunks staged."""
        self._made += 1
        job = Job(f"job-{self._made}", pool, spec, JobStatus.NEW, now(), now(), logs=("when it was made",))
        self.metadata.jobs.add(job)
        for chunk in chunks:
            self._send(job, chunk)
        return job

    def claimed(self, spec: PushSpec, *chunks: Sent, order: str | None = None) -> Job:
        return self.claim(self.job(spec, *chunks), order)

    def claim(self, job: Job, order: str | None = None) -> Job:
        assert self.metadata.jobs.queue(job.id, order, now())
        return self.claim_again()

    def claim_again(self) -> Job:
        job = self.metadata.jobs.claim("a worker", now(), LEASE)
        assert job
        return job

    def loaded(self, spec: PushSpec, *chunks: Sent, order: str | None = None) -> Job:
        return self.load(self.claimed(spec, *chunks, order=order))

    def load(self, job: Job) -> Job:
        self.loader.load(job)
        return self.shown(job)

    def shown(self, job: Job) -> Job:
        shown = self.metadata.jobs.get(job.pool_id, job.id)
        assert shown
        return shown

    def staged_file(self, chunk: Chunk) -> Path:
        return self.staging.path(chunk.pool_id, chunk.job_id, chunk.id)

    def files_of(self, job: Job) -> list[Path]:
        """All that still lies on the disk for the job."""
        folders = (self.pools / job.pool_id / "staging" / job.id, self.chunks.path(job.id, "x").parent)
        return [path for folder in folders if folder.exists() for path in (folder, *folder.rglob("*"))]

    @property
    def ended(self) -> Ended:
        [ended] = [seen for seen in self.seen if isinstance(seen, Ended)]
        return ended

    def _send(self, job: Job, sent: Sent) -> None:
        self._made += 1
        name = f"chunk-{self._made}"
        incoming = self.chunks.receive(job.id, name)
        incoming.write(b"raw")
        incoming.keep()
        details = (sent.type, 3, f"sha of {name}", FileType.PARQUET, now())
        chunk = self.metadata.chunks.add(Chunk(name, job.id, job.pool_id, 0, *details))
        self.sent[name] = sent
        if sent.problem:
            self.metadata.chunks.failed(name, sent.problem, 1)
        elif not sent.waits:
            report = written(sent, sent.columns, self.staged_file(chunk))
            self.metadata.chunks.staged(name, report, 1)

    def _restage(
        self, job: Job, chunk: Chunk, columns: Sequence[Column], *, aside: Path | None = None
    ) -> StageReport:
        self.asked.append(Asked(chunk, list(columns), aside))
        path = aside / f"{chunk.id}.parquet" if aside else self.staged_file(chunk)
        return written(self.sent[chunk.id], tuple(columns), path)


def written(sent: Sent, columns: tuple[Column, ...], path: Path) -> StageReport:
    """The rows as a staged file, and what staging tells of it; values become what a column asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    places = {column.name: n for n, column in enumerate(sent.columns)}
    table = pa.table(
        {
            c.name: pa.array(
                [fit(row[places[c.name]], c.type) if c.name in places else None for row in sent.rows],
                ARROW[c.type],
            )
            for c in columns
        }
    )
    pq.write_table(table, path)
    return StageReport(
        len(sent.rows),
        sent.rejected,
        columns,
        rejected_by=sent.rejected_by,
        checksum=checksum(path),
    )


def fit(value: object, type: ColumnType) -> object:
    return str(value) if value is not None and type == STRING else value


def upserts(columns: Sequence[Column], *rows: tuple[Any, ...], **more: Any) -> Sent:
    return Sent(tuple(columns), list(rows), **more)


def deletes(columns: Sequence[Column], *rows: tuple[Any, ...], **more: Any) -> Sent:
    return Sent(tuple(columns), list(rows), ChunkType.DELETE, **more)


def bad(rows: int) -> tuple[RejectCount, ...]:
    return (RejectCount("value-does-not-fit", "v", rows),)


@pytest.fixture
def desk(tmp_path: Path, reducer: Reducer, fresh: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, reducer, fresh)
    yield made
    made.metadata.close()


# -- what goes to the lake -----------------------------------------------------------------------------


def test_a_replace_takes_the_staged_files_as_they_are(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t", connection_id="c"), upserts([ID, V], (1, "a"), (1, "a"), (2, "b")))
    shown = desk.load(job)
    [load] = desk.lake.loads
    assert (load.job_id, load.fence, load.type) == (job.id, 1, JobType.REPLACE)
    assert load.targets == (TableRef("t", "c"),)
    assert load.columns == (ID, V)
    assert load.makes_table is True
    assert (load.upsert_rows, load.delete_rows, load.keys, load.unique) == (3, 0, (), False)
    assert desk.lake.upserted == [[{"id": 1, "v": "a"}, {"id": 1, "v": "a"}, {"id": 2, "v": "b"}]]
    assert shown.status is JobStatus.DONE
    assert shown.change_date == load.change_date
    assert shown.counts == Counts(rows_in=3, inserted=3)
    assert shown.logs == (
        "when it was made",
        "the lake says",
        "REPLACE of t: 3 rows in, 3 inserted.",
    )
    assert shown.error_code is None
    assert shown.chunks_until is None
    assert set(shown.phases_ms) == {"agree", "reduce", "commit"}
    assert desk.asked == []
    assert desk.files_of(job) == []


def test_it_is_told_how_a_job_ended(desk: Desk) -> None:
    spec = replace(DELTA, max_rejected_rows=3)
    sent = upserts([ID, V], (1, "a"), rejected_by=(RejectCount("too-long", "v", 2),))
    shown = desk.loaded(spec, sent)
    told = desk.ended
    assert told.status is JobStatus.DONE
    assert told.job.id == shown.id
    assert told.at == shown.finished_at
    assert told.seconds > 0
    assert told.counts == shown.counts == Counts(rows_in=3, inserted=1, rejected=2)
    assert list(told.rejected_by) == [RejectCount("too-long", "v", 2)]
    assert [phase.name for phase in told.phases] == ["agree", "reduce", "commit"]
    assert told.error_code is None


def test_the_last_action_on_a_key_wins(desk: Desk) -> None:
    first = upserts([ID, V], (1, "a"), (2, "b"), (3, "c"))
    gone = deletes([ID, V], (2, "whatever"), (9, "nobody"))
    last = upserts([ID, V], (3, "C"))
    shown = desk.loaded(DELTA, first, gone, last)
    [load] = desk.lake.loads
    assert load.keys == ("id",)
    assert load.unique is True
    assert load.duplicates == 2
    assert sorted(row["v"] for row in desk.lake.upserted[0]) == ["C", "a"]
    assert sorted(row["id"] for row in desk.lake.deleted[0]) == [2, 9]
    assert shown.counts == Counts(rows_in=6, inserted=2, deleted=2, duplicates=2)


def test_of_a_delete_only_keys_and_the_order_count(desk: Desk) -> None:
    n = Column("n", INTEGER)
    sent = (upserts([ID, n, V], (1, 5, "a")), deletes([ID, n, V], (1, 4, "b")))
    desk.loaded(DELTA, *sent, order="n")
    assert desk.lake.upserted == [[{"id": 1, "n": 5, "v": "a"}]]
    assert desk.lake.deleted == [[]]
    assert desk.lake.loads[0].duplicates == 1


def test_the_order_column_may_be_spelled_otherwise(desk: Desk) -> None:
    n = Column("N", INTEGER)
    shown = desk.loaded(DELTA, upserts([ID, n], (1, 5), (1, 4)), order="n")
    assert desk.lake.upserted == [[{"id": 1, "N": 5}]]
    assert not any("orders nothing" in line for line in shown.logs)


def test_an_order_that_nobody_sends_is_refused(desk: Desk) -> None:
    shown = desk.loaded(DELTA, upserts([ID, V], (1, "a"), (1, "b")), order="other")
    assert shown.status is JobStatus.ERROR
    assert shown.error_code == SchemaMismatch.code
    assert shown.logs[-1] == "Neither the table nor a chunk of the job has a column other."


def test_an_order_without_keys_is_said_to_order_nothing(desk: Desk) -> None:
    shown = desk.loaded(PushSpec("t", JobType.DELTA), upserts([ID, V], (1, "a"), (1, "b")), order="v")
    assert shown.logs[1] == "duplicateRemovalColumn has no effect: the job has no keys."
    assert len(desk.lake.upserted[0]) == 2


def test_an_order_that_only_deletions_have_orders_nothing(desk: Desk) -> None:
    n = Column("n", INTEGER)
    desk.lake.known["p", TableRef("t")] = Table(TableRef("t"), (ID, V))
    shown = desk.loaded(DELTA, upserts([ID, V], (1, "a")), deletes([ID, n], (1, 4)), order="N")
    assert "Only delete chunks have N: it orders nothing." in shown.logs
    assert desk.lake.upserted == [[]]
    assert [row["id"] for row in desk.lake.deleted[0]] == [1]


def test_keys_are_spelled_like_the_table(desk: Desk) -> None:
    desk.loaded(replace(DELTA, keys=("ID",)), upserts([ID, V], (1, "a"), (1, "b")))
    assert desk.lake.loads[0].keys == ("id",)
    assert [row["v"] for row in desk.lake.upserted[0]] == ["b"]


def test_all_keys_that_nobody_has_are_named(desk: Desk) -> None:
    shown = desk.loaded(replace(DELTA, keys=("id", "one", "two")), upserts([ID, V], (1, "a")))
    assert shown.error_code == SchemaMismatch.code
    assert shown.logs[-1] == "Neither the table nor a chunk of the job has a column one, two."
    assert desk.lake.loads == []


def test_duplicates_may_be_allowed(desk: Desk) -> None:
    spec = replace(DELTA, allow_duplicate=True, upsert_strategy=UpsertStrategy.UPSERT_WITH_NULLIFICATION)
    desk.loaded(spec, upserts([ID, V], (1, "a"), (1, "b")))
    [load] = desk.lake.loads
    assert load.unique is False
    assert load.strategy is UpsertStrategy.UPSERT_WITH_NULLIFICATION
    assert len(desk.lake.upserted[0]) == 2


def test_deletions_alone_make_no_table(desk: Desk) -> None:
    desk.loaded(DELTA, deletes([ID], (1,)))
    assert desk.lake.loads[0].makes_table is False


def test_a_delta_without_chunks_changes_nothing(desk: Desk) -> None:
    shown = desk.loaded(DELTA)
    [load] = desk.lake.loads
    assert (load.keys, load.columns, load.makes_table) == ((), (), False)
    assert shown.status is JobStatus.DONE
    assert shown.logs[-1] == "DELTA of t: 0 rows in, nothing changed."


def test_mirrors_are_loaded_with_the_table(desk: Desk) -> None:
    desk.loaded(replace(DELTA, mirror_names=("other",)), upserts([ID], (1,)))
    assert desk.lake.loads[0].targets == (TableRef("t"), TableRef("other"))


# -- one schema ----------------------------------------------------------------------------------------


def test_a_chunk_that_is_staged_otherwise_is_staged_again(desk: Desk) -> None:
    text = replace(ID, type=STRING)
    job = desk.claimed(PushSpec("t"), upserts([ID, V], (1, "a")), upserts([text], ("x",)))
    desk.load(job)
    [again] = desk.asked
    assert (again.chunk.number, again.columns, again.aside) == (1, [text, V], None)
    assert desk.lake.loads[0].columns == (text, V)
    assert desk.lake.upserted[0] == [{"id": "1", "v": "a"}, {"id": "x"}]


def test_what_the_table_has_is_what_counts(desk: Desk) -> None:
    named = Column("ID", STRING)
    desk.lake.known["p", TableRef("t")] = Table(TableRef("t"), (named,))
    shown = desk.loaded(replace(DELTA, keys=()), upserts([replace(ID, type=STRING)], ("1",)))
    [again] = desk.asked
    assert again.columns == [named]
    assert shown.status is JobStatus.DONE


def test_a_replace_does_not_ask_the_table(desk: Desk) -> None:
    desk.lake.known["p", TableRef("t")] = Table(TableRef("t"), (Column("id", STRING),))
    desk.loaded(PushSpec("t"), upserts([ID], (1,)))
    assert desk.asked == []
    assert desk.lake.loads[0].columns == (ID,)


def test_a_column_of_nothing_but_nulls_fits_any_type(desk: Desk) -> None:
    nothing = Column("v", UNKNOWN)
    desk.loaded(DELTA, upserts([ID, V], (1, "a")), upserts([ID, nothing], (2, None)))
    assert desk.asked == []
    assert [row.get("v") for row in desk.lake.upserted[0]] == ["a", None]


def test_a_key_of_nothing_but_nulls_is_staged_in_its_type(desk: Desk) -> None:
    nothing = Column("ID", UNKNOWN)
    desk.loaded(DELTA, upserts([ID, V], (1, "a")), upserts([nothing, V], (None, "b")))
    assert [again.chunk.number for again in desk.asked] == [2]


def test_of_a_delete_only_what_counts_is_compared_and_staged_again(desk: Desk) -> None:
    text = Column("v", INTEGER)
    desk.loaded(DELTA, upserts([ID, V], (1, "a")), deletes([ID, text], (2, 3)))
    assert desk.asked == []
    desk.loaded(DELTA, upserts([replace(ID, type=STRING), V], ("x", "a")), deletes([ID, V], (2, "b")))
    [again] = desk.asked
    assert again.columns == [replace(ID, type=STRING)]


def test_a_staged_file_that_is_gone_is_staged_again(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    [chunk] = desk.metadata.chunks.list(job.id)
    desk.staged_file(chunk).unlink()
    shown = desk.load(job)
    assert len(desk.asked) == 1
    assert shown.logs == ("when it was made", "the lake says", "REPLACE of t: 1 rows in, 1 inserted.")


def test_a_staged_file_that_the_disk_changed_is_staged_again(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    [chunk] = desk.metadata.chunks.list(job.id)
    path = desk.staged_file(chunk)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    shown = desk.load(job)
    assert len(desk.asked) == 1
    assert "Chunk 1 was staged again: the disk had changed its staged file." in shown.logs
    assert desk.lake.upserted == [[{"id": 1}]]


def test_a_staged_file_that_cannot_be_read_is_staged_again(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    [chunk] = desk.metadata.chunks.list(job.id)
    path = desk.staged_file(chunk)
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        desk.loader.load(job)  # the second staging meets it, too
    assert len(desk.asked) == 1


def test_files_of_versions_that_took_no_checksum_are_believed(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    [chunk] = desk.metadata.chunks.list(job.id)
    assert chunk.report
    desk.metadata.chunks.staged(chunk.id, replace(chunk.report, checksum=None), 1)
    desk.load(job)
    assert desk.asked == []


# -- what ends a load ----------------------------------------------------------------------------------


def test_a_replace_without_a_chunk_is_refused(desk: Desk) -> None:
    shown = desk.loaded(PushSpec("t"))
    assert (shown.status, shown.error_code) == (JobStatus.ERROR, ChunkFailed.code)
    assert shown.logs[-1].startswith("The job has no chunk. To empty a table send a file")
    assert desk.lake.loads == []


def test_chunks_that_cannot_be_read_are_all_named(desk: Desk) -> None:
    shown = desk.loaded(
        PushSpec("t"), upserts([], problem="one"), upserts([ID], (1,)), upserts([], problem="two")
    )
    assert (shown.status, shown.error_code) == (JobStatus.ERROR, ChunkFailed.code)
    assert shown.logs[1:] == ("Chunk 1 could not be read: one", "Chunk 3 could not be read: two")
    assert shown.counts == Counts(rows_in=1, not_loaded=1)


@pytest.mark.parametrize(
    ("spec", "bad_rows", "good"),
    [
        ({}, 1, False),
        ({"max_rejected_rows": 2}, 2, True),
        ({"max_rejected_rows": 2}, 3, False),
        ({"max_rejected_rows": 0}, 1, False),
        ({"max_rejected_share": 0.5}, 4, True),
        ({"max_rejected_share": 0.5}, 5, False),
        ({"max_rejected_rows": 1, "max_rejected_share": 0.5}, 4, True),
        ({"max_rejected_rows": 9, "max_rejected_share": 0.0}, 9, True),
        ({"max_rejected_share": 1.0}, 9, True),
    ],
)
def test_so_many_bad_rows_are_allowed(desk: Desk, spec: dict[str, Any], bad_rows: int, good: bool) -> None:
    four = [(n, "a") for n in range(4)]
    shown = desk.loaded(replace(PushSpec("t"), **spec), upserts([ID, V], *four, rejected_by=bad(bad_rows)))
    assert (shown.status is JobStatus.DONE) is good
    assert len(desk.lake.loads) == good


def test_too_many_bad_rows_are_said_with_what_is_allowed(desk: Desk) -> None:
    spec = PushSpec("t", max_rejected_rows=1)
    shown = desk.loaded(
        spec, upserts([ID], (1,), rejected_by=bad(1)), upserts([ID], (2,), rejected_by=bad(1))
    )
    assert (shown.status, shown.error_code) == (JobStatus.ERROR, RowsRejected.code)
    assert shown.logs[-1] == (
        "2 of 4 rows cannot be stored, and the job allows 1; the table is as it was before. "
        f"All of them: GET /api/v1/pools/p/jobs/{shown.id}/rejects"
    )
    assert shown.counts == Counts(rows_in=4, rejected=2, not_loaded=2)
    assert desk.ended.error_code == RowsRejected.code
    assert list(desk.ended.rejected_by) == list(bad(2))


def test_without_an_allowance_it_is_none(desk: Desk) -> None:
    shown = desk.loaded(PushSpec("t"), upserts([ID], rejected_by=bad(1)))
    assert shown.logs[-1].startswith("1 of 1 rows cannot be stored, and the job allows 0; ")


def test_what_the_lake_refuses_is_told(desk: Desk) -> None:
    desk.lake.fault = SchemaMismatch("the first", logs=["the first", "the second"])
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    shown = desk.load(job)
    assert (shown.status, shown.error_code) == (JobStatus.ERROR, SchemaMismatch.code)
    assert shown.logs[1:] == ("the first", "the second")
    assert desk.files_of(job) == []


def test_a_fault_of_the_server_has_its_message(desk: Desk) -> None:
    desk.lake.fault = DiskFull()
    shown = desk.loaded(PushSpec("t"), upserts([ID], (1,)))
    assert (shown.status, shown.error_code) == (JobStatus.ERROR, DiskFull.code)
    assert shown.logs[-1] == DiskFull().message


def test_a_busy_lake_ends_nothing(desk: Desk) -> None:
    desk.lake.fault = Busy("later")
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    with pytest.raises(Busy):
        desk.loader.load(job)
    assert desk.shown(job).status is JobStatus.RUNNING
    assert desk.files_of(job) != []
    assert desk.seen == []


def test_what_nobody_foresaw_ends_nothing(desk: Desk) -> None:
    desk.lake.fault = ValueError()
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    with pytest.raises(ValueError):
        desk.loader.load(job)
    assert desk.shown(job).status is JobStatus.RUNNING


# -- what stays ----------------------------------------------------------------------------------------


def test_a_failed_job_keeps_its_chunks_for_a_retry(desk: Desk) -> None:
    desk.loader.keep_failed = timedelta(hours=3)
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,), rejected_by=bad(1)))
    before = now()
    shown = desk.load(job)
    assert shown.chunks_until
    assert before + timedelta(hours=3) <= shown.chunks_until <= now() + timedelta(hours=3)
    [chunk] = desk.metadata.chunks.list(job.id)
    assert desk.chunks.path(job.id, chunk.id).exists()
    assert not desk.staged_file(chunk).exists()


def test_a_full_disk_keeps_nothing(desk: Desk) -> None:
    desk.loader.keep_failed = timedelta(hours=3)
    desk.lake.fault = DiskFull()
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    shown = desk.load(job)
    assert shown.chunks_until is None
    assert desk.files_of(job) == []


def test_a_job_that_is_done_keeps_nothing(desk: Desk) -> None:
    desk.loader.keep_failed = timedelta(hours=3)
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    assert desk.load(job).chunks_until is None
    assert desk.files_of(job) == []


def test_a_load_leaves_other_jobs_alone(desk: Desk) -> None:
    waiting = desk.job(PushSpec("other"), upserts([ID], (1,)))
    before = desk.files_of(waiting)
    desk.loaded(PushSpec("t"), upserts([ID], (1,)))
    assert desk.files_of(waiting) == before != []
    assert list(desk.staging.jobs()) == [("p", waiting.id)]


def test_giving_up_ends_the_job(desk: Desk) -> None:
    desk.loader.keep_failed = timedelta(hours=3)
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    desk.loader.give_up(job, "A line.", "a-code")
    shown = desk.shown(job)
    assert (shown.status, shown.error_code) == (JobStatus.ERROR, "a-code")
    assert shown.logs == ("when it was made", "A line.")
    assert shown.counts == Counts()
    assert desk.chunks.path(job.id, desk.metadata.chunks.list(job.id)[0].id).exists()


def test_giving_up_without_a_code_is_an_error_of_the_server(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    desk.loader.give_up(job, "A line.")
    assert desk.shown(job).error_code == "internal"
    assert desk.files_of(job) == []


# -- once and by one -----------------------------------------------------------------------------------


def test_what_the_lake_has_is_not_loaded_again(desk: Desk) -> None:
    job = desk.claimed(DELTA, upserts([ID], (1,), (2,)))
    desk.lake.receipts["p", job.id] = Receipt(job.id, now(), 1, 1, 0, 0, logs=("from before",))
    assert desk.metadata.jobs.release(job.id, job.fence)
    shown = desk.load(desk.claim_again())
    assert desk.lake.loads == []
    assert shown.status is JobStatus.DONE
    assert shown.change_date == desk.lake.receipts["p", job.id].change_date
    assert shown.counts == Counts(rows_in=2, inserted=1, updated=1)
    assert shown.logs == (
        "when it was made",
        "from before",
        "DELTA of t: 2 rows in, 1 inserted, 1 updated.",
    )
    assert desk.files_of(job) == []


def test_a_first_claim_does_not_ask_the_lake(desk: Desk) -> None:
    job = desk.claimed(DELTA, upserts([ID], (1,)))
    desk.lake.receipts["p", job.id] = Receipt(job.id, now(), 1, 1, 0, 0)
    desk.load(job)
    assert len(desk.lake.loads) == 1


def test_a_later_claim_loads_what_the_lake_does_not_have(desk: Desk) -> None:
    job = desk.claimed(DELTA, upserts([ID], (1,)))
    assert desk.metadata.jobs.release(job.id, job.fence)
    desk.load(desk.claim_again())
    assert [load.fence for load in desk.lake.loads] == [2]


def test_who_was_overtaken_does_not_reach_the_lake(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    assert desk.metadata.jobs.release(job.id, job.fence)
    newer = desk.claim_again()
    with pytest.raises(TakenOver, match=job.id):
        desk.loader.load(job)
    assert desk.lake.loads == []
    assert desk.files_of(job) != []
    assert desk.load(newer).status is JobStatus.DONE


def test_who_is_overtaken_does_not_stage_again(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)), upserts([replace(ID, type=STRING)], ("x",)))
    assert desk.metadata.jobs.release(job.id, job.fence)
    desk.claim_again()
    with pytest.raises(TakenOver):
        desk.loader.load(job)
    assert desk.asked == []


def test_who_is_overtaken_right_before_the_commit_is_refused(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))

    def overtaken() -> None:
        assert desk.metadata.jobs.release(job.id, job.fence)
        desk.claim_again()

    desk.lake.before_commit = overtaken
    with pytest.raises(TakenOver):
        desk.loader.load(job)
    assert desk.lake.receipts == {}
    assert desk.shown(job).status is JobStatus.RUNNING


def test_who_is_overtaken_after_the_commit_does_not_finish_it(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    finish = desk.metadata.jobs.finish

    def overtaken(*args: Any, **more: Any) -> bool:
        assert desk.metadata.jobs.release(job.id, job.fence)
        desk.claim_again()
        return finish(*args, **more)

    desk.metadata.jobs.finish = overtaken  # type: ignore[method-assign]
    with pytest.raises(TakenOver, match=job.id):
        desk.loader.load(job)
    assert desk.shown(job).status is JobStatus.RUNNING
    assert desk.seen == []
    assert desk.files_of(job) != []


def test_a_job_that_was_called_off_ends_before_its_commit(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    desk.metadata.jobs.cancel(job.id, now(), None)
    shown = desk.load(job)
    assert (shown.status, shown.error_code) == (JobStatus.ERROR, Cancelled.code)
    assert desk.lake.loads == []


def test_whether_the_lake_has_a_job(desk: Desk) -> None:
    job = desk.claimed(PushSpec("t"), upserts([ID], (1,)))
    assert desk.loader.is_committed(job) is False
    desk.lake.fault = ValueError()
    assert desk.loader.is_committed(job) is True  # nobody knows
    desk.lake.fault = None
    desk.load(job)
    assert desk.loader.is_committed(job) is True


# -- what would be -------------------------------------------------------------------------------------


def outlook(desk: Desk, spec: PushSpec, *chunks: Sent) -> tuple[Job, Outlook]:
    job = desk.job(spec, *chunks)
    before = {path: path.read_bytes() for path in desk.files_of(job) if path.is_file()}
    seen = desk.loader.preview(job)
    assert {path: path.read_bytes() for path in desk.files_of(job) if path.is_file()} == before
    assert not [path for path in desk.files_of(job) if "preview" in path.name]
    assert desk.shown(job).status is JobStatus.NEW
    assert desk.lake.loads == []
    assert desk.seen == []
    return job, seen


def test_what_a_job_would_do(desk: Desk) -> None:
    job, seen = outlook(desk, DELTA, upserts([ID, V], (1, "a"), (1, "b")))
    assert (seen.status, seen.error_code) == (JobStatus.DONE, None)
    assert seen.counts == Counts(rows_in=2, inserted=1, duplicates=1)
    assert seen.columns == (ID, V)
    assert [diff.ref for diff in seen.tables] == [TableRef("t")]
    assert seen.logs[0] == "when it was made"
    assert seen.logs[-1].startswith("DELTA of t: 2 rows in")
    [load] = desk.lake.previews
    assert load.job_id == job.id
    assert desk.lake.upserted == [[{"id": 1, "v": "b"}]]


def test_what_must_be_staged_otherwise_is_so_aside(desk: Desk) -> None:
    text = replace(ID, type=STRING)
    _, seen = outlook(desk, PushSpec("t"), upserts([ID], (1,)), upserts([text], ("x",)))
    [again] = desk.asked
    assert again.aside is not None
    assert again.columns == [text]
    assert desk.lake.upserted == [[{"id": "1"}, {"id": "x"}]]
    assert seen.status is JobStatus.DONE


def test_chunks_that_are_not_staged_yet_are_left_out(desk: Desk) -> None:
    waiting = upserts([ID], (2,), waits=True)
    _, seen = outlook(desk, DELTA, upserts([ID], (1,)), waiting)
    assert seen.counts == Counts(rows_in=1, inserted=1)


def test_a_job_that_would_fail_shows_what_its_good_rows_would_do(desk: Desk) -> None:
    _, seen = outlook(desk, PushSpec("t"), upserts([ID, V], (1, "a"), rejected_by=bad(1)))
    assert (seen.status, seen.error_code) == (JobStatus.ERROR, RowsRejected.code)
    assert seen.counts == Counts(rows_in=2, rejected=1, not_loaded=1)
    assert [diff.ref for diff in seen.tables] == [TableRef("t")]
    assert sum("cannot be stored" in line for line in seen.logs) == 1
    assert seen.logs[-1].startswith("1 of 2 rows cannot be stored")


def test_a_job_that_would_fail_twice_shows_the_first_fault(desk: Desk) -> None:
    spec = replace(DELTA, keys=("other",))
    _, seen = outlook(desk, spec, upserts([ID, V], (1, "a"), rejected_by=bad(1)))
    assert (seen.status, seen.error_code) == (JobStatus.ERROR, RowsRejected.code)
    assert seen.tables == ()


def test_a_job_that_would_fail_otherwise_shows_no_tables(desk: Desk) -> None:
    _, seen = outlook(desk, PushSpec("t"), upserts([], problem="one"))
    assert (seen.status, seen.error_code) == (JobStatus.ERROR, ChunkFailed.code)
    assert seen.tables == ()
    assert seen.logs[-1] == "Chunk 1 could not be read: one"


def test_errors_of_the_server_are_not_a_foresight(desk: Desk) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull

    desk.lake.preview = full  # type: ignore[assignment,method-assign]
    job = desk.job(PushSpec("t"), upserts([ID], (1,)))
    with pytest.raises(DiskFull):
        desk.loader.preview(job)
    assert not [path for path in desk.files_of(job) if "preview" in path.name]
