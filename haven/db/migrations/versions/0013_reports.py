"""Reports and their files, behind the tenant wall; what a schedule's reports are of, and how the last one went."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

CURRENT = "(SELECT nullif(current_setting('haven.agency_id', true), '')::uuid)"


def upgrade() -> None:
    op.create_table(
        "report",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("filters", postgresql.JSONB(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("figures", postgresql.JSONB(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.Integer(), nullable=True),
        sa.Column("sha256", postgresql.BYTEA(), nullable=True),
        sa.CheckConstraint("format IN ('json', 'xlsx', 'pdf')", name=op.f("report_format_check")),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("report_agency_id_fkey")),
        sa.ForeignKeyConstraint(
            ["agency_id", "job_id"],
            ["job.agency_id", "job.id"],
            name=op.f("report_agency_id_job_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("agency_id", "id", name=op.f("report_pkey")),
    )
    for columns in (["job_id"], ["kind", "id"], ["key", "id"], ["schedule_id", "id"], ["expires_at"]):
        name = f"report_agency_id_{'_'.join(columns)}_idx"
        op.create_index(op.f(name), "report", ["agency_id", *columns])
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
    for table in ("report", "report_file"):
        op.execute(
            f"CREATE POLICY tenant ON {table} USING (agency_id = {CURRENT}) WITH CHECK (agency_id = {CURRENT})"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.add_column(
        "report_schedule", sa.Column("period", sa.Text(), server_default="LAST_MONTH", nullable=False)
    )
    op.create_check_constraint(
        op.f("report_schedule_period_check"),
        "report_schedule",
        "period IN ('YESTERDAY', 'LAST_WEEK', 'LAST_MONTH', 'THIS_MONTH')",
    )
    op.add_column("report_schedule", sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("report_schedule", sa.Column("last_report_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    for column in ("last_report_id", "last_run_at", "period"):
        op.drop_column("report_schedule", column)
    op.drop_table("report_file")
    op.drop_table("report")
