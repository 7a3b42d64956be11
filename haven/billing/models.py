"""Invoices and their lines, credit notes, allocations, what is passed on to owners, and the ledger."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, Money, Owned, Versioned, one_of, owned_key, search_index, searchable


class Counter(Base):
    """The next number of a gapless sequence of an agency: taken by UPDATE in the transaction that uses it."""

    __tablename__ = "counter"

    agency_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("agency.id"))
    name: Mapped[str]
    value: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        PrimaryKeyConstraint("agency_id", "name"),
        one_of("name", "INVOICE", "RECEIPT", "CREDIT_NOTE"),
    )


class Invoice(Versioned, Base):
    """A demand for rent and other charges of one lease."""

    __tablename__ = "invoice"

    lease_id: Mapped[uuid.UUID]
    tenant_id: Mapped[uuid.UUID]
    number: Mapped[int | None]
    period_start: Mapped[dt.date]
    period_end: Mapped[dt.date]
    issued_at: Mapped[Instant | None]
    due_at: Mapped[dt.date]
    currency: Mapped[str] = mapped_column(server_default="KES")
    total: Mapped[Money] = mapped_column(server_default="0")
    credited: Mapped[Money] = mapped_column(server_default="0")
    paid: Mapped[Money] = mapped_column(server_default="0")
    balance: Mapped[Money] = mapped_column(Computed("total - credited - paid", persisted=True))
    status: Mapped[str] = mapped_column(server_default="DRAFT")
    run_period: Mapped[dt.date | None]
    late_fee_of: Mapped[uuid.UUID | None]
    voided_at: Mapped[Instant | None]
    void_reason: Mapped[str | None]
    search: Mapped[str] = searchable("'INV-' || lpad(number::text, 6, '0')")

    __rules__ = (
        search_index("invoice"),
        one_of("status", "DRAFT", "OPEN", "PARTIALLY_PAID", "PAID", "OVERDUE", "VOID"),
        CheckConstraint("period_end >= period_start", name="period"),
        CheckConstraint("paid >= 0 AND credited >= 0 AND paid + credited <= total", name="paid"),
        CheckConstraint("(status = 'DRAFT') = (number IS NULL)", name="number"),
        ForeignKeyConstraint(
            ["agency_id", "lease_id", "tenant_id"], ["lease.agency_id", "lease.id", "lease.tenant_id"]
        ),
        UniqueConstraint("agency_id", "number"),
        UniqueConstraint("agency_id", "lease_id", "run_period"),
        # A late fee is charged once for an invoice, whoever asks for it how often.
        owned_key("late_fee_of", "invoice"),
        UniqueConstraint("agency_id", "late_fee_of"),
        Index(None, "agency_id", "lease_id", "due_at", "id"),
        Index(None, "agency_id", "tenant_id", "id"),
        Index(None, "agency_id", "status", "due_at", "id"),
        Index(None, "agency_id", "due_at", "id"),
        Index(None, "agency_id", "period_start", "id"),
        Index(None, "agency_id", "total", "id"),
        # What the dashboard adds up is read from these alone (docs/decisions/013): issued, due, owed.
        Index(
            "invoice_issued_idx",
            "agency_id",
            "issued_at",
            "id",
            postgresql_include=["lease_id", "status", "total", "credited"],
            postgresql_where=text("issued_at IS NOT NULL"),
        ),
        Index(
            "invoice_due_idx",
            "agency_id",
            "due_at",
            postgresql_include=["lease_id", "total", "credited", "paid"],
            postgresql_where=text("status NOT IN ('DRAFT', 'VOID')"),
        ),
        Index(
            "invoice_owed_idx",
            "agency_id",
            "due_at",
            postgresql_include=["lease_id", "issued_at", "balance"],
            postgresql_where=text("status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE')"),
        ),
        Index(
            "invoice_voided_idx",
            "agency_id",
            "voided_at",
            "id",
            postgresql_where=text("voided_at IS NOT NULL"),
        ),
    )


class InvoiceLine(Owned, Base):
    """A charge (or, below nought, a credit) of an invoice."""

    __tablename__ = "invoice_line"

    invoice_id: Mapped[uuid.UUID]
    position: Mapped[int]
    kind: Mapped[str]
    description: Mapped[str]
    amount: Mapped[Money]

    __rules__ = (
        one_of("kind", "RENT", "DEPOSIT", "UTILITY", "LATE_FEE", "OTHER", "CREDIT"),
        CheckConstraint("(kind = 'CREDIT') = (amount < 0)", name="sign"),
        owned_key("invoice_id", "invoice", ondelete="CASCADE"),
        UniqueConstraint("agency_id", "invoice_id", "position"),
        Index(
            "invoice_line_deposit_idx", "agency_id", "invoice_id", postgresql_where=text("kind = 'DEPOSIT'")
        ),
    )


class CreditNote(Owned, Base):
    """What is taken off an issued invoice. Never changed: a mistake is corrected by another invoice."""

    __tablename__ = "credit_note"

    invoice_id: Mapped[uuid.UUID]
    lease_id: Mapped[uuid.UUID]
    tenant_id: Mapped[uuid.UUID]
    number: Mapped[int]
    issued_at: Mapped[Instant]
    currency: Mapped[str] = mapped_column(server_default="KES")
    amount: Mapped[Money]
    reason: Mapped[str]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())

    __rules__ = (
        CheckConstraint("amount > 0", name="amount"),
        owned_key("invoice_id", "invoice"),
        ForeignKeyConstraint(
            ["agency_id", "lease_id", "tenant_id"], ["lease.agency_id", "lease.id", "lease.tenant_id"]
        ),
        UniqueConstraint("agency_id", "number"),
        Index(None, "agency_id", "invoice_id", "id"),
        Index(None, "agency_id", "lease_id", "id"),
        Index(None, "agency_id", "tenant_id", "id"),
        Index(None, "agency_id", "issued_at", "id"),
        Index(None, "agency_id", "amount", "id"),
    )


class CreditNoteLine(Owned, Base):
    """How much of a credit note is taken off the charges of one kind."""

    __tablename__ = "credit_note_line"

    credit_note_id: Mapped[uuid.UUID]
    invoice_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    amount: Mapped[Money]

    __rules__ = (
        one_of("kind", "RENT", "DEPOSIT", "UTILITY", "LATE_FEE", "OTHER"),
        CheckConstraint("amount > 0", name="amount"),
        owned_key("credit_note_id", "credit_note"),
        owned_key("invoice_id", "invoice"),
        UniqueConstraint("agency_id", "credit_note_id", "kind"),
        Index(None, "agency_id", "invoice_id", "kind"),
    )


class Disbursement(Versioned, Base):
    """Money that leaves: a deposit back to the tenant, a payout to an owner, an expense for him."""

    __tablename__ = "disbursement"

    kind: Mapped[str]
    lease_id: Mapped[uuid.UUID | None]
    owner_id: Mapped[uuid.UUID | None]
    amount: Mapped[Money]
    currency: Mapped[str] = mapped_column(server_default="KES")
    method: Mapped[str]
    reference: Mapped[str | None]
    description: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="RECORDED")
    paid_at: Mapped[Instant]
    reversed_at: Mapped[Instant | None]
    reversal_reason: Mapped[str | None]

    __rules__ = (
        one_of("kind", "DEPOSIT_REFUND", "PAYOUT", "EXPENSE"),
        one_of("method", "MPESA", "CASH", "BANK", "CARD", "CHEQUE"),
        one_of("status", "RECORDED", "REVERSED"),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint(
            "CASE kind WHEN 'DEPOSIT_REFUND' THEN lease_id IS NOT NULL AND owner_id IS NULL"
            " ELSE owner_id IS NOT NULL AND lease_id IS NULL END",
            name="whose",
        ),
        CheckConstraint("(status = 'REVERSED') = (reversed_at IS NOT NULL)", name="reversed_at"),
        owned_key("lease_id", "lease"),
        owned_key("owner_id", "owner"),
        Index(None, "agency_id", "lease_id", "id"),
        Index(None, "agency_id", "owner_id", "id"),
        Index(None, "agency_id", "kind", "id"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "paid_at", "id"),
        Index(None, "agency_id", "amount", "id"),
    )


class OwnerShare(Owned, Base):
    """What has been collected of one invoice for the owner of its unit; changed with each shilling.

    Owner and fee are those of the first shilling collected: a property that is sold takes nothing along.
    """

    __tablename__ = "owner_share"

    invoice_id: Mapped[uuid.UUID]
    owner_id: Mapped[uuid.UUID]
    fee_percent: Mapped[Decimal] = mapped_column(Numeric(5, 2))
    rent: Mapped[Money] = mapped_column(server_default="0")
    other: Mapped[Money] = mapped_column(server_default="0")
    fee: Mapped[Money] = mapped_column(server_default="0")

    __rules__ = (
        CheckConstraint("rent >= 0 AND other >= 0 AND fee >= 0 AND fee <= rent", name="amounts"),
        owned_key("invoice_id", "invoice"),
        owned_key("owner_id", "owner"),
        UniqueConstraint("agency_id", "invoice_id"),
        Index(None, "agency_id", "owner_id", "id"),
    )


class Allocation(Owned, Base):
    """Which shillings of a payment pay which invoice."""

    __tablename__ = "allocation"

    payment_id: Mapped[uuid.UUID]
    invoice_id: Mapped[uuid.UUID]
    amount: Mapped[Money]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())

    __rules__ = (
        CheckConstraint("amount > 0", name="amount"),
        owned_key("payment_id", "payment"),
        owned_key("invoice_id", "invoice"),
        UniqueConstraint("agency_id", "payment_id", "invoice_id"),
        Index(None, "agency_id", "invoice_id"),
    )


class LedgerAccount(Owned, Base):
    """An account of the agency's double-entry ledger; some are kept for each lease or owner."""

    __tablename__ = "ledger_account"

    code: Mapped[str]
    kind: Mapped[str]
    lease_id: Mapped[uuid.UUID | None]
    owner_id: Mapped[uuid.UUID | None]

    __rules__ = (
        one_of("kind", "ASSET", "LIABILITY", "INCOME", "EXPENSE"),
        owned_key("lease_id", "lease"),
        owned_key("owner_id", "owner"),
        UniqueConstraint("agency_id", "code", "lease_id", "owner_id", postgresql_nulls_not_distinct=True),
        Index(None, "agency_id", "lease_id"),
        Index(None, "agency_id", "owner_id"),
        Index(None, "agency_id", "kind", "id"),
    )


