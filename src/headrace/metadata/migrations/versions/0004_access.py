"""Identities that can be rotated and disabled, the installation and its signing keys, the audit."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from headrace.metadata.dialects import Whole

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# the book is append-only for the server's own code, too; a dialect that is added needs its own two
APPEND_ONLY = {
    "sqlite": (
        """
        CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
        """,
        """
        CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
        WHEN OLD.kept_until > strftime('%Y-%m-%d %H:%M:%f', 'now')
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only until its rows are old enough'); END
        """,
    ),
    "postgresql": (
        """
        CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'the audit is append-only'; END $$
        """,
        """
        CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
        FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()
        """,
        """
        CREATE TRIGGER audit_is_never_emptied BEFORE TRUNCATE ON audit
        EXECUTE FUNCTION audit_is_append_only()
        """,
        """
        CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
        FOR EACH ROW WHEN (OLD.kept_until > now() AT TIME ZONE 'UTC')
        EXECUTE FUNCTION audit_is_append_only()
        """,
    ),
}


def upgrade() -> None:
    _identities()
    op.create_table(
        "installation", sa.Column("id", sa.String(), nullable=False), sa.PrimaryKeyConstraint("id")
    )
    op.execute(sa.text("INSERT INTO installation (id) VALUES (:id)").bindparams(id=str(uuid4())))
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("private", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("longest_token_s", sa.Integer(), nullable=False),
        sa.Column("retired_at", sa.DateTime(), nullable=True),
        sa.Column("verifies_until", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("kid"),
    )
    _audit()


def _identities() -> None:
    op.add_column("keys", sa.Column("disabled_at", sa.DateTime(), nullable=True))
    op.add_column("keys", sa.Column("tables", sa.JSON(), nullable=True))
    op.add_column("keys", sa.Column("last_used_at", sa.DateTime(), nullable=True))
    op.add_column("keys", sa.Column("previous_hash", sa.String(), nullable=True))
    op.add_column("keys", sa.Column("previous_until", sa.DateTime(), nullable=True))
    op.add_column("keys", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("keys_by_previous_hash", "keys", ["previous_hash"], unique=False)


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", Whole, autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("kept_until", sa.DateTime(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=True),
        sa.Column("actor_name", sa.String(), nullable=True),
        sa.Column("peer", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("pool_id", sa.String(), nullable=True),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_keeping", "audit", ["kept_until"], unique=False)
    for trigger in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(trigger)


def downgrade() -> None:
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_append_only")
    op.drop_table("signing_keys")
    op.drop_table("installation")
    op.drop_index("keys_by_previous_hash", table_name="keys")
    for name in ("generation", "previous_until", "previous_hash", "last_used_at", "tables", "disabled_at"):
        op.drop_column("keys", name)
