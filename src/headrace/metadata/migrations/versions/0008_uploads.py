"""Chunks that come in parts."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("pool_id", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("file_type", sa.String()),
        sa.Column("packed", sa.Boolean(), nullable=False),
        sa.Column("metadata", sa.String(), nullable=False),
        sa.Column("unchecked_from", sa.BigInteger()),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("idempotency_key", sa.String()),
    )
    op.create_index("uploads_by_idempotency_key", "uploads", ["job_id", "idempotency_key"], unique=True)
    op.create_index("uploads_of_pool", "uploads", ["pool_id", "finished_at"])


def downgrade() -> None:
    op.drop_table("uploads")
