"""The words of Headrace: frozen, pure, known to every other module.

A client creates a **push job** in a **pool**, sends **chunks**, executes the job, and finds its rows in
a **table**. A chunk is **staged** (turned into checked, typed Parquet) when it arrives; rows that cannot
be are **rejects**. A **load** commits the staged chunks of a job to the **lake** of the pool as one
**snapshot**.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property

CHANGE_DATE = "_CELONIS_CHANGE_DATE"
"""The last column of every table: when its row was loaded, UTC."""

MOST_COLUMNS = 10_000
"""Of a file and of a table."""


def now() -> datetime:
    return datetime.now(UTC)


def fold(name: str) -> str:
    """Names match without regard to case."""
    return name.casefold()


# -- push jobs -----------------------------------------------------------------------------------------


class JobStatus(StrEnum):
    NEW = "NEW"  # takes chunks; waits for execute
    QUEUED = "QUEUED"  # executed; waits for its chunks to be staged and for its table to be free
    RUNNING = "RUNNING"  # a worker holds the lease and loads it
    DONE = "DONE"  # committed, once
    ERROR = "ERROR"  # not committed, never will be; the logs say why

    @property
    def final(self) -> bool:
        return self in (JobStatus.DONE, JobStatus.ERROR)


class JobType(StrEnum):
    REPLACE = "REPLACE"  # the table becomes what the chunks hold
    DELTA = "DELTA"  # with keys: upsert and delete; without: append


class FileType(StrEnum):
    PARQUET = "PARQUET"
    CSV = "CSV"
    NDJSON = "NDJSON"  # ours: one JSON object a line
    ARROW = "ARROW"  # ours: Arrow IPC, stream or file


@dataclass(frozen=True)
class Label:
    """What a client calls a chunk, by its type or its file name; ``packed``: the name ends in .gz or .zst."""

    file_type: FileType | None = None
    packed: bool = False


NO_LABEL = Label()


class UpsertStrategy(StrEnum):
    UPSERT_WITH_UNCHANGED_METADATA = "UPSERT_WITH_UNCHANGED_METADATA"  # the table's columns stay as they are
    UPSERT_WITH_NULLIFICATION = "UPSERT_WITH_NULLIFICATION"  # the pushed row is the whole row


class ChunkType(StrEnum):
    UPSERT = "UPSERT"
    DELETE = "DELETE"


class ChunkState(StrEnum):
    RECEIVED = "received"  # its bytes are safe
    STAGED = "staged"  # its typed Parquet lies beside the pool's data
    FAILED = "failed"  # it cannot be read; the job will end in ERROR


# -- columns -------------------------------------------------------------------------------------------


class ColumnKind(StrEnum):
    STRING = "STRING"
    INTEGER = "INTEGER"  # 64 bit
    FLOAT = "FLOAT"  # double precision
    DECIMAL = "DECIMAL"  # exact, with precision and scale
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    TIME = "TIME"
    DATETIME = "DATETIME"  # microseconds, UTC
    UNKNOWN = "UNKNOWN"  # not one value yet: takes any type


DECLARED_KINDS = (
    *(ColumnKind.STRING, ColumnKind.INTEGER, ColumnKind.FLOAT, ColumnKind.BOOLEAN),
    *(ColumnKind.DATE, ColumnKind.TIME, ColumnKind.DATETIME),
)
"""Those that a client may declare."""


@dataclass(frozen=True)
class ColumnType:
    """What a table stores. ``precision`` and ``scale`` belong to DECIMAL alone."""

    kind: ColumnKind
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        if self.kind is ColumnKind.DECIMAL:
            return f"DECIMAL({self.precision},{self.scale})"
        return str(self.kind)


STRING = ColumnType(ColumnKind.STRING)
INTEGER = ColumnType(ColumnKind.INTEGER)
FLOAT = ColumnType(ColumnKind.FLOAT)
BOOLEAN = ColumnType(ColumnKind.BOOLEAN)
DATE = ColumnType(ColumnKind.DATE)
TIME = ColumnType(ColumnKind.TIME)
DATETIME = ColumnType(ColumnKind.DATETIME)
UNKNOWN = ColumnType(ColumnKind.UNKNOWN)


def decimal(precision: int, scale: int) -> ColumnType:
    return ColumnType(ColumnKind.DECIMAL, precision, scale)


@dataclass(frozen=True)
class Column:
    """A column of a staged chunk or of a table; ``length`` is the declared one of a STRING, in characters."""

    name: str
    type: ColumnType
    length: int | None = None


@dataclass(frozen=True)
class DeclaredColumn:
    """A column as the client's tableSchema declares it; every part may be missing."""

    name: str
    kind: ColumnKind | None = None
    length: int | None = None
    decimals: int | None = None
    primary_key: bool = False


