"""``/owners``, ``/properties`` and ``/units``."""

from __future__ import annotations

from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import func, join, select, true

from haven.api.fields import Money
from haven.api.listing import Filter, Listing
from haven.api.resource import Resource, register
from haven.identity.place import own_currency
from haven.portfolio import schemas, service
from haven.portfolio.models import Owner, Property, Unit

owners = Blueprint("owners", __name__, description="Landlords.")
properties = Blueprint("properties", __name__, description="Buildings and estates.")
units = Blueprint("units", __name__, description="What is let: flats, houses, shops.")
blueprints = [owners, properties, units]

_COMMON = ("id", "created_at", "updated_at", "version")
_OWNER_COLUMNS = ("full_name", "email", "phone", "tax_pin", "payout_details", "management_fee_percent")

OWNERS = Resource(
    "owner",
    "/owners",
    "owners",
    schemas.OwnerRow,
    Listing(
        "owner",
        Owner.id,
        {name: getattr(Owner, name) for name in (*_OWNER_COLUMNS, *_COMMON)},
        filters={
            "full_name": Filter(Owner.full_name, fields.String()),
            "email": Filter(Owner.email, fields.String()),
            "phone": Filter(Owner.phone, fields.String()),
        },
        sorts={"full_name": Owner.full_name},
        search=Owner.search,
    ),
    schemas.OwnerBody,
    create=service.create_owner,
    update=service.update_owner,
    delete=service.delete_owner,
    is_cached=True,
)
register(owners, OWNERS)

# Both counts from one look at the units of a property, for the properties of one page.
_units = (
    select(
        func.count().label("unit_count"),
        func.count().filter(Unit.status == "OCCUPIED").label("occupied_count"),
    )
    .where(Unit.agency_id == Property.agency_id, Unit.property_id == Property.id)
    .correlate(Property)
    .lateral("units")
)
_PROPERTY_COLUMNS = (
    "name code kind address location county latitude longitude status owner_id".split()
)  # fmt: skip

PROPERTIES = Resource(
    "property",
    "/properties",
    "properties",
    schemas.PropertyRow,
    Listing(
        "property",
        Property.id,
        {name: getattr(Property, name) for name in (*_PROPERTY_COLUMNS, *_COMMON)}
        | {"unit_count": _units.c.unit_count, "occupied_count": _units.c.occupied_count},
        joined=join(Property, _units, true()),
        is_widened=True,
        filters={
            "name": Filter(Property.name, fields.String()),
            "code": Filter(Property.code, fields.String()),
            "kind": Filter(Property.kind, fields.String()),
            "status": Filter(Property.status, fields.String()),
            "location": Filter(Property.location, fields.String()),
            "county": Filter(Property.county, fields.String()),
            "owner_id": Filter(Property.owner_id, fields.UUID()),
        },
        sorts={"name": Property.name, "code": Property.code},
        search=Property.search,
    ),
    schemas.PropertyBody,
    derived=("unit_count", "occupied_count"),
    create=service.create_property,
    update=service.update_property,
    delete=service.delete_property,
    is_cached=True,
)
register(properties, PROPERTIES)

_UNIT_COLUMNS = (
    "property_id",
    "label",
    "bedrooms",
    "rent_amount",
    "deposit_amount",
    "status",
    "payment_reference",
)

UNITS = Resource(
    "unit",
    "/units",
    "units",
    schemas.UnitRow,
    Listing(
        "unit",
        Unit.id,
        {name: getattr(Unit, name) for name in (*_UNIT_COLUMNS, *_COMMON)} | {"currency": own_currency()},
        filters={
            "property_id": Filter(Unit.property_id, fields.UUID()),
            "label": Filter(Unit.label, fields.String()),
            "status": Filter(Unit.status, fields.String()),
            "payment_reference": Filter(Unit.payment_reference, fields.String()),
            "bedrooms": Filter(Unit.bedrooms, fields.Integer(), ordered=True),
            "rent_amount": Filter(Unit.rent_amount, Money(), ordered=True),
        },
        sorts={
            "label": Unit.label,
            "rent_amount": Unit.rent_amount,
            "payment_reference": Unit.payment_reference,
        },
        search=Unit.search,
    ),
    schemas.UnitBody,
    create=service.create_unit,
    update=service.update_unit,
    delete=service.delete_unit,
    is_cached=True,
)
register(units, UNITS)
