"""A report from a session: the frame it is seen in, and its figures."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.billing.days import agency_day
from haven.db.session import tenant_of
from haven.errors import Fault, Invalid
from haven.identity.models import Agency
from haven.insight.reports import agency_reports as agency
from haven.insight.reports.asking import Ask
from haven.insight.reports.document import Document, Frame
from haven.insight.reports.people_reports import owner_report, tenant_report
from haven.insight.reports.statements import values_of
from haven.portfolio.models import Owner, Property

_OF_AGENCY: Final[dict[str, Callable[[Session, Ask, Frame, dict[str, Any]], Document]]] = {
    "financial": agency.financial,
    "rent-roll": agency.rent_roll,
    "arrears": agency.arrears,
    "collections": agency.collections,
    "occupancy": agency.occupancy,
}


def make(session: Session, ask: Ask, now: dt.datetime) -> Document:
    """The report, computed: at most six statements.

    Args:
        session: one snapshot (repeatable read), so that figures of several statements add up.
        now: the moment it is made; balances are of its day where the period is not over.

    Raises:
        Invalid: a filter names what is not there.
        NotFound: there is no such owner or tenant.
    """
    day = agency_day(session, now)
    frame = _frame(session, ask, day.today, now)
    values = values_of(session, ask, frame, day)
    if ask.kind == "owner-statement":
        return owner_report(session, ask, frame, values, day)
    if ask.kind == "tenant-statement":
        return tenant_report(session, ask, frame, day)
    document = _OF_AGENCY[ask.kind](session, ask, frame, values)
    return replace(document, subject=_subject(session, ask))


def _frame(session: Session, ask: Ask, today: dt.date, now: dt.datetime) -> Frame:
    query = select(Agency.name, Agency.timezone, Agency.currency)
    row = session.execute(query.where(Agency.id == tenant_of(session).agency_id)).one()
    filters = {name: str(value) for name, value in ask.filters.items()}
    as_of = min(today, ask.last)
    return Frame(row.name, ask.first, ask.last, as_of, row.timezone, row.currency, now, filters)


def _subject(session: Session, ask: Ask) -> str:
    """What the filters name, in words: one statement for each."""
    words = []
    if "property_id" in ask.filters:
        words.append(_named(session, "property_id", Property, Property.name, ask.filters["property_id"]))
    if "owner_id" in ask.filters:
        words.append(_named(session, "owner_id", Owner, Owner.full_name, ask.filters["owner_id"]))
    return ", ".join(words)


def _named(session: Session, name: str, model: type[Property | Owner], column: Any, row_id: uuid.UUID) -> str:
    query = select(column).where(model.agency_id == tenant_of(session).agency_id, model.id == row_id)
    found = session.execute(query).scalar_one_or_none()
    if found is None:
        fault = Fault(f"/filters/{name}", f"there is no {model.__tablename__} {row_id}")
        raise Invalid(f"filters/{name}: {fault.detail}", faults=(fault,))
    return str(found)
