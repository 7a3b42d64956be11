"""No list reads a large table from end to end, whatever it is sorted and narrowed by."""

from __future__ import annotations

import datetime as dt
import itertools
import json

import pytest
from sqlalchemy import event, text
from werkzeug.datastructures import MultiDict

from haven.api.listing import Listing
from haven.billing.days import agency_day
from haven.billing.routes import ACCOUNTS, CREDIT_NOTES, DISBURSEMENTS, ENTRIES, INVOICES
from haven.db.session import tenant_session
from haven.identity.routes import AUDIT, USERS
from haven.insight.activity import EVENTS
from haven.insight.figures import FIGURES, parameters
from haven.insight.periods import month_of
from haven.leasing.routes import LEASES, TENANTS
from haven.operations.routes import JOBS
from haven.payments.listings import PAYMENTS
from haven.portfolio.routes import OWNERS, PROPERTIES, UNITS

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

LISTS = {
    "owners": OWNERS.listing,
    "properties": PROPERTIES.listing,
    "units": UNITS.listing,
    "tenants": TENANTS.listing,
    "leases": LEASES.listing,
    "invoices": INVOICES.listing,
    "payments": PAYMENTS,
    "users": USERS.listing,
    "credit notes": CREDIT_NOTES,
    "disbursements": DISBURSEMENTS.listing,
    "ledger accounts": ACCOUNTS,
    "ledger entries": ENTRIES,
    "jobs": JOBS,
    "audit": AUDIT,
}
LARGE = {
    "invoice", "invoice_line", "payment", "allocation", "ledger_entry", "ledger_transaction", "lease", "tenant", "unit",
}  # fmt: skip
VALUES = {
    "status": "ACTIVE", "due_at": "2026-06-01", "period_start": "2026-06-01", "total": "25000.00",
    "amount": "25000.00", "paid_at": "2026-06-01T00:00:00Z", "method": "MPESA", "reference": "UKO1ABCDEF",
    "phone": "+254712345678", "start_date": "2026-01-01", "end_date": "2026-12-31", "rent_amount": "25000.00",
    "bedrooms": "2", "at": "2026-06-01T00:00:00Z", "issued_at": "2026-06-01T00:00:00Z", "created_at": "2026-06-01T00:00:00Z",
}  # fmt: skip
AN_ID = "019d137c-3380-7000-9936-5137ea84dd1a"


def _queries(listing: Listing):
    yield from ({"sort": sort} for sort in listing.sort_names)
    for parameter, (name, operator) in listing.parameters.items():
        value = AN_ID if name.endswith("_id") else VALUES.get(name, "Umoja")
        yield {parameter: value, "include_total": "true"} if not operator else {parameter: value}
    if listing.search is not None:
        yield {"q": "wanjiku"}
        yield {"q": "000123", "include_total": "true"}


CASES = list(
    itertools.chain.from_iterable(((name, query) for query in _queries(one)) for name, one in LISTS.items())
)


@pytest.mark.req("D3")
@pytest.mark.parametrize(
    "name, query",
    CASES,
    ids=[f"{name}?{'&'.join(query)}={next(iter(query.values()))}" for name, query in CASES],
)
def test_a_list_of_the_large_demo_reads_by_index(large, large_agency, name, query):
    listing = LISTS[name]
    statements = []

    def note(_connection, _cursor, statement, values, _context, _many):
        if statement.lstrip().upper().startswith("SELECT") and "set_config" not in statement:
            statements.append((statement, values))

    with tenant_session(large, large_agency) as session:
        event.listen(large, "before_cursor_execute", note)
        try:
            listing.page(session.connection(), listing.parse(MultiDict(query)))
        finally:
            event.remove(large, "before_cursor_execute", note)
        assert statements
        for statement, values in statements:
            cursor = session.connection().connection.cursor()
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
            (plan,) = cursor.fetchall()[0]
            plan = json.loads(plan) if isinstance(plan, str) else plan
            read_whole = {
                node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if node["Node Type"] == "Seq Scan"
            }
            assert not read_whole & LARGE, json.dumps(plan, indent=1)[:3000]


@pytest.mark.req("D3")
def test_the_dashboard_of_the_large_demo_reads_its_sums_from_indexes_alone(large, large_agency):
    nodes = _dashboard_plan(large, large_agency, FIGURES, None)
    read_by = {
        (node["Relation Name"], node["Node Type"])
        for node in nodes
        if node.get("Actual Loops") and "Relation Name" in node
    }
    # The units are as many as they are, whatever was paid: how they are found is PostgreSQL's choice.
    assert {one for one in read_by if one[0] != "unit"} == {
        (table, "Index Only Scan") for table in ("invoice", "payment", "lease", "property")
    }
    assert ("unit", "Seq Scan") not in read_by


@pytest.mark.req("D3")
@pytest.mark.parametrize("months_ago", [1, 12])
def test_the_dashboard_of_a_past_month_reads_by_index(large, large_agency, months_ago):
    nodes = _dashboard_plan(large, large_agency, FIGURES, months_ago)
    assert not {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} & LARGE


@pytest.mark.req("D3")
def test_recent_events_of_the_large_demo_read_a_page_of_each_kind(large, large_agency):
    nodes = _dashboard_plan(large, large_agency, EVENTS, None)
    assert not {node["Relation Name"] for node in nodes if node["Node Type"] in ("Seq Scan", "Sort")} & LARGE
    assert max(node["Actual Rows"] for node in nodes) <= 7 * 51


def _dashboard_plan(large, agency_id, statement, months_ago):
    with tenant_session(large, agency_id) as session:
        day = agency_day(session, dt.datetime.now(dt.UTC))
        first = day.today.replace(day=1)
        for _ in range(months_ago or 0):
            first = (first - dt.timedelta(days=1)).replace(day=1)
        values = parameters(agency_id, month_of(day, f"{first:%Y-%m}"), None)
        values |= {"at": "infinity", "id": AN_ID, "rank": 0, "most": 51}
        found = session.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"), values).scalar_one()
    return list(_nodes(found[0]["Plan"]))


def _nodes(plan):
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def test_the_search_of_the_large_demo_uses_its_trigram_index(large, large_agency):
    with tenant_session(large, large_agency) as session:
        plan = (
            session.execute(text("EXPLAIN SELECT count(*) FROM tenant WHERE search LIKE '%wanjiku%'"))
            .scalars()
            .all()
        )
    assert any("tenant_search_idx" in line for line in plan), plan
