"""Jobs are found by when they ended, to be forgotten one day."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_index("jobs_by_end", "jobs", ["finished_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("jobs_by_end", table_name="jobs")
