"""Indexes that hold all that the dashboard adds up, and those by which recent events are found."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Name, table, key, what is included, condition.
INDEXES = (
    (
        "invoice_issued_idx",
        "invoice",
        ["issued_at", "id"],
        ["lease_id", "status", "total", "credited"],
        "issued_at IS NOT NULL",
    ),
    (
        "invoice_due_idx",
        "invoice",
        ["due_at"],
        ["lease_id", "total", "credited", "paid"],
        "status NOT IN ('DRAFT', 'VOID')",
    ),
    (
        "invoice_owed_idx",
        "invoice",
        ["due_at"],
        ["lease_id", "issued_at", "balance"],
        "status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE')",
    ),
    ("invoice_voided_idx", "invoice", ["voided_at", "id"], [], "voided_at IS NOT NULL"),
    (
        "payment_received_idx",
        "payment",
        ["paid_at"],
        ["lease_id", "amount"],
        "status = 'COMPLETED' AND method <> 'DEPOSIT'",
    ),
    ("payment_reversed_idx", "payment", ["reversed_at", "id"], [], "reversed_at IS NOT NULL"),
    ("lease_in_force_idx", "lease", ["end_date", "start_date"], ["unit_id"], "status <> 'DRAFT'"),
    ("lease_activated_idx", "lease", ["activated_at", "id"], [], "activated_at IS NOT NULL"),
    ("lease_terminated_idx", "lease", ["terminated_at", "id"], [], "terminated_at IS NOT NULL"),
)
CREDIT = "payment_credit_idx"


def upgrade() -> None:
    for name, table, key, included, condition in INDEXES:
        op.create_index(
            name, table, ["agency_id", *key], postgresql_include=included, postgresql_where=sa.text(condition)
        )
    _credit(["unallocated", "paid_at"])


def downgrade() -> None:
    _credit([])
    for name, table, *_ in reversed(INDEXES):
        op.drop_index(name, table)


def _credit(included: list[str]) -> None:
    op.drop_index(CREDIT, "payment")
    op.create_index(
        CREDIT,
        "payment",
        ["agency_id", "lease_id"],
        postgresql_include=included,
        postgresql_where=sa.text("unallocated > 0"),
    )
