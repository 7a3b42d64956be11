"""Flask with its ORM and marshmallow, as everybody writes it: no sign-in, no tenant wall, no limit, no monitoring."""

from __future__ import annotations

import os
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from flask import Flask, jsonify
from flask.wrappers import Response
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column

LIMIT = 50
AGENCY = uuid.UUID(os.environ["PEER_AGENCY"])

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["PEER_DATABASE_URL"].replace("://", "+psycopg2://")


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(app, model_class=Base)


class Unit(Base):
    __tablename__ = "unit"

    agency_id: Mapped[uuid.UUID]
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    property_id: Mapped[uuid.UUID]
    status: Mapped[str]


class Property(Base):
    __tablename__ = "property"

    agency_id: Mapped[uuid.UUID]
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    code: Mapped[str]
    kind: Mapped[str]
    address: Mapped[str | None]
    location: Mapped[str | None]
    county: Mapped[str | None]
    latitude: Mapped[Decimal | None]
    longitude: Mapped[Decimal | None]
    status: Mapped[str]
    owner_id: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int]


_of_property = (Unit.agency_id == Property.agency_id, Unit.property_id == Property.id)
Property.unit_count = column_property(
    select(func.count()).where(*_of_property).correlate_except(Unit).scalar_subquery()
)
Property.occupied_count = column_property(
    select(func.count())
    .where(*_of_property, Unit.status == "OCCUPIED")
    .correlate_except(Unit)
    .scalar_subquery()
)


class PropertySchema(Schema):
    id = fields.UUID()
    name = fields.String()
    code = fields.String()
    kind = fields.String()
    address = fields.String()
    location = fields.String()
    county = fields.String()
    latitude = fields.Decimal(as_string=True)
    longitude = fields.Decimal(as_string=True)
    status = fields.String()
    owner_id = fields.UUID()
    created_at = fields.DateTime()
    updated_at = fields.DateTime()
    version = fields.Integer()
    unit_count = fields.Integer()
    occupied_count = fields.Integer()


SCHEMA = PropertySchema(many=True)


@app.get("/properties")
def properties() -> Response:
    """The first page."""
    wanted = (
        select(Property).where(Property.agency_id == AGENCY).order_by(Property.id.desc()).limit(LIMIT + 1)
    )
    rows: list[Any] = list(db.session.scalars(wanted))
    has_more = len(rows) > LIMIT
    next_cursor = str(rows[LIMIT - 1].id) if has_more else None
    return jsonify(
        data=SCHEMA.dump(rows[:LIMIT]),
        pagination={"limit": LIMIT, "next_cursor": next_cursor, "has_more": has_more},
    )
