"""Every error that a person or a client can meet, and nothing else.

The tree::

    HeadraceError
    ├── InvalidRequest            400  a field of the request is wrong
    │   ├── JobLocked             400  a chunk came to a job that is no longer NEW
    │   ├── ChunkUnreadable       400  the bytes of a chunk are not what the job says
    │   └── QueryRefused          400  the SQL is not one SELECT over the pool's tables
    ├── TokenRefused              400  POST /oauth2/token: the request is not one (RFC 6749)
    │   ├── InvalidClient         401  an unknown client, or the wrong secret
    │   ├── UnsupportedGrantType  400  another grant than client_credentials
    │   └── InvalidScope          400  a scope that is not known, or that the client may not have
    ├── Unauthorized              401  no key, or not one of ours
    ├── Forbidden                 403  a good key without this permission
    ├── NotFound                  404
    ├── MethodNotAllowed          405
    ├── Conflict                  409  the thing exists or has moved on
    │   ├── JobNotNew             409  execute or correct a job that is not NEW
    │   ├── QueryCancelled        409  somebody called the query off
    │   ├── NotReplayable         409  the rejects of a job cannot be sent again, or were already
    │   ├── NotUndoable           409  a job that is not the last of its tables, or was undone
    │   ├── NotCancellable        409  a job that has ended, or was never executed
    │   └── NotRetryable          409  a job that did not fail, or whose chunks are gone
    ├── UnknownTus                412  another version of the protocol of resumable uploads
    ├── TooLarge                  413
    ├── WrongMediaType            415  what is no part of an upload
    ├── QueryTooLong              422  the SQL ran into its time or memory limit
    ├── TooSlow                   408  the request stood still
    ├── UploadLocked              423  another part of the upload is on its way
    ├── TooManySubmissions        429  more jobs were executed than the team may
    ├── HeadersTooLarge           431
    ├── ChecksumMismatch          460  a part of an upload came damaged (tus 1.0)
    ├── Overloaded                503  a queue is full
    ├── KeyReused                 422  an Idempotency-Key that stands for something else
    ├── Busy                      503  another process holds the catalog of the pool
    ├── StillStaging              503  chunks of the job are not staged yet
    ├── DiskFailed                500  the disk does not write, or not read
    ├── TableDamaged              500  the disk has changed what a table needs
    ├── Draining                  503  the server is going down; try the next one, or again
    ├── DiskFull                  507
    ├── PoolFull                  507  the pool is above its quota
    ├── Internal                  500  a fault of ours; the log has it under the reference
    └── LoadFailed                     a job ends in ERROR; never an HTTP answer
        ├── TooHungry                  it needs more than load_memory_mb
        ├── ChunkFailed                one chunk could not be staged
        ├── RowsRejected               more bad rows than the job allows
        ├── SchemaMismatch             the push does not fit the table
        └── Cancelled                  a client called the job off

The class says the status, the ``code`` that never changes and whether the same request may be sent
again; the docstring is the default sentence. ``docs/errors.md`` lists them all and a test holds it
to that. Where they are known, ``where`` says which chunk, line and column, and ``hint`` the likely fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class HeadraceError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retry: ClassVar[bool] = False

    retry_after: int | None = None
    """Seconds after which it makes sense to try again; sent as ``Retry-After``."""

    def __init__(
        self,
        message: str | None = None,
        *,
        attribute: str | None = None,
        where: dict[str, int | str] | None = None,
        hint: str | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.attribute = attribute
        self.where = where
        self.hint = hint
        super().__init__(self.message)


class InvalidRequest(HeadraceError):
    """The request is not valid."""

    code = "invalid-request"
    status = 400


class JobLocked(InvalidRequest):
    """The job is locked: it takes chunks only while it is NEW."""

    code = "job-locked"


class ChunkUnreadable(InvalidRequest):
    """The chunk is not what the job says it is."""

    code = "chunk-unreadable"


class QueryRefused(InvalidRequest):
    """Only one SELECT over the tables of this pool is allowed."""

    code = "query-refused"


class TokenRefused(HeadraceError):
    """The request for a token is not valid."""

    code = "invalid_request"
    status = 400


class InvalidClient(TokenRefused):
    """The client is not known, or its secret is wrong."""

    code = "invalid_client"
    status = 401


class UnsupportedGrantType(TokenRefused):
    """The grant must be client_credentials."""

    code = "unsupported_grant_type"


class InvalidScope(TokenRefused):
    """The scope is not known, or not this client's."""

    code = "invalid_scope"


class Unauthorized(HeadraceError):
    """Send a key: 'Authorization: AppKey <application key>' or 'Authorization: Bearer <personal key>'."""

    code = "unauthorized"
    status = 401


class Forbidden(HeadraceError):
    """This key may not do that."""

    code = "forbidden"
    status = 403


class NotFound(HeadraceError):
    """There is nothing here."""

    code = "not-found"
    status = 404


class MethodNotAllowed(HeadraceError):
    """This resource does not know that method."""

    code = "method-not-allowed"
    status = 405


