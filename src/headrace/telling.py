"""What a job tells about its load: log lines, counts, a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from headrace.errors import LoadFailed
from headrace.hints import separator_of
from headrace.model import (
    Chunk,
    ChunkType,
    Column,
    Counts,
    Cut,
    FileType,
    Job,
    JobStatus,
    JobType,
    Receipt,
    RejectCount,
    Table,
    fold,
)
from headrace.observing import Phase, seconds_since
from headrace.rejected import Teller, sum_of_cuts
from headrace.tables import Preview, TableDiff

_SHOWN_REJECTS = 10


@dataclass
class Telling:
    """What is known of a load so far, for its end.

    ``aside``: it is only looked at, and whatever it writes goes to this folder; ``restaged`` are the chunks
    that lie there.
    """

    chunks: list[Chunk] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    aside: Path | None = None
    restaged: dict[str, Path] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return seconds_since(self.start)

    @property
    def phases_ms(self) -> dict[str, int]:
        return {phase.name: round(phase.seconds * 1000) for phase in self.phases}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.phases.append(Phase(name, start - self.start, seconds_since(start)))


# -- staging -------------------------------------------------------------------------------------------


def staging_logs(job: Job, chunks: Sequence[Chunk]) -> list[str]:
    """What the staging of the chunks has to say: notes, cuts, and the first rejects with their rows."""
    lines = [*_repeated(chunks), *(line for chunk in chunks for line in _notes(job, chunk))]
    for told in Teller(job, chunks).first(_SHOWN_REJECTS):
        lines += [told.sentence, f"  {told.marked}"]
    return lines


def _repeated(chunks: Sequence[Chunk]) -> Iterator[str]:
    """Chunks sent twice, maybe by mistake: without an idempotency key nobody can tell."""
    same: dict[tuple[str, ChunkType], list[int]] = {}
    for chunk in chunks:
        same.setdefault((chunk.sha256, chunk.type), []).append(chunk.number)
    for first, *later in same.values():
        if later:
            numbers = ", ".join(map(str, later))
            yield f"Chunks {numbers} have the same bytes as chunk {first}; all of them count."


def _notes(job: Job, chunk: Chunk) -> Iterator[str]:
    report = chunk.report
    if report is None:
        return
    for note in report.notes:
        yield f"Chunk {chunk.number}: {note}"
    for cut in report.cuts:
        yield (
            f"Chunk {chunk.number}: {cut.rows} values of the column {cut.column} were cut to {cut.length} "
            f"characters; the longest had {cut.longest}."
        )
    csv = job.spec.csv
    if chunk.file_type is FileType.CSV and len(report.columns) == 1:
        header = report.columns[0].name
        if guess := separator_of(header, csv.separator if csv else None):
            yield f"Chunk {chunk.number} has one column, '{header}'. Likely: {guess}."


def cuts_of(chunks: Sequence[Chunk]) -> list[Cut]:
    """All that was cut, by column."""
    return sum_of_cuts(cut for c in chunks if c.report for cut in c.report.cuts)


def rejected_by(chunks: Sequence[Chunk]) -> list[RejectCount]:
    """All rejects counted by their reason, the most frequent first."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for chunk in chunks:
        for count in chunk.report.rejected_by if chunk.report else ():
            counts[count.code, count.column] += count.rows
    return [RejectCount(*why, rows) for why, rows in counts.most_common()]


# -- the end -------------------------------------------------------------------------------------------


def done_counts(chunks: Sequence[Chunk], receipt: Receipt) -> Counts:
    rows, rejected = rows_of(chunks)
    return Counts(
        rows_in=rows + rejected,
        inserted=receipt.inserted,
        updated=receipt.updated,
        deleted=receipt.deleted,
        not_found=receipt.not_found,
        duplicates=receipt.duplicates,
        rejected=rejected,
    )


def failed_counts(chunks: Sequence[Chunk]) -> Counts:
    rows, rejected = rows_of(chunks)
    return Counts(rows_in=rows + rejected, rejected=rejected, not_loaded=rows)


