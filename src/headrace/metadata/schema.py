"""The tables of the metadata. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    and_,
    not_,
)
from sqlalchemy.engine import Dialect

from headrace.metadata.dialects import Text, Whole
from headrace.model import JobStatus

metadata = MetaData()

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Before all times of ours: what is later is not NULL, and an index finds it."""


class Instant(TypeDecorator[datetime]):
    """A point in time: aware in Python, UTC in the database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


pools = Table(
    "pools",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("attributes", JSON, nullable=False),
)

connections = Table(
    "connections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pool_id", Text, ForeignKey("pools.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("attributes", JSON, nullable=False),
    Index("connections_of_pool", "pool_id"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("permissions", JSON, nullable=False),
    Column("pool_ids", JSON),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("disabled_at", Instant),
    Column("tables", JSON),
    Column("last_used_at", Instant),
    Column("previous_hash", Text),
    Column("previous_until", Instant),
    Column("generation", Integer, nullable=False, server_default="0"),
    Index("keys_by_previous_hash", "previous_hash"),
)

installation = Table(
    "installation",
    metadata,
    Column("id", Text, primary_key=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("private", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("longest_token_s", Integer, nullable=False),
    Column("retired_at", Instant),
    Column("verifies_until", Instant),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Whole, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("kept_until", Instant, nullable=False),
    Column("actor_id", Text),
    Column("actor_name", Text),
    Column("peer", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", Text),
    Column("pool_id", Text),
    Column("job_id", Text),
    Column("subject", Text),
    Column("request_id", Text, nullable=False),
    Column("times", Integer, nullable=False),
    Index("audit_by_keeping", "kept_until"),
    sqlite_autoincrement=True,  # a number is never given twice
)
"""Append-only: its migration makes triggers that refuse changes, and deletions before ``kept_until``."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pool_id", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text),
    Column("modified_at", Instant, nullable=False),
    Column("order_column", Text),
    Column("queue_number", Integer),
    Column("fence", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Instant),
    Column("last_ping", Instant),
    Column("change_date", Instant),
    Column("queued_at", Instant),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("deleted_at", Instant),
    Column("counts", JSON),
    Column("error_code", Text),
    Column("replayed_by", Text),
    Column("phases_ms", JSON, nullable=False),
    Column("logs", JSON, nullable=False),
    Column("idempotency_key", Text),
    Column("execute_key", Text),
    Column("undo_began_at", Instant),
    Column("undone_at", Instant),
    Column("undo_key", Text),
    Column("cancel_asked_at", Instant),
    Column("retried_by", Text),
    Column("chunks_until", Instant),
    Index("jobs_being_undone", "undo_began_at"),
    Index("jobs_by_end", "finished_at", "id"),
    Index("jobs_of_pool", "pool_id", "created_at"),
    Index("jobs_by_idempotency_key", "pool_id", "idempotency_key", unique=True),
    Index("jobs_by_status", "status", "pool_id", "queue_number"),
    Index("jobs_by_number", "queue_number"),
    Index("jobs_by_turn", "pool_id", "last_ping"),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("bytes", Whole, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("file_type", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("state", Text, nullable=False),
    Column("report", JSON),
    Column("problem", Text),
    Column("staging_ms", Integer),
    Column("idempotency_key", Text),
    Column("stored_sha256", Text),
    Index("chunks_by_idempotency_key", "job_id", "idempotency_key", unique=True),
    Index("chunks_of_job", "job_id", "number", unique=True),
    Index("chunks_by_state", "state"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("file_type", Text),
    Column("packed", Boolean, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("unchecked_from", BigInteger),
    Column("finished_at", Instant),
    Column("idempotency_key", Text),
    Index("uploads_by_idempotency_key", "job_id", "idempotency_key", unique=True),
    Index("uploads_of_pool", "pool_id", "finished_at"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("second", Whole, nullable=False),
    Column("in_second", Integer, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("in_hour", Integer, nullable=False),
)
"""One row: what was executed in the last second and in the last hour in which anything was."""

may_still_run = and_(
    jobs.c.status.in_((JobStatus.NEW, JobStatus.QUEUED, JobStatus.RUNNING)),
    not_(and_(jobs.c.status == JobStatus.NEW, jobs.c.deleted_at.is_not(None))),
)
"""Jobs that may still need their chunks for themselves."""
