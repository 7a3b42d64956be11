"""What people are told about payments, behind the tenant wall."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CURRENT = "(SELECT nullif(current_setting('haven.agency_id', true), '')::uuid)"


def upgrade() -> None:
    op.create_table(
        "notification",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="QUEUED", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('PAYMENT_COMPLETED', 'PAYMENT_FAILED', 'PAYMENT_NEEDS_REVIEW')",
            name=op.f("notification_kind_check"),
        ),
        sa.CheckConstraint("channel IN ('EMAIL', 'SMS')", name=op.f("notification_channel_check")),
        sa.CheckConstraint("status IN ('QUEUED', 'SENT', 'FAILED')", name=op.f("notification_status_check")),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("notification_agency_id_fkey")),
        sa.ForeignKeyConstraint(
            ["agency_id", "payment_id"],
            ["payment.agency_id", "payment.id"],
            name=op.f("notification_agency_id_payment_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("agency_id", "id", name=op.f("notification_pkey")),
        sa.UniqueConstraint(
            "agency_id", "payment_id", "kind", "channel", "recipient", name="notification_once_key"
        ),
    )
    op.create_index(
        "notification_waiting_idx",
        "notification",
        ["agency_id", "payment_id"],
        postgresql_where=sa.text("status = 'QUEUED'"),
    )
    op.execute(
        f"CREATE POLICY tenant ON notification USING (agency_id = {CURRENT}) WITH CHECK (agency_id = {CURRENT})"
    )
    op.execute("ALTER TABLE notification ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE notification FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.drop_table("notification")
