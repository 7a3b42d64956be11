"""Why and when an invoice was voided, and the index of three foreign keys that had none."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = (
    ("mpesa_evidence_agency_id_attempt_id_idx", "mpesa_evidence", "attempt_id"),
    ("unmatched_receipt_agency_id_inbox_id_idx", "unmatched_receipt", "inbox_id"),
    ("unmatched_receipt_agency_id_payment_id_idx", "unmatched_receipt", "payment_id"),
)


def upgrade() -> None:
    op.add_column("invoice", sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("invoice", sa.Column("void_reason", sa.Text(), nullable=True))
    for name, table, column in INDEXES:
        op.create_index(name, table, ["agency_id", column])


def downgrade() -> None:
    for name, table, _ in INDEXES:
        op.drop_index(name, table)
    op.drop_column("invoice", "void_reason")
    op.drop_column("invoice", "voided_at")
