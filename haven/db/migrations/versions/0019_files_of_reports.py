"""Files of reports lie in the storage; delivery reports of SMS.

Reports whose file was in the database are made anew, under their ids: so no megabytes go through a migration, which may run where the storage is not seen. Whoever was told of a report is not told
again. The way down is the same: what lies in the storage would not be found there.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

CURRENT = "(SELECT nullif(current_setting('haven.agency_id', true), '')::uuid)"
_OF_FILES = sa.text("kind IN ('export', 'report')")


def upgrade() -> None:
    _make_again()
    op.drop_table("report_file")
    for column in ("content_type", "sha256"):
        op.drop_column("report", column)
    op.create_index("job_files_idx", "job", ["agency_id", "id"], postgresql_where=_OF_FILES)
    _hear_of_sms()


def downgrade() -> None:
    op.drop_table("sms_handover")
    op.drop_column("notification", "delivered_at")
    op.drop_index("job_files_idx", "job")
    op.add_column("report", sa.Column("content_type", sa.Text(), nullable=True))
    op.add_column("report", sa.Column("sha256", postgresql.BYTEA(), nullable=True))
    op.create_table(
        "report_file",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("content", postgresql.BYTEA(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("report_file_agency_id_fkey")),
        sa.ForeignKeyConstraint(
            ["agency_id", "id"],
            ["report.agency_id", "report.id"],
            name=op.f("report_file_agency_id_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("agency_id", "id", name=op.f("report_file_pkey")),
    )
    op.execute(
        f"CREATE POLICY tenant ON report_file USING (agency_id = {CURRENT}) WITH CHECK (agency_id = {CURRENT})"
    )
    op.execute("ALTER TABLE report_file ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE report_file FORCE ROW LEVEL SECURITY")
    _make_again()


def _hear_of_sms() -> None:
    op.add_column("notification", sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "sms_handover",
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agency_id", "notification_id"],
            ["notification.agency_id", "notification.id"],
            name=op.f("sms_handover_agency_id_notification_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("provider_id", name=op.f("sms_handover_pkey")),
    )
    op.create_index(
        op.f("sms_handover_agency_id_notification_id_idx"), "sms_handover", ["agency_id", "notification_id"]
    )
    # Whoever names an id may learn whose message it is: a report comes before the agency is known.
    named = "provider_id = (SELECT current_setting('haven.sms_id', true))"
    op.execute(
        f"CREATE POLICY tenant ON sms_handover USING (agency_id = {CURRENT} OR {named}) WITH CHECK (agency_id = {CURRENT})"
    )
    op.execute("ALTER TABLE sms_handover ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE sms_handover FORCE ROW LEVEL SECURITY")


def _make_again() -> None:
    """Let the jobs of the reports that are still kept run once more; the clock finds them."""
    # The wall holds for the tables' owner, too: it is opened for this transaction alone.
    for table in ("report", "job"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE job SET status = 'QUEUED', attempts = 0, cancel_requested = false, unique_key = NULL, result = NULL,"
        " error = NULL, finished_at = NULL, enqueued_at = NULL, lease_until = NULL, run_after = now()"
        " FROM report WHERE report.agency_id = job.agency_id AND report.job_id = job.id"
        " AND job.status = 'SUCCEEDED' AND report.expires_at > now()"
    )
    op.execute(
        "UPDATE report SET finished_at = NULL, expires_at = NULL, generation = NULL, figures = NULL, rows = NULL,"
        " filename = NULL, size_bytes = NULL FROM job"
        " WHERE report.agency_id = job.agency_id AND report.job_id = job.id AND job.status = 'QUEUED'"
    )
    for table in ("report", "job"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