class LedgerTransaction(Owned, Base):
    """One event of money; its entries balance (checked by the database when the transaction commits)."""

    __tablename__ = "ledger_transaction"

    at: Mapped[Instant]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    kind: Mapped[str]
    description: Mapped[str]
    invoice_id: Mapped[uuid.UUID | None]
    payment_id: Mapped[uuid.UUID | None]
    disbursement_id: Mapped[uuid.UUID | None]
    reverses_id: Mapped[uuid.UUID | None]

    __rules__ = (
        one_of(
            "kind",
            "INVOICE",
            "INVOICE_VOID",
            "PAYMENT",
            "REVERSAL",
            "CREDIT_APPLIED",
            "UNMATCHED",
            "MATCHED",
            "CREDIT_NOTE",
            "COLLECTED",
            "MANAGEMENT_FEE",
            "DEPOSIT_REFUND",
            "PAYOUT",
            "EXPENSE",
        ),
        owned_key("invoice_id", "invoice"),
        owned_key("payment_id", "payment"),
        owned_key("disbursement_id", "disbursement"),
        owned_key("reverses_id", "ledger_transaction"),
        UniqueConstraint("agency_id", "reverses_id"),
        Index(None, "agency_id", "invoice_id"),
        Index(None, "agency_id", "payment_id"),
        Index(None, "agency_id", "disbursement_id"),
        Index(None, "agency_id", "kind", "id"),
        Index(None, "agency_id", "at", "id"),
    )


class LedgerEntry(Owned, Base):
    """A debit or a credit of one account. Never changed: a mistake is corrected by another transaction."""

    __tablename__ = "ledger_entry"

    transaction_id: Mapped[uuid.UUID]
    account_id: Mapped[uuid.UUID]
    debit: Mapped[Money] = mapped_column(server_default="0")
    credit: Mapped[Money] = mapped_column(server_default="0")

    __rules__ = (
        CheckConstraint("debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)", name="one_side"),
        owned_key("transaction_id", "ledger_transaction"),
        owned_key("account_id", "ledger_account"),
        Index(None, "agency_id", "transaction_id"),
        # An account is added up from its index alone.
        Index(None, "agency_id", "account_id", "id", postgresql_include=["debit", "credit"]),
    )
