"""Which job got the rejects of another."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("replayed_by", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "replayed_by")