# -- what a client asks for ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnCsvOptions:
    """Options of one column; None means: as for the whole file."""

    date_format: str | None = None
    decimal_separator: str | None = None
    thousands_separator: str | None = None
    empty_is_false: bool | None = None  # in BOOLEAN columns, as SAP writes its flags: X or nothing


@dataclass(frozen=True)
class CsvOptions:
    """How a CSV chunk is written; None means: our default (``,`` ``"`` ``""`` any line ending, UTF-8)."""

    separator: str | None = None
    quote: str | None = None
    escape: str | None = None
    line_ending: str | None = None
    charset: str | None = None
    decimal_separator: str | None = None
    thousands_separator: str | None = None
    date_format: str | None = None
    empty_is_false: bool | None = None
    columns: dict[str, ColumnCsvOptions] = field(default_factory=dict)
    """By column name, as the client spells it."""

    def of_column(self, name: str) -> ColumnCsvOptions:
        own = next((o for n, o in self.columns.items() if fold(n) == fold(name)), ColumnCsvOptions())
        return ColumnCsvOptions(
            own.date_format or self.date_format,
            own.decimal_separator or self.decimal_separator,
            own.thousands_separator or self.thousands_separator,
            self.empty_is_false if own.empty_is_false is None else own.empty_is_false,
        )

    def corrected(self, corrections: CsvOptions | None) -> CsvOptions:
        """Only what is corrected changes."""
        if corrections is None:
            return self
        said = {f.name: getattr(corrections, f.name) for f in fields(CsvOptions) if f.name != "columns"}
        changed = {name: value for name, value in said.items() if value is not None}
        return replace(self, **changed, columns={**self.columns, **corrections.columns})


@dataclass(frozen=True)
class TableRef:
    """A table of a pool: global, or of one data connection."""

    name: str
    connection_id: str | None = None

    @property
    def folded(self) -> tuple[str | None, str]:
        return self.connection_id, fold(self.name)


@dataclass(frozen=True)
class PushSpec:
    """What the client asked for when it created the job; ``columns`` may be corrected while it is NEW."""

    target_name: str
    type: JobType = JobType.REPLACE
    file_type: FileType | None = None  # not said: what the bytes are, PARQUET on the wire
    keys: tuple[str, ...] = ()
    columns: tuple[DeclaredColumn, ...] = ()
    schema_table_name: str | None = None
    csv: CsvOptions | None = None
    connection_id: str | None = None
    upsert_strategy: UpsertStrategy | None = None
    fallback_length: int | None = None
    allow_duplicate: bool = False
    mirror_names: tuple[str, ...] = ()
    post_execution_query: str | None = None
    foreign_keys: str | None = None
    max_rejected_rows: int | None = None
    max_rejected_share: float | None = None
    infer_types: bool = False  # of CSV columns that neither the table nor ``columns`` know
    strict_lengths: bool = False

    @property
    def key_columns(self) -> tuple[str, ...]:
        """``keys`` if there are any, else the columns that the schema marks as primary key."""
        return self.keys or tuple(c.name for c in self.columns if c.primary_key)

    @property
    def targets(self) -> tuple[TableRef, ...]:
        names: dict[str, str] = {}
        for name in (self.target_name, *self.mirror_names):
            names.setdefault(fold(name), name)
        return tuple(TableRef(name, self.connection_id) for name in names.values())


