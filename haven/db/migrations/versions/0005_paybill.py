"""Money paid to the paybill: its addresses, what finds a lease for it, and the runs that compare M-Pesa's list."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NEW_TABLES = ("mpesa_c2b_address", "reconciliation_run")
CURRENT = "(SELECT nullif(current_setting('haven.agency_id', true), '')::uuid)"

FOLDED = "translate(upper(regexp_replace({0}, '[^A-Za-z0-9]', '', 'g')), 'OI', '01')"
COMPUTED = (
    ("unit", "account_key", sa.Text(), FOLDED.format("payment_reference"), False),
    (
        "tenant",
        "phone_hash",
        postgresql.BYTEA(),
        "sha256(decode(regexp_replace(phone, '[^0-9]', '', 'g'), 'escape'))",
        True,
    ),
    ("tenant", "phone_ending", sa.Text(), "right(phone, 3)", True),
    (
        "unmatched_receipt",
        "account_keys",
        postgresql.ARRAY(sa.Text()),
        "array_append(regexp_split_to_array(translate(upper(account_typed), 'OI', '01'), '[^A-Z0-9]+'), "
        + FOLDED.format("account_typed")
        + ")",
        False,
    ),
)
INDEXES = (
    ("unit_agency_id_account_key_idx", "unit", ["agency_id", "account_key"]),
    ("tenant_agency_id_phone_hash_idx", "tenant", ["agency_id", "phone_hash"]),
    ("tenant_agency_id_phone_ending_idx", "tenant", ["agency_id", "phone_ending"]),
    ("mpesa_attempt_agency_id_created_at_idx", "mpesa_attempt", ["agency_id", "created_at"]),
)
PLAIN = (
    ("payer_name", sa.Text()),
    ("payer_phone", sa.Text()),
    ("payer_hash", postgresql.BYTEA()),
)


def upgrade() -> None:
    op.add_column(
        "agency",
        sa.Column("c2b_reject_unknown_accounts", sa.Boolean(), server_default="false", nullable=False),
    )
    for table, column, kind, expression, nullable in COMPUTED:
        op.add_column(
            table, sa.Column(column, kind, sa.Computed(expression, persisted=True), nullable=nullable)
        )
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)
    for column, kind in PLAIN:
        op.add_column("unmatched_receipt", sa.Column(column, kind, nullable=True))
    op.add_column("unmatched_receipt", sa.Column("source", sa.Text(), server_default="C2B", nullable=False))
    op.create_check_constraint(
        op.f("unmatched_receipt_source_check"), "unmatched_receipt", "source IN ('C2B', 'PULL')"
    )
    _create_addresses()
    _create_runs()
    for table in NEW_TABLES:
        op.execute(
            f"CREATE POLICY tenant ON {table} USING (agency_id = {CURRENT}) WITH CHECK (agency_id = {CURRENT})"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    op.drop_constraint(op.f("unmatched_receipt_source_check"), "unmatched_receipt", type_="check")
    op.drop_column("unmatched_receipt", "source")
    for column, _ in reversed(PLAIN):
        op.drop_column("unmatched_receipt", column)
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)
    for table, column, *_ in reversed(COMPUTED):
        op.drop_column(table, column)
    op.drop_column("agency", "c2b_reject_unknown_accounts")


def _create_addresses() -> None:
    states = "'REGISTERED', 'ALREADY_REGISTERED', 'REFUSED', 'UNKNOWN'"
    op.create_table(
        "mpesa_c2b_address",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shortcode", sa.Text(), nullable=True),
        sa.Column("token_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("state", sa.Text(), server_default="SENDING", nullable=False),
        sa.Column("pull_state", sa.Text(), server_default="NOT_ASKED", nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(f"state IN ('SENDING', {states})", name=op.f("mpesa_c2b_address_state_check")),
        sa.CheckConstraint(
            f"pull_state IN ('NOT_ASKED', {states})", name=op.f("mpesa_c2b_address_pull_state_check")
        ),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("mpesa_c2b_address_agency_id_fkey")),
        sa.PrimaryKeyConstraint("agency_id", "id", name=op.f("mpesa_c2b_address_pkey")),
        sa.UniqueConstraint(
            "agency_id", "token_hash", name=op.f("mpesa_c2b_address_agency_id_token_hash_key")
        ),
        postgresql.ExcludeConstraint(
            (sa.column("shortcode"), "="),
            (sa.column("agency_id"), "<>"),
            using="gist",
            name="mpesa_c2b_address_one_agency",
        ),
    )
    op.create_index("mpesa_c2b_address_agency_id_state_idx", "mpesa_c2b_address", ["agency_id", "state"])


def _create_runs() -> None:
    counts = ("checked", "settled", "mismatched", "unanswered")
    op.create_table(
        "reconciliation_run",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="RUNNING", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in counts),
        sa.Column("mismatches", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('RECENT', 'NIGHTLY')", name=op.f("reconciliation_run_kind_check")),
        sa.CheckConstraint(
            "status IN ('RUNNING', 'DONE', 'FAILED')", name=op.f("reconciliation_run_status_check")
        ),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("reconciliation_run_agency_id_fkey")),
        sa.PrimaryKeyConstraint("agency_id", "id", name=op.f("reconciliation_run_pkey")),
    )
    op.create_index(
        "reconciliation_run_agency_id_kind_created_at_idx",
        "reconciliation_run",
        ["agency_id", "kind", "created_at"],
    )
