"""What the stored bytes of a chunk must be: those that came packed are stored unpacked."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("chunks", sa.Column("stored_sha256", sa.String()))


def downgrade() -> None:
    op.drop_column("chunks", "stored_sha256")
