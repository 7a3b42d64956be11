"""Notifications of anything, not of payments alone; what people want to hear, in which language; webhooks' comfort."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KINDS = (
    "'PAYMENT_COMPLETED', 'PAYMENT_FAILED', 'PAYMENT_NEEDS_REVIEW', 'INVOICE_ISSUED', 'RENT_DUE', 'RENT_OVERDUE',"
    " 'EXPORT_READY', 'REPORT_READY', 'WEBHOOK_DISABLED'"
)
OLD_KINDS = "'PAYMENT_COMPLETED', 'PAYMENT_FAILED', 'PAYMENT_NEEDS_REVIEW'"


def upgrade() -> None:
    _widen_notification()
    op.add_column("tenant", sa.Column("language", sa.Text(), nullable=True))
    op.add_column("tenant", sa.Column("opt_outs", ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.create_check_constraint(op.f("tenant_language_check"), "tenant", "language IN ('en', 'sw')")
    op.add_column("agency", sa.Column("language", sa.Text(), server_default="en", nullable=False))
    op.create_check_constraint(op.f("agency_language_check"), "agency", "language IN ('en', 'sw')")
    op.add_column(
        "agency", sa.Column("notify_invoices", sa.Boolean(), server_default="false", nullable=False)
    )
    for name in ("reminders_before_due", "reminders_after_due"):
        op.add_column("agency", sa.Column(name, ARRAY(sa.Integer()), server_default="{}", nullable=False))
    op.add_column("webhook_endpoint", sa.Column("old_secret", BYTEA(), nullable=True))
    for name in ("old_secret_until", "failing_since", "disabled_at"):
        op.add_column("webhook_endpoint", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    _audit_webhooks("secret", "old_secret")


def downgrade() -> None:
    _audit_webhooks("secret")
    for name in ("disabled_at", "failing_since", "old_secret_until", "old_secret"):
        op.drop_column("webhook_endpoint", name)
    for name in ("reminders_after_due", "reminders_before_due", "notify_invoices", "language"):
        op.drop_column("agency", name)
    op.drop_column("tenant", "opt_outs")
    op.drop_column("tenant", "language")
    _narrow_notification()


def _audit_webhooks(*hidden: str) -> None:
    """Write changes of webhooks to the trail, but for the values of ``hidden`` columns."""
    arguments = ", ".join(f"'{column}'" for column in hidden)
    op.execute("DROP TRIGGER audit ON webhook_endpoint")
    op.execute(
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON webhook_endpoint"
        f" FOR EACH ROW EXECUTE FUNCTION haven_audit({arguments})"
    )


def _widen_notification() -> None:
    op.drop_index("notification_waiting_idx", "notification")
    op.drop_constraint("notification_once_key", "notification")
    op.drop_constraint("notification_agency_id_payment_id_fkey", "notification")
    op.drop_constraint("notification_kind_check", "notification")
    op.drop_constraint("notification_status_check", "notification")
    op.alter_column("notification", "payment_id", new_column_name="about_id")
    op.add_column("notification", sa.Column("occasion", sa.Text(), server_default="", nullable=False))
    op.add_column("notification", sa.Column("tenant_id", sa.Uuid(), nullable=True))
    op.add_column("notification", sa.Column("job_id", sa.Uuid(), nullable=True))
    op.add_column("notification", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("notification", sa.Column("segments", sa.Integer(), nullable=True))
    op.add_column("notification", sa.Column("provider_id", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("notification_kind_check"), "notification", f"kind IN ({KINDS})")
    op.create_check_constraint(
        op.f("notification_status_check"),
        "notification",
        "status IN ('QUEUED', 'SENDING', 'SENT', 'FAILED', 'UNKNOWN')",
    )
    op.create_foreign_key(
        op.f("notification_agency_id_tenant_id_fkey"),
        "notification",
        "tenant",
        ["agency_id", "tenant_id"],
        ["agency_id", "id"],
    )
    op.create_unique_constraint(
        "notification_once_key",
        "notification",
        ["agency_id", "about_id", "kind", "occasion", "channel", "recipient"],
    )
    op.create_index(
        "notification_agency_id_tenant_id_id_idx", "notification", ["agency_id", "tenant_id", "id"]
    )
    op.create_index("notification_agency_id_status_id_idx", "notification", ["agency_id", "status", "id"])
    op.create_index("notification_agency_id_kind_id_idx", "notification", ["agency_id", "kind", "id"])
    op.create_index(
        "notification_waiting_idx",
        "notification",
        ["agency_id", "about_id"],
        postgresql_where=sa.text("status IN ('QUEUED', 'SENDING')"),
    )


def _narrow_notification() -> None:
    # What is not about a payment has no place in the narrower table.
    op.execute(f"DELETE FROM notification WHERE kind NOT IN ({OLD_KINDS})")  # noqa: S608  constants of this file
    op.execute(
        "UPDATE notification SET status = CASE status WHEN 'SENDING' THEN 'QUEUED' ELSE 'FAILED' END"
        " WHERE status IN ('SENDING', 'UNKNOWN')"
    )
    for name in ("waiting", "agency_id_kind_id", "agency_id_status_id", "agency_id_tenant_id_id"):
        op.drop_index(f"notification_{name}_idx", "notification")
    op.drop_constraint("notification_once_key", "notification")
    op.drop_constraint("notification_agency_id_tenant_id_fkey", "notification")
    op.drop_constraint("notification_status_check", "notification")
    op.drop_constraint("notification_kind_check", "notification")
    for name in ("provider_id", "segments", "claimed_at", "job_id", "tenant_id", "occasion"):
        op.drop_column("notification", name)
    op.alter_column("notification", "about_id", new_column_name="payment_id")
    op.create_check_constraint(op.f("notification_kind_check"), "notification", f"kind IN ({OLD_KINDS})")
    op.create_check_constraint(
        op.f("notification_status_check"), "notification", "status IN ('QUEUED', 'SENT', 'FAILED')"
    )
    op.create_foreign_key(
        op.f("notification_agency_id_payment_id_fkey"),
        "notification",
        "payment",
        ["agency_id", "payment_id"],
        ["agency_id", "id"],
    )
    op.create_unique_constraint(
        "notification_once_key",
        "notification",
        ["agency_id", "payment_id", "kind", "channel", "recipient"],
    )
    op.create_index(
        "notification_waiting_idx",
        "notification",
        ["agency_id", "payment_id"],
        postgresql_where=sa.text("status = 'QUEUED'"),
    )
