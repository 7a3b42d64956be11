"""What was sent to be done in bulk, kept until it is done, behind the tenant wall."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

CURRENT = "(SELECT nullif(current_setting('haven.agency_id', true), '')::uuid)"
TABLES = ("bulk_upload", "bulk_piece")


def upgrade() -> None:
    op.create_table(
        "bulk_upload",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("is_dry_run", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("rows_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("report", JSONB(), server_default="{}", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "operation IN ('CREATE', 'UPDATE', 'DELETE')", name=op.f("bulk_upload_operation_check")
        ),
        sa.CheckConstraint("mode IN ('ATOMIC', 'PARTIAL')", name=op.f("bulk_upload_mode_check")),
        sa.CheckConstraint("format IN ('CSV', 'NDJSON', 'JSON')", name=op.f("bulk_upload_format_check")),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("bulk_upload_agency_id_fkey")),
        sa.PrimaryKeyConstraint("agency_id", "id", name=op.f("bulk_upload_pkey")),
    )
    op.create_table(
        "bulk_piece",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", BYTEA(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agency_id", "upload_id"],
            ["bulk_upload.agency_id", "bulk_upload.id"],
            name=op.f("bulk_piece_agency_id_upload_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("agency_id", "upload_id", "number", name=op.f("bulk_piece_pkey")),
    )
    for table in TABLES:
        op.execute(
            f"CREATE POLICY tenant ON {table} USING (agency_id = {CURRENT}) WITH CHECK (agency_id = {CURRENT})"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
