"""The shapes of our own answers, for the description of the API. Nothing is made from them: that would cost.

Tests and fuzzing hold every real answer to them; the vendor's shapes stand in ``wire.py``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from headrace.model import ChunkState, ChunkType, FileType, JobStatus, KeyKind, Permission
from headrace.retention import Kind
from headrace.web import wire


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(Answer):
    """An error: application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="never changes; docs/errors.md lists them")
    attribute: str | None = Field(description="the field that is wrong")
    where: dict[str, int | str] | None = Field(description="the place in what was sent: chunk, line, column")
    hint: str | None = Field(description="the likely fix")
    retry: bool = Field(description="the same request may be sent again")
    reference: str = Field(description="leads to a line of the server's log")


class NamedType(Answer):
    name: str
    type: str


class CountsAnswer(Answer):
    """rowsIn is the sum of all the others."""

    rowsIn: int
    inserted: int
    updated: int
    deleted: int
    notFound: int
    duplicates: int
    rejected: int
    notLoaded: int


class GoneAnswer(Answer):
    """What went, or would, because it is old."""

    kind: Kind
    count: int


class CutAnswer(Answer):
    """Strings of a column that were longer than it."""

    column: str
    length: int
    rows: int
    longest: int


class ReasonAnswer(Answer):
    """So many rows were rejected for one reason."""

    code: str
    column: str | None
    rows: int


class ChunkAnswer(Answer):
    id: str
    number: int
    type: ChunkType
    fileType: FileType
    state: ChunkState
    bytes: int
    sha256: str
    receivedAt: datetime
    stagingMs: int | None
    rows: int | None
    rejected: int | None
    cuts: list[CutAnswer] | None
    columns: list[NamedType] | None
    problem: str | None


class OwnJobAnswer(wire.JobAnswer):
    """What the vendor's API tells of a job, and what only Headrace knows."""

    pool: str
    order: str | None
    counts: CountsAnswer | None
    errorCode: str | None
    phases: dict[str, int] = Field(description="milliseconds")
    createdAt: datetime
    queuedAt: datetime | None
    startedAt: datetime | None
    finishedAt: datetime | None
    deletedAt: datetime | None
    changeDate: datetime | None  # type: ignore[assignment]  # the vendor has milliseconds here
    maxRejectedRows: int | None
    maxRejectedShare: float | None
    strictLengths: bool
    cuts: list[CutAnswer]
    rejectsBy: list[ReasonAnswer]
    replayedBy: str | None = Field(description="the job that has its rejects")
    retriedBy: str | None = Field(description="the job that runs its chunks again")
    retryUntil: datetime | None = Field(description="so long a failed job keeps its chunks")
    cancelAskedAt: datetime | None
    undoneAt: datetime | None
    chunks: list[ChunkAnswer]
    status: JobStatus


class PlannedColumnAnswer(Answer):
    name: str
    type: str
    length: int | None
    source: str = Field(description="where it comes from: declared, table, file or inferred")


class WholeJobAnswer(OwnJobAnswer):
    """With the schema that its chunks agree on so far, until it runs."""

    planned: list[PlannedColumnAnswer] | None = Field(alias="schema")


class RejectAnswer(Answer):
    chunk: int
    line: int
    byteOffset: int | None
    column: str | None
    value: str | None
    expected: str
    code: str
    message: str
    marked: str | None = Field(description="the row in short, with the bad value between >> and <<")
    hint: str | None = Field(description="the likely fix")
    raw: str | None


class ForeseenColumnAnswer(Answer):
    name: str
    type: str
    length: int | None
    change: str
    was: str | None


class ForeseenTableAnswer(Answer):
    name: str
    connection: str | None
    change: str
    columns: list[ForeseenColumnAnswer]


class OutlookAnswer(Answer):
    """What executing a job would do by now."""

    status: JobStatus
    errorCode: str | None
    counts: CountsAnswer
    tables: list[ForeseenTableAnswer]
    cuts: list[CutAnswer]
    rejectsBy: list[ReasonAnswer]
    logs: list[str]


class UndoneTableAnswer(Answer):
    name: str
    connection: str | None
    change: str = Field(description="dropped: the job had made the table; restored")
    removed: int
    restored: int
    rows: int = Field(description="that it has afterwards")


class UndoingAnswer(Answer):
    """What undoing a job did, or would do."""

    job: str
    at: datetime
    tables: list[UndoneTableAnswer]


class ColumnAnswer(Answer):
    name: str
    type: str
    length: int | None


class TableAnswer(Answer):
    name: str
    connection: str | None
    columns: list[ColumnAnswer]


class VersionAnswer(Answer):
    version: int
    at: datetime
    job: str | None
    change: str
    undo: bool = Field(description="it took that job back")


class WholeTableAnswer(TableAnswer):
    rows: int | None
    versions: list[VersionAnswer]


class QueryAnswer(Answer):
    columns: list[NamedType]
    rows: list[list[Any]]
    truncated: bool
    milliseconds: int


class KeyAnswer(Answer):
    id: str
    name: str
    kind: KeyKind
    prefix: str
    permissions: list[Permission]
    pools: list[str] | None
    tables: list[str] | None
    createdAt: datetime
    expiresAt: datetime | None
    lastUsedAt: datetime | None
    oldSecretUntil: datetime | None
    disabledAt: datetime | None
    revokedAt: datetime | None


class NewKeyAnswer(KeyAnswer):
    key: str = Field(description="the secret: in this answer and nowhere else")


class NewClientAnswer(KeyAnswer):
    clientId: str
    clientSecret: str = Field(description="the secret: in this answer and nowhere else")


class ExplanationAnswer(Answer):
    key: str
    action: Permission
    pool: str | None
    table: str | None
    allowed: bool
    rule: str = Field(description="the rule that decides; docs/security.md lists them")
    because: str


class AuditAnswer(Answer):
    number: int
    at: datetime
    key: str | None
    name: str | None
    origin: str | None = Field(alias="from")
    action: str
    pool: str | None
    job: str | None
    subject: str | None
    status: int
    code: str | None
    request: str | None
    times: int


class TokenAnswer(Answer):
    access_token: str
    token_type: str
    expires_in: int
    scope: str


class TokenRefusedAnswer(Answer):
    """RFC 6749, section 5.2."""

    error: str
    error_description: str


class SigningKeysAnswer(Answer):
    keys: list[dict[str, Any]]


class OAuthAnswer(Answer):
    """RFC 8414."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    scopes_supported: list[str]


class HealthAnswer(Answer):
    status: str


class ReadyAnswer(HealthAnswer):
    sqlConfinement: list[str] = Field(description="what the system does to hold users' SQL in")
