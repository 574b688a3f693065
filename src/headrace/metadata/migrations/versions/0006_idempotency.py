"""The names that clients give to what they send, so that sending it again has no second effect."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("idempotency_key", sa.String()))
    op.add_column("jobs", sa.Column("execute_key", sa.String()))
    op.create_index("jobs_by_idempotency_key", "jobs", ["pool_id", "idempotency_key"], unique=True)
    op.add_column("chunks", sa.Column("idempotency_key", sa.String()))
    op.create_index("chunks_by_idempotency_key", "chunks", ["job_id", "idempotency_key"], unique=True)


def downgrade() -> None:
    op.drop_index("chunks_by_idempotency_key", "chunks")
    op.drop_column("chunks", "idempotency_key")
    op.drop_index("jobs_by_idempotency_key", "jobs")
    op.drop_column("jobs", "execute_key")
    op.drop_column("jobs", "idempotency_key")
