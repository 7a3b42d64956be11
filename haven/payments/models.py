"""Payments, the M-Pesa attempts behind them, and the raw inbox of what the provider said."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKeyConstraint,
    Index,
    Text,
    UniqueConstraint,
    column,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, Money, Owned, Versioned, one_of, owned_key, search_index, searchable


class Payment(Versioned, Base):
    """Money received, or asked for, for one lease."""

    __tablename__ = "payment"

    lease_id: Mapped[uuid.UUID]
    tenant_id: Mapped[uuid.UUID]
    invoice_id: Mapped[uuid.UUID | None]
    amount: Mapped[Money]
    currency: Mapped[str] = mapped_column(server_default="KES")
    method: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="PENDING")
    paid_at: Mapped[Instant | None]
    reference: Mapped[str | None]
    phone: Mapped[str | None]
    failure_code: Mapped[str | None]
    failure_reason: Mapped[str | None]
    allocated: Mapped[Money] = mapped_column(server_default="0")
    unallocated: Mapped[Money] = mapped_column(
        Computed("CASE WHEN status = 'COMPLETED' THEN amount - allocated ELSE 0 END", persisted=True)
    )
    receipt_number: Mapped[int | None]
    reversed_at: Mapped[Instant | None]
    reversal_reason: Mapped[str | None]
    search: Mapped[str] = searchable("reference", "phone", "'RCT-' || lpad(receipt_number::text, 6, '0')")

    __rules__ = (
        search_index("payment"),
        one_of("method", "MPESA", "CASH", "BANK", "CARD", "CHEQUE", "DEPOSIT"),
        one_of(
            "status", "PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "REVERSED", "NEEDS_REVIEW"
        ),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("allocated >= 0 AND allocated <= amount", name="allocated"),
        CheckConstraint("status NOT IN ('COMPLETED', 'REVERSED') OR paid_at IS NOT NULL", name="paid_at"),
        ForeignKeyConstraint(
            ["agency_id", "lease_id", "tenant_id"], ["lease.agency_id", "lease.id", "lease.tenant_id"]
        ),
        owned_key("invoice_id", "invoice"),
        # One receipt is one payment, whichever way it was heard of.
        Index(
            "payment_receipt_key",
            "agency_id",
            "method",
            "reference",
            unique=True,
            postgresql_where=text("method = 'MPESA' AND reference IS NOT NULL"),
        ),
        UniqueConstraint("agency_id", "receipt_number"),
        Index(None, "agency_id", "lease_id", "paid_at"),
        Index(None, "agency_id", "tenant_id", "id"),
        Index(None, "agency_id", "invoice_id"),
        Index(None, "agency_id", "status", "paid_at", "id"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "paid_at", "id"),
        Index(None, "agency_id", "amount", "id"),
        Index(None, "agency_id", "reference"),
        Index(None, "agency_id", "phone"),
        Index("payment_deposit_idx", "agency_id", "lease_id", postgresql_where=text("method = 'DEPOSIT'")),
        # What the dashboard adds up is read from these two alone (docs/decisions/013).
        Index(
            "payment_credit_idx",
            "agency_id",
            "lease_id",
            postgresql_include=["unallocated", "paid_at"],
            postgresql_where=text("unallocated > 0"),
        ),
        Index(
            "payment_received_idx",
            "agency_id",
            "paid_at",
            postgresql_include=["lease_id", "amount"],
            postgresql_where=text("status = 'COMPLETED' AND method <> 'DEPOSIT'"),
        ),
        Index(
            "payment_reversed_idx",
            "agency_id",
            "reversed_at",
            "id",
            postgresql_where=text("reversed_at IS NOT NULL"),
        ),
    )


class MpesaAttempt(Owned, Base):
    """One push to a phone, written before the provider is called. Its token is the secret of its callback address."""

    __tablename__ = "mpesa_attempt"

    payment_id: Mapped[uuid.UUID]
    phone: Mapped[str]
    amount: Mapped[Money]
    account_reference: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(BYTEA)
    state: Mapped[str] = mapped_column(server_default="SENDING")
    merchant_request_id: Mapped[str | None]
    checkout_request_id: Mapped[str | None]
    result_code: Mapped[str | None]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    sent_at: Mapped[Instant | None]
    answered_at: Mapped[Instant | None]
    settled_at: Mapped[Instant | None]
    next_query_at: Mapped[Instant | None]
    queries: Mapped[int] = mapped_column(server_default="0")

    __rules__ = (
        one_of("state", "SENDING", "ACCEPTED", "UNKNOWN", "REJECTED", "PAID", "FAILED", "NEEDS_REVIEW"),
        owned_key("payment_id", "payment"),
        UniqueConstraint("agency_id", "token_hash"),
        Index(None, "agency_id", "payment_id"),
        Index(None, "agency_id", "checkout_request_id"),
        Index(
            "mpesa_attempt_open_phone_key",
            "agency_id",
            "phone",
            unique=True,
            postgresql_where=text("state IN ('SENDING', 'ACCEPTED', 'UNKNOWN')"),
        ),
        Index("mpesa_attempt_same_amount_idx", "agency_id", "phone", "amount", "created_at"),
        # Which push a C2B confirmation may belong to. Its payer is often hashed; and comparing amounts is not leakproof,
        # so that behind row-level security no index on an amount is used.
        Index(None, "agency_id", "created_at"),
        Index(
            "mpesa_attempt_due_idx",
            "agency_id",
            "next_query_at",
            postgresql_where=text("state IN ('SENDING', 'ACCEPTED', 'UNKNOWN')"),
        ),
    )


class MpesaInbox(Owned, Base):
    """What the provider sent, byte for byte, stored before it is acted on."""

    __tablename__ = "mpesa_inbox"

    attempt_id: Mapped[uuid.UUID | None]
    kind: Mapped[str]
    received_at: Mapped[Instant] = mapped_column(server_default=func.now())
    body: Mapped[bytes] = mapped_column(BYTEA)
    headers: Mapped[dict[str, Any]]
    address: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="RECEIVED")
    outcome: Mapped[str | None]
    applied_at: Mapped[Instant | None]
    tries: Mapped[int] = mapped_column(server_default="0")

    __rules__ = (
        one_of("kind", "STK", "C2B_VALIDATION", "C2B_CONFIRMATION"),
        one_of("state", "RECEIVED", "APPLIED", "IGNORED", "REJECTED", "FAILED"),
        owned_key("attempt_id", "mpesa_attempt"),
        Index(None, "agency_id", "attempt_id", "id"),
        Index(
            "mpesa_inbox_waiting_idx", "agency_id", "received_at", postgresql_where=text("state = 'RECEIVED'")
        ),
    )


class MpesaEvidence(Owned, Base):
    """What a status query or a reconciliation said of an attempt."""

    __tablename__ = "mpesa_evidence"

    payment_id: Mapped[uuid.UUID]
    attempt_id: Mapped[uuid.UUID | None]
    kind: Mapped[str]
    at: Mapped[Instant] = mapped_column(server_default=func.now())
    result_code: Mapped[str | None]
    detail: Mapped[dict[str, Any]]

    __rules__ = (
        one_of("kind", "PUSH", "QUERY", "PULL", "C2B", "MANUAL"),
        owned_key("payment_id", "payment"),
        owned_key("attempt_id", "mpesa_attempt"),
        Index(None, "agency_id", "attempt_id"),
        Index(None, "agency_id", "payment_id", "id"),
    )


class UnmatchedReceipt(Owned, Base):
    """Money that came by paybill and names no lease: it waits in suspense for a person to place it.

    Of the payer there is the number (``payer_phone``, E.164), its SHA-256 (``payer_hash``), or only ``payer``:
    masked, as ``+2547*****126``. ``payment_id`` is the payment that it became.
    """

    __tablename__ = "unmatched_receipt"

    receipt: Mapped[str]
    amount: Mapped[Money]
    received_at: Mapped[Instant]
    account_typed: Mapped[str]
    # What was typed as accounts could be written: each word of it, and all of it joined.
    account_keys: Mapped[list[str]] = mapped_column(
        ARRAY(Text),
        Computed(
            "array_append(regexp_split_to_array(translate(upper(account_typed), 'OI', '01'), '[^A-Z0-9]+'),"
            " translate(upper(regexp_replace(account_typed, '[^A-Za-z0-9]', '', 'g')), 'OI', '01'))",
            persisted=True,
        ),
    )
    payer: Mapped[str | None]
    payer_name: Mapped[str | None]
    payer_phone: Mapped[str | None]
    payer_hash: Mapped[bytes | None] = mapped_column(BYTEA)
    source: Mapped[str] = mapped_column(server_default="C2B")
    inbox_id: Mapped[uuid.UUID | None]
    payment_id: Mapped[uuid.UUID | None]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())

    __rules__ = (
        CheckConstraint("amount > 0", name="amount"),
        one_of("source", "C2B", "PULL"),
        owned_key("inbox_id", "mpesa_inbox"),
        owned_key("payment_id", "payment"),
        UniqueConstraint("agency_id", "receipt"),
        Index(None, "agency_id", "inbox_id"),
        Index(None, "agency_id", "payment_id"),
        Index(
            "unmatched_receipt_waiting_idx", "agency_id", "id", postgresql_where=text("payment_id IS NULL")
        ),
    )


class C2bAddress(Owned, Base):
    """A secret address for what is paid to a paybill. It works for good: M-Pesa keeps the one it was told first.

    ``shortcode`` is the paybill that it was registered for; None where M-Pesa refused it.
    """

    __tablename__ = "mpesa_c2b_address"

    shortcode: Mapped[str | None]
    token_hash: Mapped[bytes] = mapped_column(BYTEA)
    state: Mapped[str] = mapped_column(server_default="SENDING")
    pull_state: Mapped[str] = mapped_column(server_default="NOT_ASKED")
    detail: Mapped[str | None]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())

    __rules__ = (
        one_of("state", "SENDING", "REGISTERED", "ALREADY_REGISTERED", "REFUSED", "UNKNOWN"),
        one_of("pull_state", "NOT_ASKED", "REGISTERED", "ALREADY_REGISTERED", "REFUSED", "UNKNOWN"),
        UniqueConstraint("agency_id", "token_hash"),
        Index(None, "agency_id", "state"),
        # Two agencies with one paybill would both book all that is paid to it.
        ExcludeConstraint(
            (column("shortcode"), "="),
            (column("agency_id"), "<>"),
            using="gist",
            name="mpesa_c2b_address_one_agency",
        ),
    )


class ReconciliationRun(Owned, Base):
    """One comparison of the books with M-Pesa's own list of transactions (Pull)."""

    __tablename__ = "reconciliation_run"

    kind: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="RUNNING")
    since: Mapped[Instant]
    until: Mapped[Instant]
    checked: Mapped[int] = mapped_column(server_default="0")
    settled: Mapped[int] = mapped_column(server_default="0")
    mismatched: Mapped[int] = mapped_column(server_default="0")
    unanswered: Mapped[int] = mapped_column(server_default="0")
    mismatches: Mapped[list[Any]] = mapped_column(server_default="[]")
    error: Mapped[str | None]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    finished_at: Mapped[Instant | None]

    __rules__ = (
        one_of("kind", "RECENT", "NIGHTLY"),
        one_of("status", "RUNNING", "DONE", "FAILED"),
        Index(None, "agency_id", "kind", "created_at"),
    )