# -- what happened -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """Rows of a job. Always: ``rows_in`` is the sum of all the others.

    ``not_loaded`` are the good rows of a job that ended in ERROR; 0 for every other job.
    """

    rows_in: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    not_found: int = 0
    duplicates: int = 0
    rejected: int = 0
    not_loaded: int = 0


@dataclass(frozen=True)
class Cut:
    """Strings of one column that were longer than the column: how many, and the longest."""

    column: str
    length: int
    rows: int
    longest: int


@dataclass(frozen=True)
class Reject:
    """A row that cannot be stored: where it stands, what it says, what was expected.

    ``line`` counts from 1 in the file as it was sent (for Parquet: the row, from 1). ``raw`` is the
    record's text where there is one, or its values as JSON. ``byte_offset`` is where the record starts in a
    text file, in bytes from 0, as it was sent but uncompressed; None for Parquet. ``whole``: ``raw`` is all
    that was sent, so that the row can be sent again. ``base64`` has the record's bytes where the charset does
    not have them all, and ``raw`` can't show them.
    """

    line: int
    column: str | None
    value: str | None
    expected: str
    code: str
    raw: str | None = None
    byte_offset: int | None = None
    whole: bool = True
    base64: str | None = None


@dataclass(frozen=True)
class RejectCount:
    """So many rows were rejected for one reason."""

    code: str
    column: str | None
    rows: int


@dataclass(frozen=True)
class StageReport:
    """The result of staging one chunk; ``rows`` were written, ``rejected`` were not.

    ``checksum`` is the CRC-32 of the staged file. ``beyond_float`` names the columns with a number that a
    FLOAT would not hold. ``overlong`` are like ``cuts``, but of strings that were rejected for their length.
    ``header`` are the names of a text file with rejects, as the file has them.
    """

    rows: int
    rejected: int
    columns: tuple[Column, ...]
    cuts: tuple[Cut, ...] = ()
    first_rejects: tuple[Reject, ...] = ()
    notes: tuple[str, ...] = ()
    beyond_float: tuple[str, ...] = ()
    rejected_by: tuple[RejectCount, ...] = ()
    overlong: tuple[Cut, ...] = ()
    header: tuple[str, ...] = ()
    checksum: int | None = None


@dataclass(frozen=True)
class Chunk:
    id: str
    job_id: str
    pool_id: str
    number: int  # order of arrival within the job, from 1
    type: ChunkType
    bytes: int
    sha256: str
    file_type: FileType
    received_at: datetime
    state: ChunkState = ChunkState.RECEIVED
    report: StageReport | None = None
    problem: str | None = None
    staging_ms: int | None = None
    idempotency_key: str | None = None  # the client's own name of this sending
    stored_sha256: str | None = None  # of the bytes as they are stored; None: by an older version


@dataclass(frozen=True)
class Upload:
    """A chunk that comes in parts, over as many requests as it takes; its chunk will have the same id.

    What has come of it is told by its file alone. ``metadata`` is the client's own text. Bytes from
    ``unchecked_from`` on are those of a part whose checksum nobody has compared yet.
    """

    id: str
    job_id: str
    pool_id: str
    created_by: str
    length: int
    type: ChunkType
    created_at: datetime
    label: Label = NO_LABEL
    metadata: str = ""
    unchecked_from: int | None = None
    finished_at: datetime | None = None  # it is a chunk
    idempotency_key: str | None = None  # the client's own name of its creation, and of the chunk


@dataclass(frozen=True)
class Job:
    """A push job. ``fence`` grows with every claim: an older number may no longer write."""

    id: str
    pool_id: str
    spec: PushSpec
    status: JobStatus
    created_at: datetime
    modified_at: datetime
    created_by: str | None = None
    order_column: str | None = None  # duplicateRemovalColumn of execute
    fence: int = 0
    last_ping: datetime | None = None
    change_date: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deleted_at: datetime | None = None
    counts: Counts | None = None
    error_code: str | None = None
    replayed_by: str | None = None  # the job that got the rejects of this one
    phases_ms: dict[str, int] = field(default_factory=dict)
    logs: tuple[str, ...] = ()
    idempotency_key: str | None = None  # the client's own name of its creation
    execute_key: str | None = None  # … and of its execution
    undo_began_at: datetime | None = None  # it is being undone: nothing else may write to its tables
    undone_at: datetime | None = None  # its tables are as they were before it
    undo_key: str | None = None  # the client's own name of the undoing
    cancel_asked_at: datetime | None = None  # it is to end in ERROR before its commit
    retried_by: str | None = None  # the job that took over its chunks
    chunks_until: datetime | None = None  # of a job in ERROR: so long its raw chunks are kept

    def with_logs(self, *lines: str) -> Job:
        return replace(self, logs=(*self.logs, *lines))


# -- tables --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table as it is now; the columns in our own order, without the change date."""

    ref: TableRef
    columns: tuple[Column, ...]
    rows: int | None = None
    unique_keys: tuple[str, ...] = ()
    """Folded names of the columns by which the rows are known to be unique; empty: not known."""

    def column(self, name: str) -> Column | None:
        return self._by_name.get(fold(name))

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {fold(c.name): c for c in self.columns}


