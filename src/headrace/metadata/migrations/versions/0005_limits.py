"""Submissions are counted, and pools take turns."""

import sqlalchemy as sa
from alembic import op

from headrace.metadata.dialects import Whole

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    submissions = op.create_table(
        "submissions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("second", Whole, nullable=False),
        sa.Column("in_second", sa.Integer(), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("in_hour", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(submissions, [{"id": 1, "second": 0, "in_second": 0, "hour": 0, "in_hour": 0}])
    op.drop_index("jobs_by_status", table_name="jobs")
    op.create_index("jobs_by_status", "jobs", ["status", "pool_id", "queue_number"], unique=False)
    op.create_index("jobs_by_number", "jobs", ["queue_number"], unique=False)
    op.create_index("jobs_by_turn", "jobs", ["pool_id", "last_ping"], unique=False)


def downgrade() -> None:
    op.drop_index("jobs_by_turn", table_name="jobs")
    op.drop_index("jobs_by_number", table_name="jobs")
    op.drop_index("jobs_by_status", table_name="jobs")
    op.create_index("jobs_by_status", "jobs", ["status", "queue_number"], unique=False)
    op.drop_table("submissions")
