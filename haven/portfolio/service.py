"""Owners, properties and units: what may be made, changed and removed."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.db.base import new_id
from haven.db.rows import Planned, change, locked, planned, the_one
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
    return _add(session, Unit, the_one(plan_units(session, [body])))


def plan_units(session: Session, bodies: Sequence[dict[str, Any]]) -> list[Planned]:
    """What is stored of new units: two statements, where one has no payment reference."""
    nameless = [body for body in bodies if "payment_reference" not in body]
    codes = _codes(session, {body["property_id"] for body in nameless})
    taken = _taken(session, {_wanted(codes, body) for body in nameless})
    return [planned(_new_unit, body, codes, taken) for body in bodies]


def update_unit(session: Session, unit_id: uuid.UUID, changes: dict[str, Any], version: int | None) -> None:
    """Change a unit.

    Raises:
        Conflict: its status is its lease's to say while one is active.
    """
    unit = locked(session, Unit, unit_id, version)
    change(unit, unit_changes(unit, changes))


def unit_changes(unit: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """What is set of a locked unit.

    Raises:
        Conflict: its status is its lease's to say while one is active.
    """
    status = changes.get("status", unit.status)
    if status != unit.status and unit.status == "OCCUPIED":
        raise Conflict("The unit has an active lease: terminate that first.")
    if status != unit.status and status == "OCCUPIED":
        raise Invalid.field("status", "a unit becomes OCCUPIED when its lease is activated")
    if "payment_reference" in changes:
        return changes | {"payment_reference": changes["payment_reference"].upper()}
    return changes


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


def _new_unit(body: dict[str, Any], codes: Mapping[uuid.UUID, str], taken: set[str]) -> dict[str, Any]:
    """What is stored of a unit; its reference is among ``taken`` from now on."""
    if body.get("status") == "OCCUPIED":
        raise Invalid.field("status", "a unit becomes OCCUPIED when its lease is activated")
    reference: str = body.get("payment_reference") or _free(_wanted(codes, body), taken)
    taken.add(reference.upper())
    return body | {"payment_reference": reference.upper()}


def _wanted(codes: Mapping[uuid.UUID, str], body: dict[str, Any]) -> str:
    name = f"{codes.get(body['property_id'], '')}{body['label']}"
    return re.sub(r"[^A-Z0-9]", "", name.upper())[:_REFERENCE_LONGEST]


def _free(wanted: str, taken: Collection[str]) -> str:
    if wanted and wanted not in taken:
        return wanted
    return wanted[: _REFERENCE_LONGEST - 6] + secrets.token_hex(3).upper()


def _codes(session: Session, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    if not ids:
        return {}
    found = select(Property.id, Property.code).where(
        Property.agency_id == tenant_of(session).agency_id, Property.id.in_(ids)
    )
    return {row.id: row.code for row in session.execute(found)}


def _taken(session: Session, references: Collection[str]) -> set[str]:
    if not references:
        return set()
    found = select(Unit.payment_reference).where(
        Unit.agency_id == tenant_of(session).agency_id, Unit.payment_reference.in_(references)
    )
    return set(session.execute(found).scalars())