@dataclass(frozen=True)
class Version:
    """One snapshot in which a table changed."""

    version: int
    at: datetime
    job_id: str | None
    changes: str
    undo: bool = False  # it took that job back
    gone: bool = False  # there is no such table in it


@dataclass(frozen=True)
class Receipt:
    """What a committed load did; kept in the lake beside the data, so that it outlives any crash."""

    job_id: str
    change_date: datetime
    inserted: int
    updated: int
    deleted: int
    not_found: int
    duplicates: int = 0
    logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class UndoneTable:
    """What undoing a job does to one of its tables: rows go, rows come back.

    ``dropped``: the job had made the table. ``rebuilt``: its columns were others, so that all rows are put
    back. ``rows`` are in it afterwards.
    """

    ref: TableRef
    dropped: bool
    rebuilt: bool
    removed: int
    restored: int
    rows: int


@dataclass(frozen=True)
class Undoing:
    """What undoing a job does, or did at ``at``; kept in the lake beside the data, as a receipt is."""

    job_id: str
    at: datetime
    tables: tuple[UndoneTable, ...]


# -- who -----------------------------------------------------------------------------------------------


LONGEST_OVERLAP = timedelta(days=30)
"""Of the two secrets of a key that is rotated."""


class KeyKind(StrEnum):
    APPLICATION = "application"  # of the team; sent as 'AppKey'
    PERSONAL = "personal"  # of a person; sent as 'Bearer'
    CLIENT = "client"  # of a program that gets tokens by OAuth2; these are sent as 'Bearer'


class Permission(StrEnum):
    PUSH = "push"  # create, fill, execute and delete jobs; read what a push needs to read
    READ = "read"  # read jobs, tables and rows
    ADMIN = "admin"  # everything, keys and pools included

    @property
    def includes(self) -> frozenset[Permission]:
        """Itself and what comes with it: who pushes must see the jobs and tables of the push."""
        return frozenset(_INCLUDED[self])


_INCLUDED = {
    Permission.READ: (Permission.READ,),
    Permission.PUSH: (Permission.PUSH, Permission.READ),
    Permission.ADMIN: tuple(Permission),
}


@dataclass(frozen=True)
class SubmissionLimits:
    """So many jobs may be executed in a second and in a full UTC hour."""

    per_second: int
    per_hour: int


@dataclass(frozen=True)
class Key:
    """An identity, be it a key or an OAuth client; the secret is shown once and kept only as a hash."""

    id: str
    name: str
    kind: KeyKind
    prefix: str
    permissions: frozenset[Permission]
    pool_ids: frozenset[str] | None  # None: every pool
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None  # for good
    disabled_at: datetime | None = None  # until it is enabled again
    tables: frozenset[str] | None = None  # patterns of table names; None: every table
    last_used_at: datetime | None = None  # to the minute
    previous_until: datetime | None = None  # the secret before the last rotation is good until then
    generation: int = 0  # tokens of an older one are refused
    scope: frozenset[Permission] | None = None  # of one token, never stored; None: no token


@dataclass(frozen=True)
class SigningKey:
    """What signs the tokens of an installation. ``private`` is PEM."""

    kid: str
    private: str
    created_at: datetime
    longest_token_s: int  # no token that it signed lives longer
    retired_at: datetime | None = None  # from then on it only verifies
    verifies_until: datetime | None = None


@dataclass(frozen=True)
class AuditEntry:
    """Who did what, from where, with what outcome. ``subject``: the key, client, table or connection."""

    at: datetime
    actor_id: str | None
    actor_name: str | None
    peer: str
    action: str
    status: int
    request_id: str
    code: str | None = None
    pool_id: str | None = None
    job_id: str | None = None
    subject: str | None = None
    times: int = 1  # so many alike, within a moment
    number: int | None = None  # its place in the book


@dataclass(frozen=True)
class Pool:
    id: str
    name: str
    created_at: datetime
    attributes: dict[str, object] = field(default_factory=dict)
    """The other fields that a client sent, given back as they came."""


@dataclass(frozen=True)
class Connection:
    """A data connection of a pool: a name space of its own for tables."""

    id: str
    pool_id: str
    name: str
    created_at: datetime
    attributes: dict[str, object] = field(default_factory=dict)