class Conflict(HeadraceError):
    """The thing exists already, or has moved on."""

    code = "conflict"
    status = 409


class JobNotNew(Conflict):
    """Only a NEW job can be executed."""

    code = "job-not-new"


class QueryCancelled(Conflict):
    """The query was cancelled."""

    code = "query-cancelled"


class NotReplayable(Conflict):
    """The rejects of this job cannot be replayed."""

    code = "not-replayable"


class NotUndoable(Conflict):
    """This job cannot be undone."""

    code = "not-undoable"


class NotCancellable(Conflict):
    """Only a job that waits or runs can be cancelled."""

    code = "not-cancellable"


class NotRetryable(Conflict):
    """This job cannot be run again."""

    code = "not-retryable"


class TooLarge(HeadraceError):
    """The chunk is larger than this server takes."""

    code = "chunk-too-large"
    status = 413


class UnknownTus(HeadraceError):
    """Resumable uploads are tus 1.0: send the header 'Tus-Resumable: 1.0.0'."""

    code = "tus-version"
    status = 412


class WrongMediaType(HeadraceError):
    """A part of an upload has the Content-Type application/offset+octet-stream."""

    code = "media-type"
    status = 415


class UploadLocked(HeadraceError):
    """Another request is at work on this upload; try again in a moment."""

    code = "upload-locked"
    status = 423
    retry = True
    retry_after = 1


class ChecksumMismatch(HeadraceError):
    """The part has another checksum than the request says; nothing of it was kept."""

    code = "checksum-mismatch"
    status = 460
    retry = True


class QueryTooLong(HeadraceError):
    """The query ran into its limit of time or memory."""

    code = "query-limit"
    status = 422


class TooSlow(HeadraceError):
    """The request came too slowly, or stood still."""

    code = "too-slow"
    status = 408
    retry = True


class TooManySubmissions(HeadraceError):
    """The team has executed as many jobs as it may in this second or hour."""

    code = "too-many-submissions"
    status = 429
    retry = True

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HeadersTooLarge(HeadraceError):
    """The request line and the headers are larger than this server takes."""

    code = "headers-too-large"
    status = 431


class KeyReused(HeadraceError):
    """This Idempotency-Key was sent with another request; take a new one for each request."""

    code = "idempotency-key-reused"
    status = 422


class Internal(HeadraceError):
    """An error of the server. Its log has the details under this reference."""

    code = "internal"
    status = 500
    retry = True


class Overloaded(HeadraceError):
    """The server has as much to do as it takes on at once; try again in a moment."""

    code = "overloaded"
    status = 503
    retry = True
    retry_after = 5


class Busy(HeadraceError):
    """Another process holds the catalog of the pool; try again in a moment."""

    code = "busy"
    status = 503
    retry = True
    retry_after = 1


class DatabaseUnreachable(Busy):
    """The database does not answer; try again in a moment."""

    code = "database-unreachable"
    retry_after = 5


class StorageUnreachable(Busy):
    """The store of objects does not answer; try again in a moment."""

    code = "storage-unreachable"
    retry_after = 5


class StillStaging(HeadraceError):
    """Chunks of the job are still being staged; try again in a moment."""

    code = "still-staging"
    status = 503
    retry = True
    retry_after = 1


class Draining(HeadraceError):
    """The server is going down; send the request again when it is back."""

    code = "draining"
    status = 503
    retry = True
    retry_after = 5


class DiskFull(HeadraceError):
    """The server's disk is nearly full; make room and send the request again."""

    code = "disk-full"
    status = 507
    retry = True


class DiskFailed(HeadraceError):
    """The server's disk fails to write or read; what was asked for was not done."""

    code = "disk-failed"
    status = 500
    retry = True


class TableDamaged(HeadraceError):
    """The disk has changed a file of the table: no row of it can be trusted."""

    code = "table-damaged"
    status = 500


class PoolFull(HeadraceError):
    """The pool has as many bytes as it may."""

    code = "pool-full"
    status = 507


class LoadFailed(HeadraceError):
    """The load failed; the table is as it was before."""

    code = "load-failed"

    def __init__(
        self, message: str | None = None, *, logs: Sequence[str] = (), job_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.logs = tuple(logs) or (self.message,)
        self.job_id = job_id


class TooHungry(LoadFailed):
    """The load needs more memory than load_memory_mb: the table is too wide, or has too many keys."""

    code = "load-memory"


class ChunkFailed(LoadFailed):
    """A chunk could not be read."""

    code = "chunk-failed"


class RowsRejected(LoadFailed):
    """The job has more bad rows than it allows."""

    code = "rows-rejected"


class SchemaMismatch(LoadFailed):
    """The push does not fit the table."""

    code = "schema-mismatch"


class Cancelled(LoadFailed):
    """The job was cancelled before its commit; the table is as it was before."""

    code = "cancelled"


def known_errors(root: type[HeadraceError] = HeadraceError) -> list[type[HeadraceError]]:
    """Every class of the tree but its root, general ones before their kinds."""
    return [known for cls in root.__subclasses__() for known in (cls, *known_errors(cls))]
