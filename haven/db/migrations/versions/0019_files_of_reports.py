"""Files of reports lie in the storage, as exports' do: reports whose file was in the database are made anew, under their ids.

So no megabytes go through a migration, which may run where the storage is not seen. Whoever was told of a report is not told
again. The way down is the same: what lies in the storage would not be found there.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0016"
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


def downgrade() -> None:
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
