"""The figures of the dashboard once more: every row of the agency is read, and each formula is a loop one can check by eye.

Nothing here is shared with what it checks: days are told by ``zoneinfo``, not by moments in SQL; sums by Python.
"""

from __future__ import annotations

import calendar
import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from haven.db.session import tenant_session

NOUGHT = Decimal("0.00")
BUCKETS = (
    ("current", -1_000_000, 0),
    ("days_1_to_30", 1, 30),
    ("days_31_to_60", 31, 60),
    ("days_61_to_90", 61, 90),
    ("over_90_days", 91, 1_000_000),
)


@dataclass
class Books:
    """All rows of an agency, of one property alone if one is given."""

    zone: ZoneInfo
    properties: list[Any]
    units: list[Any]
    leases: list[Any]
    invoices: list[Any]
    payments: list[Any]
    allocations: list[Any]

    def date(self, moment: dt.datetime) -> dt.date:
        return moment.astimezone(self.zone).date()


def books_of(engine: Engine, agency_id: uuid.UUID, property_id: uuid.UUID | None = None) -> Books:
    with tenant_session(engine, agency_id) as session:

        def rows(table: str) -> list[Any]:
            return list(session.execute(text(f"SELECT * FROM {table}")).all())

        (agency,) = rows("agency")
        properties = [one for one in rows("property") if property_id in (None, one.id)]
        units = [one for one in rows("unit") if property_id in (None, one.property_id)]
        homes = {one.id for one in units}
        leases = [one for one in rows("lease") if one.unit_id in homes]
        ids = {one.id for one in leases}
        invoices = [one for one in rows("invoice") if one.lease_id in ids]
        payments = [one for one in rows("payment") if one.lease_id in ids]
        allocations = rows("allocation")
    return Books(ZoneInfo(agency.timezone), properties, units, leases, invoices, payments, allocations)


def slow_figures(books: Books, month: str, today: dt.date) -> dict[str, Any]:
    """What the dashboard says of a month (``YYYY-MM``) on a day, without ``period``, ``timezone`` and ``currency``."""
    first = dt.date.fromisoformat(f"{month}-01")
    days = [first.replace(day=day + 1) for day in range(calendar.monthrange(first.year, first.month)[1])]
    on = min(today, days[-1])
    received = {day: [one for one in _received(books) if books.date(one.paid_at) == day] for day in days}
    collected = sum((one.amount for found in received.values() for one in found), NOUGHT)
    invoiced = sum(
        (one.total - one.credited for one in _standing(books) if books.date(one.issued_at) in days), NOUGHT
    )
    ageing = _ageing(books, on)
    return {
        "as_of": on,
        **_homes(books, on),
        "invoiced": invoiced,
        "collected": collected,
        "collection_rate": _collection_rate(books, days),
        "collected_to_invoiced": _rate(collected, invoiced),
        "arrears": sum((ageing[name] for name, least, _ in BUCKETS if least > 0), NOUGHT),
        "arrears_ageing": ageing | {"credits": _credits(books, on)},
        "payments_by_day": [
            {"date": day, "count": len(found), "amount": sum((one.amount for one in found), NOUGHT)}
            for day, found in received.items()
            if day <= on
        ],
    }


def _homes(books: Books, on: dt.date) -> dict[str, Any]:
    in_force = [
        one
        for one in books.leases
        if one.status != "DRAFT" and one.start_date <= on and (one.end_date is None or one.end_date >= on)
    ]
    let = {one.unit_id for one in in_force}
    in_service = {one.id for one in books.units if one.status != "OUT_OF_SERVICE"}
    ends = [(one.end_date - on).days for one in in_force if one.end_date is not None]
    return {
        "properties": len(books.properties),
        "units": len(books.units),
        "occupied": len(in_service & let),
        "vacant": len(in_service - let),
        "occupancy_rate": _rate(Decimal(len(in_service & let)), Decimal(len(in_service))),
        "active_leases": len(in_force),
        "expiring_leases": {
            f"within_{most}_days": sum(left <= most for left in ends) for most in (30, 60, 90)
        },
    }


def _standing(books: Books) -> Iterator[Any]:
    return (one for one in books.invoices if one.status not in ("DRAFT", "VOID"))


def _received(books: Books) -> Iterator[Any]:
    return (one for one in books.payments if one.status == "COMPLETED" and one.method != "DEPOSIT")


def _paid_by(books: Books, invoice: Any, day: dt.date) -> Decimal:
    """What was allocated to an invoice up to the end of a day."""
    found = (one for one in books.allocations if one.invoice_id == invoice.id)
    return sum((one.amount for one in found if books.date(one.created_at) <= day), NOUGHT)


def _collection_rate(books: Books, days: list[dt.date]) -> float | None:
    due = [one for one in _standing(books) if one.due_at in days]
    paid = sum((_paid_by(books, one, days[-1]) for one in due), NOUGHT)
    return _rate(paid, sum((one.total - one.credited for one in due), NOUGHT))


def _ageing(books: Books, on: dt.date) -> dict[str, Decimal]:
    found = {name: NOUGHT for name, _, _ in BUCKETS}
    for one in _standing(books):
        if books.date(one.issued_at) > on:
            continue
        balance = one.total - one.credited - _paid_by(books, one, on)
        for name, least, most in BUCKETS:
            if least <= (on - one.due_at).days <= most:
                found[name] += balance
    return found


def _credits(books: Books, on: dt.date) -> Decimal:
    received = [one for one in books.payments if one.status == "COMPLETED" and books.date(one.paid_at) <= on]
    ids = {one.id for one in received}
    spent = [one for one in books.allocations if one.payment_id in ids and books.date(one.created_at) <= on]
    return sum((one.amount for one in received), NOUGHT) - sum((one.amount for one in spent), NOUGHT)


def _rate(part: Decimal, whole: Decimal) -> float | None:
    return float((part * 100 / whole).quantize(Decimal("0.01"), ROUND_HALF_UP)) if whole else None
