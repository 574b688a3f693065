"""Jobs are undone, cancelled and run again."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_COLUMNS: dict[str, Any] = {
    "undo_began_at": sa.DateTime(),
    "undone_at": sa.DateTime(),
    "undo_key": sa.String(),
    "cancel_asked_at": sa.DateTime(),
    "retried_by": sa.String(),
    "chunks_until": sa.DateTime(),
}


def upgrade() -> None:
    for name, type in _COLUMNS.items():
        op.add_column("jobs", sa.Column(name, type))
    op.create_index("jobs_being_undone", "jobs", ["undo_began_at"], unique=False)


def downgrade() -> None:
    op.drop_index("jobs_being_undone", table_name="jobs")
    for name in reversed(_COLUMNS):
        op.drop_column("jobs", name)
