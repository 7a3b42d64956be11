"""Late fees, credit notes, deposits given back, what is collected for owners and paid to them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OWNED = ("credit_note", "credit_note_line", "disbursement", "owner_share")
APPEND_ONLY = ("credit_note", "credit_note_line")
AUDITED = ("credit_note", "disbursement")
CURRENT = "(SELECT nullif(current_setting('haven.agency_id', true), '')::uuid)"

TRANSACTION_KINDS = "INVOICE INVOICE_VOID PAYMENT REVERSAL CREDIT_APPLIED UNMATCHED MATCHED PAYOUT".split()
NEW_TRANSACTION_KINDS = "CREDIT_NOTE COLLECTED MANAGEMENT_FEE DEPOSIT_REFUND EXPENSE".split()
METHODS = "MPESA CASH BANK CARD CHEQUE".split()
MONEY = sa.Numeric(14, 2)
INSTANT = sa.DateTime(timezone=True)

INDEXES = (
    ("credit_note", "invoice_id", "id"),
    ("credit_note", "lease_id", "id"),
    ("credit_note", "tenant_id", "id"),
    ("credit_note", "issued_at", "id"),
    ("credit_note", "amount", "id"),
    ("credit_note_line", "invoice_id", "kind"),
    ("disbursement", "lease_id", "id"),
    ("disbursement", "owner_id", "id"),
    ("disbursement", "kind", "id"),
    ("disbursement", "status", "id"),
    ("disbursement", "paid_at", "id"),
    ("disbursement", "amount", "id"),
    ("owner_share", "owner_id", "id"),
    ("ledger_transaction", "kind", "id"),
    ("ledger_transaction", "disbursement_id"),
    ("ledger_account", "kind", "id"),
)


def upgrade() -> None:
    _invoices()
    _checks(
        ("INVOICE", "RECEIPT", "CREDIT_NOTE"),
        TRANSACTION_KINDS + NEW_TRANSACTION_KINDS,
        [*METHODS, "DEPOSIT"],
    )
    _credit_notes()
    _disbursements()
    _owner_shares()
    for table, *columns in INDEXES:
        op.create_index(_index(table, columns), table, ["agency_id", *columns])
    op.create_index(
        "invoice_line_deposit_idx",
        "invoice_line",
        ["agency_id", "invoice_id"],
        postgresql_where=sa.text("kind = 'DEPOSIT'"),
    )
    op.create_index(
        "payment_deposit_idx",
        "payment",
        ["agency_id", "lease_id"],
        postgresql_where=sa.text("method = 'DEPOSIT'"),
    )
    op.drop_index("ledger_entry_agency_id_account_id_id_idx", "ledger_entry")
    op.create_index(
        "ledger_entry_agency_id_account_id_id_idx",
        "ledger_entry",
        ["agency_id", "account_id", "id"],
        postgresql_include=["debit", "credit"],
    )
    for table in OWNED:
        op.execute(
            f"CREATE POLICY tenant ON {table} USING (agency_id = {CURRENT}) WITH CHECK (agency_id = {CURRENT})"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION haven_append_only()"
        )
    for table in AUDITED:
        op.execute(
            f"CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION haven_audit()"
        )


def downgrade() -> None:
    op.drop_index("ledger_entry_agency_id_account_id_id_idx", "ledger_entry")
    op.create_index(
        "ledger_entry_agency_id_account_id_id_idx", "ledger_entry", ["agency_id", "account_id", "id"]
    )
    op.drop_index("payment_deposit_idx", "payment")
    op.drop_index("invoice_line_deposit_idx", "invoice_line")
    for table, *columns in INDEXES:
        op.drop_index(_index(table, columns), table)
    op.drop_column("ledger_transaction", "disbursement_id")
    for table in ("owner_share", "disbursement", "credit_note_line", "credit_note"):
        op.drop_table(table)
    _checks(("INVOICE", "RECEIPT"), TRANSACTION_KINDS, METHODS)
    op.drop_constraint(op.f("invoice_paid_check"), "invoice")
    op.execute("ALTER TABLE invoice ALTER COLUMN balance SET EXPRESSION AS (total - paid)")
    op.create_check_constraint(op.f("invoice_paid_check"), "invoice", "paid >= 0 AND paid <= total")
    op.drop_column("invoice", "late_fee_of")
    op.drop_column("invoice", "credited")


def _index(table: str, columns: list[str]) -> str:
    return "_".join((table, "agency_id", *columns, "idx"))


def _checks(counters: tuple[str, ...], kinds: list[str], methods: list[str]) -> None:
    for table, column, values in (
        ("counter", "name", counters),
        ("ledger_transaction", "kind", kinds),
        ("payment", "method", methods),
    ):
        listed = ", ".join(f"'{value}'" for value in values)
        op.drop_constraint(op.f(f"{table}_{column}_check"), table)
        op.create_check_constraint(op.f(f"{table}_{column}_check"), table, f"{column} IN ({listed})")


def _invoices() -> None:
    op.add_column("invoice", sa.Column("late_fee_of", sa.Uuid(), nullable=True))
    op.add_column("invoice", sa.Column("credited", MONEY, server_default="0", nullable=False))
    op.drop_constraint(op.f("invoice_paid_check"), "invoice")
    op.execute("ALTER TABLE invoice ALTER COLUMN balance SET EXPRESSION AS (total - credited - paid)")
    op.create_check_constraint(
        op.f("invoice_paid_check"), "invoice", "paid >= 0 AND credited >= 0 AND paid + credited <= total"
    )
    op.create_foreign_key(*_key("invoice", "late_fee_of", "invoice"))
    op.create_unique_constraint("invoice_agency_id_late_fee_of_key", "invoice", ["agency_id", "late_fee_of"])


def _credit_notes() -> None:
    op.create_table(
        "credit_note",
        *_owned(),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("issued_at", INSTANT, nullable=False),
        sa.Column("currency", sa.Text(), server_default="KES", nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        *_rules("credit_note"),
        sa.CheckConstraint("amount > 0", name=op.f("credit_note_amount_check")),
        _owned_key("credit_note", "invoice_id", "invoice"),
        sa.ForeignKeyConstraint(
            ["agency_id", "lease_id", "tenant_id"],
            ["lease.agency_id", "lease.id", "lease.tenant_id"],
            name=op.f("credit_note_agency_id_lease_id_tenant_id_fkey"),
        ),
        sa.UniqueConstraint("agency_id", "number", name=op.f("credit_note_agency_id_number_key")),
    )
    op.create_table(
        "credit_note_line",
        *_owned(),
        sa.Column("credit_note_id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        *_rules("credit_note_line"),
        sa.CheckConstraint(
            "kind IN ('RENT', 'DEPOSIT', 'UTILITY', 'LATE_FEE', 'OTHER')",
            name=op.f("credit_note_line_kind_check"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("credit_note_line_amount_check")),
        _owned_key("credit_note_line", "credit_note_id", "credit_note"),
        _owned_key("credit_note_line", "invoice_id", "invoice"),
        sa.UniqueConstraint(
            "agency_id",
            "credit_note_id",
            "kind",
            name=op.f("credit_note_line_agency_id_credit_note_id_kind_key"),
        ),
    )


def _disbursements() -> None:
    op.create_table(
        "disbursement",
        *_owned(),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("currency", sa.Text(), server_default="KES", nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="RECORDED", nullable=False),
        sa.Column("paid_at", INSTANT, nullable=False),
        sa.Column("reversed_at", INSTANT, nullable=True),
        sa.Column("reversal_reason", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        *_rules("disbursement"),
        sa.CheckConstraint(
            "kind IN ('DEPOSIT_REFUND', 'PAYOUT', 'EXPENSE')", name=op.f("disbursement_kind_check")
        ),
        sa.CheckConstraint(
            "method IN ('MPESA', 'CASH', 'BANK', 'CARD', 'CHEQUE')", name=op.f("disbursement_method_check")
        ),
        sa.CheckConstraint("status IN ('RECORDED', 'REVERSED')", name=op.f("disbursement_status_check")),
        sa.CheckConstraint("amount > 0", name=op.f("disbursement_amount_check")),
        sa.CheckConstraint(
            "CASE kind WHEN 'DEPOSIT_REFUND' THEN lease_id IS NOT NULL AND owner_id IS NULL"
            " ELSE owner_id IS NOT NULL AND lease_id IS NULL END",
            name=op.f("disbursement_whose_check"),
        ),
        sa.CheckConstraint(
            "(status = 'REVERSED') = (reversed_at IS NOT NULL)", name=op.f("disbursement_reversed_at_check")
        ),
        _owned_key("disbursement", "lease_id", "lease"),
        _owned_key("disbursement", "owner_id", "owner"),
    )
    op.add_column("ledger_transaction", sa.Column("disbursement_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(*_key("ledger_transaction", "disbursement_id", "disbursement"))


def _owner_shares() -> None:
    op.create_table(
        "owner_share",
        *_owned(),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("fee_percent", sa.Numeric(5, 2), nullable=False),
        sa.Column("rent", MONEY, server_default="0", nullable=False),
        sa.Column("other", MONEY, server_default="0", nullable=False),
        sa.Column("fee", MONEY, server_default="0", nullable=False),
        *_rules("owner_share"),
        sa.CheckConstraint(
            "rent >= 0 AND other >= 0 AND fee >= 0 AND fee <= rent", name=op.f("owner_share_amounts_check")
        ),
        _owned_key("owner_share", "invoice_id", "invoice"),
        _owned_key("owner_share", "owner_id", "owner"),
        sa.UniqueConstraint("agency_id", "invoice_id", name=op.f("owner_share_agency_id_invoice_id_key")),
    )


def _owned() -> tuple[sa.Column, sa.Column]:
    return sa.Column("agency_id", sa.Uuid(), nullable=False), sa.Column("id", sa.Uuid(), nullable=False)


def _rules(table: str) -> tuple[sa.Constraint, sa.Constraint]:
    return (
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f(f"{table}_agency_id_fkey")),
        sa.PrimaryKeyConstraint("agency_id", "id", name=op.f(f"{table}_pkey")),
    )


def _owned_key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["agency_id", column],
        [f"{target}.agency_id", f"{target}.id"],
        name=op.f(f"{table}_agency_id_{column}_fkey"),
    )


def _key(table: str, column: str, target: str) -> tuple[str, str, str, list[str], list[str]]:
    return f"{table}_agency_id_{column}_fkey", table, target, ["agency_id", column], ["agency_id", "id"]
