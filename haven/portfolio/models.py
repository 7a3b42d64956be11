"""Owners, properties and units."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Computed, Index, Numeric, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Money, Versioned, one_of, owned_key, search_index, searchable


class Owner(Versioned, Base):
    """A landlord, who receives what is collected less the management fee."""

    __tablename__ = "owner"

    full_name: Mapped[str]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    tax_pin: Mapped[str | None]
    payout_details: Mapped[dict[str, Any] | None]
    management_fee_percent: Mapped[Decimal] = mapped_column(Numeric(5, 2), server_default="0")
    search: Mapped[str] = searchable("full_name", "email", "phone", "tax_pin")

    __rules__ = (
        search_index("owner"),
        CheckConstraint("management_fee_percent BETWEEN 0 AND 100", name="management_fee_percent"),
        Index(None, "agency_id", "full_name", "id"),
        Index(None, "agency_id", "email"),
        Index(None, "agency_id", "phone"),
    )


class Property(Versioned, Base):
    """A building or estate."""

    __tablename__ = "property"

    name: Mapped[str]
    code: Mapped[str]
    kind: Mapped[str]
    address: Mapped[str | None]
    location: Mapped[str | None]
    county: Mapped[str | None]
    latitude: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    longitude: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    status: Mapped[str] = mapped_column(server_default="ACTIVE")
    owner_id: Mapped[uuid.UUID | None]
    search: Mapped[str] = searchable("name", "code", "address", "location", "county")

    __rules__ = (
        search_index("property"),
        one_of("kind", "APARTMENT", "HOUSE", "COMMERCIAL", "MIXED", "LAND"),
        one_of("status", "ACTIVE", "INACTIVE", "UNDER_MAINTENANCE"),
        CheckConstraint("latitude BETWEEN -90 AND 90", name="latitude"),
        CheckConstraint("longitude BETWEEN -180 AND 180", name="longitude"),
        UniqueConstraint("agency_id", "code"),
        owned_key("owner_id", "owner"),
        Index(None, "agency_id", "owner_id"),
        Index(None, "agency_id", "name", "id"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "location", "id"),
        Index(None, "agency_id", "county", "id"),
    )


class Unit(Versioned, Base):
    """What is let: a flat, a house, a shop."""

    __tablename__ = "unit"

    property_id: Mapped[uuid.UUID]
    label: Mapped[str]
    bedrooms: Mapped[int | None]
    rent_amount: Mapped[Money]
    deposit_amount: Mapped[Money] = mapped_column(server_default="0")
    status: Mapped[str] = mapped_column(server_default="VACANT")
    payment_reference: Mapped[str]
    # The reference as ``haven.payments.paybill.accounts`` folds what payers type, so that one index finds it.
    account_key: Mapped[str] = mapped_column(
        Computed(
            "translate(upper(regexp_replace(payment_reference, '[^A-Za-z0-9]', '', 'g')), 'OI', '01')",
            persisted=True,
        )
    )
    search: Mapped[str] = searchable("label", "payment_reference")

    __rules__ = (
        search_index("unit"),
        one_of("status", "VACANT", "OCCUPIED", "RESERVED", "OUT_OF_SERVICE"),
        CheckConstraint("rent_amount >= 0 AND deposit_amount >= 0", name="amounts"),
        CheckConstraint("length(payment_reference) BETWEEN 1 AND 12", name="payment_reference"),
        owned_key("property_id", "property"),
        UniqueConstraint("agency_id", "payment_reference"),
        # With the status, so that the units of a property are counted from it alone.
        UniqueConstraint("agency_id", "property_id", "label", postgresql_include=["status"]),
        Index(None, "agency_id", "account_key"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "label", "id"),
        Index(None, "agency_id", "rent_amount", "id"),
    )
