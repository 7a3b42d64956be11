"""Tenants and leases."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, Computed, Index, Text, UniqueConstraint, column, func, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, Money, Versioned, one_of, owned_key, search_index, searchable


class Tenant(Versioned, Base):
    """A person or firm that rents."""

    __tablename__ = "tenant"

    full_name: Mapped[str]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    national_id: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="PROSPECT")
    notes: Mapped[str | None]
    language: Mapped[str | None] = mapped_column(doc="Null: the agency's")
    opt_outs: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default="{}", doc="``SMS``, or one kind of it: ``SMS:RENT_DUE``"
    )
    # How M-Pesa may name the payer: the SHA-256 of the twelve digits, or a mask that ends in the last three.
    phone_hash: Mapped[bytes | None] = mapped_column(
        BYTEA, Computed("sha256(decode(regexp_replace(phone, '[^0-9]', '', 'g'), 'escape'))", persisted=True)
    )
    phone_ending: Mapped[str | None] = mapped_column(Computed("right(phone, 3)", persisted=True))
    search: Mapped[str] = searchable("full_name", "email", "phone", "national_id")

    __rules__ = (
        search_index("tenant"),
        one_of("status", "ACTIVE", "FORMER", "PROSPECT"),
        one_of("language", "en", "sw"),
        Index(None, "agency_id", "full_name", "id"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "email"),
        Index(None, "agency_id", "phone"),
        Index(None, "agency_id", "national_id"),
        Index(None, "agency_id", "phone_hash"),
        Index(None, "agency_id", "phone_ending"),
    )


class Lease(Versioned, Base):
    """A tenancy of one unit by one tenant responsible for it."""

    __tablename__ = "lease"

    unit_id: Mapped[uuid.UUID]
    tenant_id: Mapped[uuid.UUID]
    start_date: Mapped[dt.date]
    end_date: Mapped[dt.date | None]
    rent_amount: Mapped[Money]
    deposit_amount: Mapped[Money] = mapped_column(server_default="0")
    billing_day: Mapped[int] = mapped_column(server_default="1")
    grace_days: Mapped[int] = mapped_column(server_default="4")
    late_fee_kind: Mapped[str] = mapped_column(server_default="NONE")
    late_fee_amount: Mapped[Money] = mapped_column(server_default="0")
    status: Mapped[str] = mapped_column(server_default="DRAFT")
    activated_at: Mapped[Instant | None]
    terminated_at: Mapped[Instant | None]
    termination_reason: Mapped[str | None]

    __rules__ = (
        one_of("status", "DRAFT", "ACTIVE", "ENDED", "TERMINATED"),
        one_of("late_fee_kind", "NONE", "FLAT", "PERCENT"),
        CheckConstraint("end_date IS NULL OR end_date >= start_date", name="dates"),
        CheckConstraint("billing_day BETWEEN 1 AND 28", name="billing_day"),
        CheckConstraint("grace_days BETWEEN 0 AND 90", name="grace_days"),
        CheckConstraint("rent_amount >= 0 AND deposit_amount >= 0 AND late_fee_amount >= 0", name="amounts"),
        owned_key("unit_id", "unit"),
        owned_key("tenant_id", "tenant"),
        # What an invoice or payment of the lease points at, so that its tenant is the lease's.
        UniqueConstraint("agency_id", "id", "tenant_id"),
        ExcludeConstraint(
            (column("agency_id"), "="),
            (column("unit_id"), "="),
            (func.daterange(column("start_date"), column("end_date"), "[]"), "&&"),
            where=column("status") == "ACTIVE",
            using="gist",
            name="lease_no_overlap",
        ),
        Index(None, "agency_id", "unit_id", "status"),
        Index(None, "agency_id", "tenant_id", "id"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "start_date", "id"),
        Index(None, "agency_id", "end_date", "id"),
        # Which units are let on a day is read from this alone; the two others find recent events.
        Index(
            "lease_in_force_idx",
            "agency_id",
            "end_date",
            "start_date",
            postgresql_include=["unit_id"],
            postgresql_where=text("status <> 'DRAFT'"),
        ),
        Index(
            "lease_activated_idx",
            "agency_id",
            "activated_at",
            "id",
            postgresql_where=text("activated_at IS NOT NULL"),
        ),
        Index(
            "lease_terminated_idx",
            "agency_id",
            "terminated_at",
            "id",
            postgresql_where=text("terminated_at IS NOT NULL"),
        ),
    )
