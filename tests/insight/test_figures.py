"""The dashboard's figures are right to the cent, whatever happened and wherever the agency is."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from haven.db.session import tenant_session
from haven.insight import service
from tests.insight.random_agency import RandomAgency
from tests.insight.slow_figures import books_of, slow_figures
from tests.support.builders import a_lease, an_agency, an_invoice

ZONES = ("Africa/Nairobi", "America/New_York", "Europe/London", "Pacific/Chatham")
NOWS = (
    dt.datetime(2026, 11, 18, 9, tzinfo=dt.UTC),
    dt.datetime(2026, 4, 1, 3, 30, tzinfo=dt.UTC),
)
"""New York leaves summer time on 1 November 2026 and begins it on 8 March, London on 29 March; Chatham ends it on 5 April."""
HEAD = ("period", "timezone", "currency")
STEPS = 45


def months_before(now: dt.datetime, zone: str) -> list[str]:
    """The running month there, and the four before."""
    first = now.astimezone(ZoneInfo(zone)).date().replace(day=1)
    found = []
    for _ in range(5):
        found.append(f"{first:%Y-%m}")
        first = (first - dt.timedelta(days=1)).replace(day=1)
    return found


@pytest.mark.req("C4")
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("now", NOWS, ids=str)
def test_every_month_is_right_to_the_cent(engine, zone, now):
    agency = RandomAgency(engine, f"{zone}/{now}", zone, now)
    agency.live(STEPS)
    today = now.astimezone(ZoneInfo(zone)).date()

    for property_id in (None, *agency.properties):
        books = books_of(engine, agency.id, property_id)
        for month in months_before(now, zone):
            with tenant_session(engine, agency.id) as session:
                found = service.stats(session, month, property_id, now)
            slow = slow_figures(books, month, today)
            assert {name: value for name, value in found.items() if name not in HEAD} == slow, month
            assert found["collected"] == sum(one["amount"] for one in found["payments_by_day"])


def test_the_months_by_chance_hold_what_the_figures_are_made_of(engine):
    """The test above would say little of an agency in which nothing is void, reversed, credited or paid by a deposit."""
    zone, now = ZONES[0], NOWS[0]
    seen: set[str] = set()
    for number in range(3):
        agency = RandomAgency(engine, f"{number}", zone, now)
        agency.live(STEPS)
        books = books_of(engine, agency.id)
        seen |= {one.status for one in books.invoices} | {one.status for one in books.payments}
        seen |= {one.method for one in books.payments} | {one.status for one in books.leases}
        seen |= {"CREDITED" for one in books.invoices if one.credited}
        seen |= {"CREDIT" for one in books.payments if one.unallocated}
        figures = slow_figures(books, "2026-11", dt.date(2026, 11, 18))
        seen |= {name for name, amount in figures["arrears_ageing"].items() if amount > Decimal(0)}
    assert seen >= {
        "VOID",
        "DRAFT",
        "PAID",
        "REVERSED",
        "DEPOSIT",
        "CREDITED",
        "CREDIT",
        "TERMINATED",
        "days_1_to_30",
        "over_90_days",
    }


def test_first_and_last_day_of_a_lease_are_both_of_it(engine):
    today, day = dt.date(2026, 11, 18), dt.timedelta(days=1)
    agency_id = an_agency(engine)
    a_lease(engine, agency_id, start=today - 30 * day, end=today)
    a_lease(engine, agency_id, start=today)
    a_lease(engine, agency_id, start=today, end=today)
    a_lease(engine, agency_id, start=today - 30 * day, end=today - day, status="ENDED")
    a_lease(engine, agency_id, start=today + day)
    a_lease(engine, agency_id, start=today - 30 * day, end=today + 30 * day, status="TERMINATED")
    with tenant_session(engine, agency_id) as session:
        found = service.stats(session, None, None, dt.datetime(2026, 11, 18, 9, tzinfo=dt.UTC))
    assert (found["active_leases"], found["occupied"], found["vacant"]) == (4, 4, 2)
    assert found["expiring_leases"] == {"within_30_days": 3, "within_60_days": 3, "within_90_days": 3}


@pytest.mark.parametrize(
    "days, bucket",
    [
        (0, "current"),
        (1, "days_1_to_30"),
        (30, "days_1_to_30"),
        (31, "days_31_to_60"),
        (60, "days_31_to_60"),
        (61, "days_61_to_90"),
        (90, "days_61_to_90"),
        (91, "over_90_days"),
    ],
)
def test_what_is_owed_is_in_the_bucket_of_its_days_past_due(engine, days, bucket):
    agency_id = an_agency(engine)
    now = dt.datetime.now(dt.UTC)
    today = now.astimezone(ZoneInfo("Africa/Nairobi")).date()
    an_invoice(engine, agency_id, a_lease(engine, agency_id), "700.00", due=today - dt.timedelta(days=days))
    with tenant_session(engine, agency_id) as session:
        found = service.stats(session, f"{today:%Y-%m}", None, now)
    ageing = found["arrears_ageing"]
    assert ageing == dict.fromkeys(ageing, Decimal("0.00")) | {bucket: Decimal("700.00")}
    assert found["arrears"] == (Decimal("0.00") if bucket == "current" else Decimal("700.00"))
