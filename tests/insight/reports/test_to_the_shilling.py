"""Each report equals a slow and obvious recomputation, whatever happened and wherever the agency is; and they tie."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from haven.billing import service as billing
from haven.db.session import tenant_session
from haven.demo.service import load_demo
from haven.errors import Conflict
from haven.insight.reports.asking import Ask
from haven.insight.reports.making import make
from tests.insight.random_agency import RandomAgency
from tests.insight.reports import slow_reports as slow
from tests.support.builders import an_owner

NOW = dt.datetime(2026, 11, 18, 9, tzinfo=dt.UTC)
PLACES = (
    ("Africa/Nairobi", NOW),
    ("America/New_York", dt.datetime(2026, 11, 20, 3, 30, tzinfo=dt.UTC)),
    ("Pacific/Chatham", dt.datetime(2026, 4, 20, 3, 30, tzinfo=dt.UTC)),
)
"""New York leaves summer time on 1 November 2026; Chatham on 5 April."""


def facts(engine, agency_id, kind, first, last, now, **filters):
    document = document_of(engine, agency_id, kind, first, last, now, **filters)
    return {column.key: value for column, value in document.facts}


def document_of(engine, agency_id, kind, first, last, now, **filters):
    with tenant_session(engine, agency_id) as session:
        return make(session, Ask(kind, first, last, "json", filters), now)


def table(document, key):
    return next(one for one in document.tables if one.key == key)


def held(found, wanted):
    """Those of the facts that are wanted."""
    return {key: found[key] for key in wanted}


def periods(today):
    """The running month, the one before, odd days over both."""
    this = today.replace(day=1)
    before = (this - dt.timedelta(days=1)).replace(day=1)
    return [
        (this, (this + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)),
        (before, this - dt.timedelta(days=1)),
        (before.replace(day=11), today.replace(day=9)),
        (today - dt.timedelta(days=130), today),
        (today, today),
    ]


def check(engine, agency_id, first, last, now, property_id=None, more=None):
    """Every report of an agency, or of one property, against the slow ones."""
    filters = {} if property_id is None else {"property_id": property_id}
    more = more or slow.all_of(engine, agency_id, property_id)
    books, as_of = more.books, min(last, now.astimezone(more.books.zone).date())
    ask = (engine, agency_id)
    days = (first, last, now)

    wanted = slow.slow_arrears(books, as_of)
    document = document_of(*ask, "arrears", *days, **filters)
    assert {key: table(document, "leases").totals[key] for key in wanted} == wanted
    assert table(document, "leases").totals["arrears"] == {c.key: v for c, v in document.facts}["arrears"]

    wanted = slow.slow_rent_roll(books, as_of)
    document = document_of(*ask, "rent-roll", *days, **filters)
    rows = table(document, "units").rows
    assert sorted(
        ((row[1], row[7], row[4]) for row in rows if row[2] != "Past lease"), key=str
    ) == wanted.pop("lines")
    assert held({column.key: value for column, value in document.facts}, wanted) == wanted

    wanted = slow.slow_collections(books, first, last, as_of)
    document = document_of(*ask, "collections", *days, **filters)
    assert {row[0]: row[2] for row in table(document, "methods").rows} == wanted.pop("methods")
    assert {row[0]: row[2] for row in table(document, "days").rows if row[1]} == wanted.pop("days")
    assert held({column.key: value for column, value in document.facts}, wanted) == wanted
    for one in document.tables:
        money = next(c.key for c in one.columns if c.key in ("amount", "collected"))
        assert one.totals[money] == wanted["collected"]

    wanted = slow.slow_occupancy(more, first, last)
    found = facts(*ask, "occupancy", *days, **filters)
    assert held(found, wanted) == wanted

    wanted = slow.slow_financial(more, first, as_of)
    document = document_of(*ask, "financial", *days, **filters)
    found = table(document, "income").totals | table(document, "properties").totals
    found |= {column.key: value for column, value in document.facts}
    assert held(found, wanted) == wanted
    gone = found["collected"] + found["deposits_used"] + found["credits_used"]
    assert found["opening"] + found["invoiced"] - gone == found["closing"]
    kinds = ("rent", "utility", "late_fee", "other", "deposit")
    assert sum(found[kind] for kind in kinds) == found["invoiced"]


def with_owners(engine, agency, rng):
    """Owners for the two properties, before anything is collected."""
    owners = [an_owner(engine, agency.id, fee) for fee in ("8.00", "7.25")]
    with tenant_session(engine, agency.id) as session:
        for owner_id, property_id in zip(owners, agency.properties, strict=True):
            session.execute(
                text("UPDATE property SET owner_id = :owner WHERE id = :id"),
                {"owner": owner_id, "id": property_id},
            )
    return owners


def spend_and_pay(engine, agency, owners, rng):
    for owner_id in owners * 2:
        for act in (billing.spend, billing.pay_out):
            body = {
                "amount": Decimal(rng.randrange(1, 900_00)) / 100,
                "method": "BANK",
                "description": "A lock",
            }
            at = agency.moment()
            with tenant_session(engine, agency.id) as session:
                try:
                    act(session, owner_id, body | {"paid_at": at}, now=at)
                except Conflict:
                    session.rollback()


@pytest.mark.req("J5")
@pytest.mark.parametrize("zone, now", PLACES, ids=lambda value: str(value)[:16])
def test_every_report_is_right_to_the_cent(engine, zone, now):
    agency = RandomAgency(engine, f"reports/{zone}", zone, now)
    rng = Random(zone)
    owners = with_owners(engine, agency, rng)
    agency.live(40)
    spend_and_pay(engine, agency, owners, rng)
    today = now.astimezone(ZoneInfo(zone)).date()
    more = slow.all_of(engine, agency.id)
    for first, last in periods(today):
        check(engine, agency.id, first, last, now)
        check(engine, agency.id, first, last, now, agency.properties[0])
        as_of = min(today, last)
        owned = [slow.slow_owner(more, one, first, as_of) for one in owners]
        for owner_id, wanted in zip(owners, owned, strict=True):
            document = document_of(engine, agency.id, "owner-statement", first, last, now, owner_id=owner_id)
            found = {column.key: value for column, value in document.facts}
            assert held(found, wanted) == wanted
            assert table(document, "lines").totals["balance"] == wanted["closing_balance"]
            assert table(document, "months").totals["rent"] == found["rent_collected"]
        document = document_of(engine, agency.id, "financial", first, last, now)
        totals = table(document, "owners").totals
        income = table(document, "income")
        assert (income.totals["for_owner"], income.totals["fee"]) == (totals["collected"], totals["fee"])
        assert "Not by property" not in [row[0] for row in income.rows]
        assert totals["collected"] == sum(one["collected"] for one in owned)
        assert totals["fee"] == sum(one["management_fee"] for one in owned)
        assert totals["expenses"] == sum(one["expenses"] for one in owned)
        for tenant_id in {one.tenant_id for one in more.books.leases}:
            wanted = slow.slow_tenant(more, tenant_id, first, as_of)
            found = facts(engine, agency.id, "tenant-statement", first, last, now, tenant_id=tenant_id)
            assert held(found, wanted) == wanted
            assert found["opening_balance"] + found["charged"] - found["paid"] == found["closing_balance"]


def ledger(engine, agency_id, *codes):
    """Debits less credits of accounts, of all time."""
    with tenant_session(engine, agency_id) as session:
        return session.execute(
            text(
                "SELECT coalesce(sum(e.debit - e.credit), 0) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id"
                " WHERE a.code = ANY (:codes)"
            ),
            {"codes": list(codes)},
        ).scalar_one()


@pytest.fixture(scope="module")
def demo(engine, addresses, worker_number):
    """The small demo in a database of its own: its engine, its agency, the moment after it."""
    from sqlalchemy import create_engine

    from haven.db.migrate import sqlalchemy_url
    from haven.db.prepare import APP_ROLE, OWNER_ROLE

    name = f"reports_{worker_number}"
    addresses.new_database(name)
    load_demo(addresses.database_url(OWNER_ROLE, name), "small")
    made = create_engine(sqlalchemy_url(addresses.database_url(APP_ROLE, name)))
    with tenant_session(made, uuid.UUID(int=0), is_platform=True) as session:
        agency_id = session.execute(text("SELECT id FROM agency WHERE slug <> 'platform'")).scalar_one()
    yield made, agency_id, dt.datetime.now(dt.UTC)
    made.dispose()


@pytest.mark.req("J5")
def test_the_demo_is_right_to_the_shilling(demo):
    engine, agency_id, now = demo
    more = slow.all_of(engine, agency_id)
    for first, last in periods(now.astimezone(more.books.zone).date())[:2]:
        check(engine, agency_id, first, last, now, more=more)


def test_what_owners_got_adds_up_where_the_ledger_names_no_property(demo):
    engine, agency_id, now = demo
    today = now.astimezone(ZoneInfo("Africa/Nairobi")).date()
    document = document_of(engine, agency_id, "financial", today - dt.timedelta(days=200), today, now)
    income, owners = table(document, "income"), table(document, "owners").totals
    assert income.rows[-1][0] == "Not by property"
    assert (income.totals["for_owner"], income.totals["fee"]) == (owners["collected"], owners["fee"])
    assert income.totals["net"] == owners["collected"] - owners["fee"] > 0


@pytest.mark.req("J5")
def test_reports_tie_with_each_other_and_with_the_ledger(demo):
    engine, agency_id, now = demo
    today = now.astimezone(ZoneInfo("Africa/Nairobi")).date()
    first = today - dt.timedelta(days=900)
    owed = facts(engine, agency_id, "arrears", first, today, now)
    roll = facts(engine, agency_id, "rent-roll", first, today, now)
    summary = facts(engine, agency_id, "financial", first, today, now)
    got = facts(engine, agency_id, "collections", first, today, now)
    assert owed["owed"] > 0
    assert (
        owed["owed"] == roll["owed"] == summary["closing"] == ledger(engine, agency_id, "TENANT_RECEIVABLE")
    )
    assert owed["arrears"] == roll["arrears"] == summary["closing_arrears"]
    assert owed["credit"] == roll["credit"] == -ledger(engine, agency_id, "TENANT_CREDIT")
    with tenant_session(engine, agency_id) as session:
        cash = session.execute(
            text(
                "SELECT sum(e.debit - e.credit) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id"
                " JOIN ledger_transaction t ON t.id = e.transaction_id WHERE a.code IN ('MPESA_CLEARING', 'BANK', 'CASH')"
                " AND t.kind IN ('PAYMENT', 'REVERSAL', 'MATCHED', 'UNMATCHED')"
            )
        ).scalar_one()
    assert got["collected"] + got["suspense"] == cash