def rows_of(chunks: Sequence[Chunk]) -> tuple[int, int]:
    """The good rows and the rejected ones."""
    reports = [c.report for c in chunks if c.report]
    return sum(r.rows for r in reports), sum(r.rejected for r in reports)


def summary(job: Job, counts: Counts) -> str:
    parts = [
        f"{value} {name}"
        for name, value in (
            ("inserted", counts.inserted),
            ("updated", counts.updated),
            ("deleted", counts.deleted),
            ("not found", counts.not_found),
            ("duplicates dropped", counts.duplicates),
            ("rejected", counts.rejected),
        )
        if value
    ]
    nothing = "the table is empty now" if job.spec.type is JobType.REPLACE else "nothing changed"
    done = ", ".join(parts) or nothing
    return f"{job.spec.type} of {job.spec.target_name}: {counts.rows_in} rows in, {done}."


# -- what would be -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outlook:
    """What executing a job would do: how it would end, and what would become of its tables."""

    status: JobStatus
    counts: Counts
    logs: tuple[str, ...]
    error_code: str | None
    columns: tuple[Column, ...]
    tables: tuple[TableDiff, ...]
    cuts: tuple[Cut, ...]
    rejected_by: tuple[RejectCount, ...]


def done_outlook(job: Job, told: Telling, foreseen: Preview) -> Outlook:
    counts = done_counts(told.chunks, foreseen.receipt)
    logs = (*job.logs, *told.logs, *foreseen.receipt.logs, summary(job, counts))
    return _outlook(told, JobStatus.DONE, counts, logs, None, foreseen.tables)


def failed_outlook(job: Job, told: Telling, error: LoadFailed, tables: Sequence[TableDiff] = ()) -> Outlook:
    logs = (*job.logs, *told.logs, *error.logs)
    return _outlook(told, JobStatus.ERROR, failed_counts(told.chunks), logs, error.code, tables)


def _outlook(
    told: Telling,
    status: JobStatus,
    counts: Counts,
    logs: tuple[str, ...],
    code: str | None,
    tables: Sequence[TableDiff],
) -> Outlook:
    cuts, by = tuple(cuts_of(told.chunks)), tuple(rejected_by(told.chunks))
    return Outlook(status, counts, logs, code, tuple(told.columns), tuple(tables), cuts, by)


class Change(StrEnum):
    ADDED = "added"
    WIDENED = "widened"  # every value that it holds fits
    CHANGED = "changed"  # of a table that is replaced: another type
    DROPPED = "dropped"  # of a table that is replaced
    MISSING = "missing"  # the push lacks it; it stays
    KEPT = "kept"


@dataclass(frozen=True)
class ColumnChange:
    """A column as it will be (for a dropped one: as it is), and what happens to it."""

    column: Column
    change: Change
    before: Column | None


def column_changes(diff: TableDiff, pushed: Sequence[Column]) -> list[ColumnChange]:
    """What would become of each column of a table."""
    sent, after = {fold(c.name) for c in pushed}, diff.after or ()
    changes = [_change(diff, column, sent) for column in after]
    stays = {fold(c.name) for c in after} if diff.after is not None else None
    gone = [c for c in _columns(diff.before) if stays is not None and fold(c.name) not in stays]
    return [*changes, *(ColumnChange(c, Change.DROPPED, c) for c in gone)]


def _columns(table: Table | None) -> Sequence[Column]:
    return table.columns if table else ()


def _change(diff: TableDiff, column: Column, sent: set[str]) -> ColumnChange:
    before = diff.before.column(column.name) if diff.before else None
    if before is None:
        change = Change.ADDED
    elif before.type != column.type:
        change = Change.CHANGED if diff.replaces else Change.WIDENED
    else:
        change = Change.KEPT if fold(column.name) in sent else Change.MISSING
    return ColumnChange(column, change, before)
