"""Rows named as people name them: a property by its code, a tenant by phone or name, a unit by its label.

Looked up for a batch at once. What fits none, or more than one, is a fault of its cell.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from haven.billing.models import Invoice
from haven.bulk.faults import Row
from haven.db.session import tenant_of
from haven.leasing.models import Lease, Tenant
from haven.payments.phones import InvalidPhone, normalise_phone
from haven.portfolio.models import Owner, Property, Unit

Found = dict[str, set[uuid.UUID]]
_WORDS: Final = {
    "property": "property with this code or name",
    "owner": "owner with this name, e-mail address or phone",
    "tenant": "tenant with this phone, name, e-mail address or national id",
    "unit": "unit with this label or payment reference",
    "invoice": "invoice with this number",
}


def resolve(session: Session, rows: Sequence[Row]) -> None:
    """Put ids in place of names, in the rows themselves."""
    for name in ("property", "property_id"):
        _replace(session, rows, name, "property", _properties)
    _replace(session, rows, "owner_id", "owner", _owners)
    _replace(session, rows, "tenant_id", "tenant", _tenants)
    _replace(session, rows, "invoice_id", "invoice", _invoices)
    for name in ("unit", "unit_id"):
        _replace_units(session, rows, name)
    _leases_of_units(session, rows)
    for row in rows:
        row.values.pop("property", None)


def _replace(
    session: Session,
    rows: Sequence[Row],
    name: str,
    what: str,
    look: Callable[[Session, list[str]], Found],
) -> None:
    named = [row for row in rows if _is_name(row.values.get(name))]
    if not named:
        return
    found = look(session, sorted({row.values[name] for row in named}))
    for row in named:
        _put(row, name, what, found.get(row.values[name].casefold(), set()))


def _put(row: Row, name: str, what: str, ids: set[uuid.UUID]) -> None:
    if len(ids) == 1:
        row.values[name] = str(next(iter(ids)))
        return
    detail = f"there is no {_WORDS[what]}" if not ids else f"more than one {_WORDS[what]}: give its id"
    row.faults.append(row.fault(name, detail))


def _is_name(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        uuid.UUID(value)
    except ValueError:
        return True
    return False


def _by(session: Session, keys: Iterable[str], *columns: InstrumentedAttribute[Any]) -> Found:
    """Which rows have one of the keys in one of the columns, as written or in capitals; by the folded key."""
    entity = columns[0].class_
    tried = [spelling for key in keys for spelling in {key, key.upper(), key.lower()}]
    matches: list[ColumnElement[bool]] = [column.in_(tried) for column in columns]
    found: Found = defaultdict(set)
    statement = select(entity.id, *columns).where(
        entity.agency_id == tenant_of(session).agency_id, or_(*matches)
    )
    for row_id, *values in session.execute(statement):
        for value in values:
            if value is not None:
                found[str(value).casefold()].add(row_id)
    return found


def _properties(session: Session, keys: list[str]) -> Found:
    by_code = _by(session, keys, Property.code)
    return {**_by(session, keys, Property.name), **by_code}


def _owners(session: Session, keys: list[str]) -> Found:
    return _with_phones(session, keys, Owner.full_name, Owner.email, Owner.phone)


def _tenants(session: Session, keys: list[str]) -> Found:
    return _with_phones(session, keys, Tenant.full_name, Tenant.email, Tenant.phone, Tenant.national_id)


def _invoices(session: Session, keys: list[str]) -> Found:
    return _by(session, keys, Invoice.number)


def _with_phones(session: Session, keys: list[str], *columns: InstrumentedAttribute[Any]) -> Found:
    phones = {key: _phone(key) for key in keys}
    found = _by(session, {*keys, *filter(None, phones.values())}, *columns)
    same = {key.casefold(): found[phone] for key, phone in phones.items() if phone and phone in found}
    return {**found, **same}


def _phone(text: str) -> str | None:
    try:
        return normalise_phone(text)
    except InvalidPhone:
        return None


def _replace_units(session: Session, rows: Sequence[Row], name: str) -> None:
    named = [row for row in rows if _is_name(row.values.get(name))]
    if not named:
        return
    keys = {spelling for row in named for spelling in (row.values[name], row.values[name].upper())}
    statement = select(Unit.id, Unit.label, Unit.payment_reference, Unit.property_id).where(
        Unit.agency_id == tenant_of(session).agency_id,
        or_(Unit.label.in_(keys), Unit.payment_reference.in_(keys)),
    )
    found: dict[tuple[str, str | None], set[uuid.UUID]] = defaultdict(set)
    for unit in session.execute(statement):
        for key in (unit.label.casefold(), unit.payment_reference.casefold()):
            found[key, None].add(unit.id)
            found[key, str(unit.property_id)].add(unit.id)
    for row in named:
        if row.values.get("property") is None or not _is_name(row.values["property"]):
            key = row.values[name].casefold(), row.values.get("property")
            _put(row, name, "unit", found.get(key, set()))


def _leases_of_units(session: Session, rows: Sequence[Row]) -> None:
    """A payment that names a unit is for the unit's active lease."""
    named = [row for row in rows if "unit" in row.values]
    ids = {uuid.UUID(row.values["unit"]) for row in named if not _is_name(row.values["unit"])}
    if not named:
        return
    statement = select(Lease.unit_id, Lease.id).where(
        Lease.agency_id == tenant_of(session).agency_id, Lease.unit_id.in_(ids), Lease.status == "ACTIVE"
    )
    found: dict[str, set[uuid.UUID]] = defaultdict(set)
    for unit_id, lease_id in session.execute(statement):
        found[str(unit_id)].add(lease_id)
    for row in named:
        unit = row.values["unit"]
        leases = found.get(unit, set())
        if not _is_name(unit) and "lease_id" not in row.values:
            if len(leases) == 1:
                row.values["lease_id"] = str(next(iter(leases)))
            else:
                count = "no" if not leases else "more than one"
                row.faults.append(row.fault("unit", f"the unit has {count} active lease: give lease_id"))
        del row.values["unit"]
