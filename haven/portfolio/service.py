"""Owners, properties and units: what may be made, changed and removed."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.db.base import new_id
from haven.db.rows import change, locked
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid
from haven.portfolio.models import Owner, Property, Unit

_REFERENCE_LONGEST: Final = 12


def create_owner(session: Session, body: dict[str, Any]) -> uuid.UUID:
    """Make an owner."""
    return _add(session, Owner, body)


def update_owner(session: Session, owner_id: uuid.UUID, changes: dict[str, Any], version: int | None) -> None:
    """Change an owner."""
    owner = locked(session, Owner, owner_id, version)
    if changes.get("payout_details") and owner.payout_details:
        # A merge patch reaches into nested objects (RFC 7396).
        changes["payout_details"] = owner.payout_details | changes["payout_details"]
    change(owner, changes)


def delete_owner(session: Session, owner_id: uuid.UUID, version: int | None) -> None:
    """Remove an owner who has no property."""
    session.delete(locked(session, Owner, owner_id, version))


def create_property(session: Session, body: dict[str, Any]) -> uuid.UUID:
    """Make a property."""
    return _add(session, Property, body)


def update_property(
    session: Session, property_id: uuid.UUID, changes: dict[str, Any], version: int | None
) -> None:
    """Change a property."""
    change(locked(session, Property, property_id, version), changes)


def delete_property(session: Session, property_id: uuid.UUID, version: int | None) -> None:
    """Remove a property that has no unit."""
    session.delete(locked(session, Property, property_id, version))


def create_unit(session: Session, body: dict[str, Any]) -> uuid.UUID:
    """Make a unit; its payment reference is made from the property's code and its label where none is given."""
    if body.get("status") == "OCCUPIED":
        raise Invalid.field("status", "a unit becomes OCCUPIED when its lease is activated")
    if "payment_reference" not in body:
        body["payment_reference"] = _free_reference(session, body["property_id"], body["label"])
    body["payment_reference"] = body["payment_reference"].upper()
    return _add(session, Unit, body)


def update_unit(session: Session, unit_id: uuid.UUID, changes: dict[str, Any], version: int | None) -> None:
    """Change a unit.

    Raises:
        Conflict: its status is its lease's to say while one is active.
    """
    unit = locked(session, Unit, unit_id, version)
    status = changes.get("status", unit.status)
    if status != unit.status and unit.status == "OCCUPIED":
        raise Conflict("The unit has an active lease: terminate that first.")
    if status != unit.status and status == "OCCUPIED":
        raise Invalid.field("status", "a unit becomes OCCUPIED when its lease is activated")
    if "payment_reference" in changes:
        changes["payment_reference"] = changes["payment_reference"].upper()
    change(unit, changes)


def delete_unit(session: Session, unit_id: uuid.UUID, version: int | None) -> None:
    """Remove a unit that never had a lease."""
    session.delete(locked(session, Unit, unit_id, version))


def occupy(session: Session, unit_id: uuid.UUID) -> None:
    """The unit has an active lease from now on.

    Raises:
        Conflict: it is out of service.
    """
    unit = locked(session, Unit, unit_id)
    if unit.status == "OUT_OF_SERVICE":
        raise Conflict("The unit is out of service.")
    unit.status = "OCCUPIED"


def vacate(session: Session, unit_id: uuid.UUID) -> None:
    """The unit's last active lease has ended."""
    unit = locked(session, Unit, unit_id)
    if unit.status == "OCCUPIED":
        unit.status = "VACANT"


def _add(session: Session, model: type[Owner | Property | Unit], body: dict[str, Any]) -> uuid.UUID:
    row = model(agency_id=tenant_of(session).agency_id, id=new_id(), **body)
    session.add(row)
    session.flush()
    return row.id


def _free_reference(session: Session, property_id: uuid.UUID, label: str) -> str:
    code = session.execute(select(Property.code).where(Property.id == property_id)).scalar_one_or_none() or ""
    wanted = re.sub(r"[^A-Z0-9]", "", f"{code}{label}".upper())[:_REFERENCE_LONGEST]
    is_taken = select(Unit.id).where(Unit.payment_reference == wanted)
    if wanted and session.execute(is_taken).first() is None:
        return wanted
    return wanted[: _REFERENCE_LONGEST - 6] + secrets.token_hex(3).upper()
