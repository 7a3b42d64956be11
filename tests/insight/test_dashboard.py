"""``/dashboard/stats`` and ``/dashboard/activity`` as their callers see them."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
import uuid
from decimal import Decimal

import pytest
from sqlalchemy import event

from extensions.database import count_statements
from haven.api import cached
from haven.api.warming import warm
from haven.insight.activity import EVENTS
from haven.insight.figures import FIGURES
from tests.api.conftest import an_invoice, let_a_flat, warm_up
from tests.insight.slow_figures import books_of, slow_figures

pytestmark = pytest.mark.usefixtures("settled_cache")

AGENCY_ROLES = ("AGENCY_ADMIN", "MANAGER", "ACCOUNTANT", "VIEWER")
STATS = "/dashboard/stats"
ACTIVITY = "/dashboard/activity"


@pytest.fixture(scope="module")
def web_engine(app):
    with app.app_context():
        return app.extensions["sqlalchemy"].engine


@pytest.fixture
def flat(admin):
    return let_a_flat(admin)


def pay(by, lease_id, amount="1000.00", **body):
    return by.made("/payments", lease_id=lease_id, amount=amount, method="CASH", **body)


def as_text(value):
    """The document as JSON has it."""
    if isinstance(value, dict):
        return {name: as_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_text(one) for one in value]
    return str(value) if isinstance(value, Decimal | dt.date) else value


@pytest.mark.req("C4")
def test_a_new_agency_has_noughts_and_no_rates(admin):
    shown = admin.get(STATS).get_json()
    assert (shown["collected"], shown["arrears"], shown["invoiced"]) == ("0.00", "0.00", "0.00")
    assert shown["arrears_ageing"] == dict.fromkeys(shown["arrears_ageing"], "0.00")
    assert (shown["occupancy_rate"], shown["collection_rate"], shown["collected_to_invoiced"]) == (None,) * 3
    assert {one["amount"] for one in shown["payments_by_day"]} == {"0.00"}


@pytest.mark.req("C4")
def test_what_is_shown_is_what_the_rows_say(admin, flat, engine):
    an_invoice(admin, flat.lease["id"])
    pay(admin, flat.lease["id"], "30000.00")
    shown = admin.get(STATS).get_json()

    today = dt.date.fromisoformat(shown["as_of"])
    slow = slow_figures(books_of(engine, admin.agency_id), shown["period"]["month"], today)
    assert {name: shown[name] for name in slow} == as_text(slow)
    assert (shown["invoiced"], shown["collected"]) == ("25000.00", "30000.00")
    assert (shown["occupied"], shown["vacant"], shown["occupancy_rate"]) == (1, 0, 100.0)
    assert (shown["timezone"], shown["currency"]) == ("Africa/Nairobi", "KES")


@pytest.mark.req("C6")
def test_who_pays_and_looks_at_once_sees_the_payment(admin, flat):
    for number in range(1, 6):
        admin.get(STATS)
        admin.get(ACTIVITY)
        paid = pay(admin, flat.lease["id"])
        stats, activity = admin.get(STATS), admin.get(ACTIVITY)
        assert stats.get_json()["collected"] == f"{number}000.00"
        assert activity.get_json()["data"][0]["id"] == paid["id"]
        assert {stats.headers["X-Cache"], activity.headers["X-Cache"]} == {"MISS"}


@pytest.mark.req("C6")
@pytest.mark.parametrize(
    "act",
    [
        lambda by, flat, paid, invoice: by.post(f"/payments/{paid['id']}/reverse", {"reason": "Bounced"}),
        lambda by, flat, paid, invoice: by.post(
            f"/invoices/{invoice['id']}/credit", {"amount": "1.00", "reason": "Repairs"}
        ),
        lambda by, flat, paid, invoice: by.post(f"/invoices/{invoice['id']}/void", {"reason": "A mistake"}),
        lambda by, flat, paid, invoice: by.post(
            f"/leases/{flat.lease['id']}/terminate", {"date": "2026-11-02", "reason": "Moved out"}
        ),
        lambda by, flat, paid, invoice: by.post(
            "/units", {"property_id": flat.property["id"], "label": "A2", "rent_amount": "1.00"}
        ),
        lambda by, flat, paid, invoice: by.patch(
            f"/agencies/{by.agency_id}", {"timezone": "Pacific/Kiritimati"}
        ),
    ],
    ids=["reversal", "credit note", "void", "termination", "unit", "time zone"],
)
def test_whatever_changes_the_figures_shows_at_once(admin, flat, act):
    paid = pay(admin, flat.lease["id"])
    invoice = an_invoice(admin, flat.lease["id"])
    before = admin.get(STATS)
    # A pause of a busy machine may be taken for doubt: then it is computed once more.
    assert any(admin.get(STATS).headers["X-Cache"] == "HIT" for _ in range(10))

    answer = act(admin, flat, paid, invoice)

    assert answer.status_code < 300, answer.get_json()
    after = admin.get(STATS)
    assert after.headers["X-Cache"] in ("MISS", "BYPASS")
    assert after.get_json() != before.get_json()


@pytest.mark.req("C5")
@pytest.mark.parametrize("path", [STATS, ACTIVITY])
def test_the_second_answer_is_stored_and_a_third_need_not_be_sent(admin, flat, path):
    first, second = admin.get(path), admin.get(path)
    third = admin.get(path, If_None_Match=first.headers["ETag"])
    assert (first.headers["X-Cache"], second.headers["X-Cache"], third.status_code) == ("MISS", "HIT", 304)
    assert first.get_data() == second.get_data()
    assert third.get_data() == b""


@pytest.mark.req("C8")
def test_two_hundred_who_ask_at_once_have_it_computed_once(app, admin, flat, web_engine):
    assert admin.get("/auth/me").status_code == 200  # the sign-in is known
    computed: list[str] = []

    def note(_connection, _cursor, statement, *_):
        if "WITH chosen_lease" in statement:
            computed.append(statement)

    start, answers = threading.Barrier(200), list[tuple[int, bytes]]()

    def ask():
        client = app.test_client()
        start.wait()
        answer = client.get(f"/api/v1{STATS}", headers={"Authorization": f"Bearer {admin.token}"})
        answers.append((answer.status_code, answer.get_data()))

    event.listen(web_engine, "before_cursor_execute", note)
    try:
        threads = [threading.Thread(target=ask) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        event.remove(web_engine, "before_cursor_execute", note)
    assert len(answers) == 200
    assert len(set(answers)) == 1
    assert answers[0][0] == 200
    assert len(computed) == 1


def statements_of(counted):
    """Those of the answer itself: without the one that says whose it is, and the cache's look for debts."""
    return [one for one in counted.statements if "set_config" not in one and "cache_debt" not in one]


@pytest.mark.req("D4")
@pytest.mark.parametrize("path, most", [(STATS, 2), (ACTIVITY, 1)])
def test_it_costs_two_statements_computed_and_none_stored(admin, flat, web_engine, path, most):
    warm_up(admin, web_engine)
    with count_statements(web_engine) as cold:
        assert admin.get(path).headers["X-Cache"] == "MISS"
    with count_statements(web_engine) as warmed:
        assert admin.get(path).headers["X-Cache"] == "HIT"
    assert len(statements_of(cold)) == most, cold.statements
    assert statements_of(warmed) == []


def test_one_property_is_asked_for_by_its_id(admin, flat):
    other = let_a_flat(admin, rent="7000.00")
    pay(admin, flat.lease["id"], "300.00")
    pay(admin, other.lease["id"], "4000.00")
    both, one = admin.get(STATS), admin.get(f"{STATS}?property_id={other.property['id']}")
    assert (both.get_json()["collected"], both.get_json()["units"]) == ("4300.00", 2)
    assert (one.get_json()["collected"], one.get_json()["units"]) == ("4000.00", 1)


@pytest.mark.req("D4")
def test_another_agencys_property_is_not_found(admin, caller_of, flat):
    stranger = caller_of()
    for property_id in (flat.property["id"], uuid.uuid4()):
        assert stranger.get(f"{STATS}?property_id={property_id}").status_code == 404
    pay(admin, flat.lease["id"])
    assert stranger.get(STATS).get_json()["collected"] == "0.00"
    assert stranger.get(ACTIVITY).get_json()["data"] == []


def test_every_role_of_an_agency_reads_it_and_an_operator_does_not(admin, caller_of, flat):
    pay(admin, flat.lease["id"])
    shown = {caller_of(role, admin.agency_id).get(STATS).get_data() for role in AGENCY_ROLES}
    assert len(shown) == 1
    assert caller_of("PLATFORM_ADMIN").get(STATS).status_code == 403
    assert caller_of(agency_id=admin.agency_id, scopes=("units:read",)).get(STATS).status_code == 403


@pytest.mark.parametrize(
    "query, pointer",
    [
        ("month=2026-13", "month"),
        ("month=2026-1", "month"),
        ("month=2999-01", "month"),
        ("month=1969-12", "month"),
        ("month=", "month"),
        ("month=2026-01&month=2026-02", "month"),
        ("property_id=x", "property_id"),
        ("property_id=", "property_id"),
        ("year=2026", "year"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(admin, query, pointer):
    answer = admin.get(f"{STATS}?{query}")
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["pointer"] == pointer


def test_a_past_month_is_seen_as_of_its_last_day(admin, flat):
    pay(admin, flat.lease["id"], "500.00", paid_at="2026-01-31T20:59:59.999999Z")
    pay(admin, flat.lease["id"], "70.00", paid_at="2026-01-31T21:00:00Z")  # February in Nairobi
    shown = admin.get(f"{STATS}?month=2026-01").get_json()
    assert shown["period"] == {"month": "2026-01", "from": "2026-01-01", "to": "2026-01-31"}
    assert (shown["as_of"], shown["collected"], len(shown["payments_by_day"])) == ("2026-01-31", "500.00", 31)
    assert shown["payments_by_day"][-1] == {"date": "2026-01-31", "count": 1, "amount": "500.00"}
    assert shown["active_leases"] == 0  # it begins in November


@pytest.mark.req("C5")
def test_what_was_stored_before_midnight_is_not_served_after_it(admin, flat, monkeypatch):
    assert [admin.get(STATS).headers["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]
    monkeypatch.setattr(cached, "_now", lambda: time.time() + 900)
    assert admin.get(STATS).headers["X-Cache"] == "MISS"


@pytest.mark.req("C4")
def test_it_is_warmed_for_every_role_that_may_read_it(app, admin, flat, caller_of, engine):
    runtime = app.extensions["haven"]
    lives = runtime.settings.flask_config()
    assert warm(runtime.cache, engine, admin.agency_id, ["dashboard"], lives) == 2 * len(AGENCY_ROLES)
    for role in AGENCY_ROLES:
        by = caller_of(role, admin.agency_id)
        assert [by.get(path).headers["X-Cache"] for path in (STATS, ACTIVITY)] == ["HIT", "HIT"]


@pytest.mark.req("C3")
def test_it_lives_as_long_as_the_setting_says(app, admin, flat):
    admin.get(STATS)
    runtime = app.extensions["haven"]
    client = runtime.cache.link.run(lambda redis: redis)
    found = [
        client.pttl(key) / 1000
        for key in client.scan_iter(f"haven:{{{admin.agency_id}}}:dashboard:*")
        if not key.endswith(b":lease")
    ]
    stale_s = runtime.cache.rules.stale_s
    assert found
    assert all(290 + stale_s < left <= 300 + stale_s for left in found)


def test_what_happened_last_comes_first_and_page_by_page(admin, flat):
    invoice = an_invoice(admin, flat.lease["id"])
    paid = pay(admin, flat.lease["id"], "100.00")
    assert admin.post(f"/payments/{paid['id']}/reverse", {"reason": "Bounced"}).status_code == 200
    credit = {"amount": "1.00", "reason": "Repairs"}
    noted = admin.post(f"/invoices/{invoice['id']}/credit", credit)
    assert noted.status_code == 201, noted.get_json()
    void = an_invoice(admin, flat.lease["id"])
    assert admin.post(f"/invoices/{void['id']}/void", {"reason": "A mistake"}).status_code == 200
    notice = {"date": "2026-12-31", "reason": "Moves out"}
    assert admin.post(f"/leases/{flat.lease['id']}/terminate", notice).status_code == 200

    whole = admin.get(ACTIVITY).get_json()
    assert [row["kind"] for row in whole["data"]] == [
        "LEASE_TERMINATED", "INVOICE_VOIDED", "INVOICE_ISSUED", "CREDIT_NOTE_ISSUED", "PAYMENT_REVERSED",
        "PAYMENT_COMPLETED", "INVOICE_ISSUED", "LEASE_ACTIVATED",
    ]  # fmt: skip
    assert whole["pagination"] == {"limit": 50, "next_cursor": None, "has_more": False}
    row = whole["data"][5]
    assert (row["number"], row["amount"], row["method"], row["tenant"]) == (
        paid["receipt_number"], "100.00", "CASH", "Brian Mutua",
    )  # fmt: skip
    assert (row["unit"], row["property"], row["entity"]) == ("A1", "Umoja Heights", "payment")

    rows, link = [], f"{ACTIVITY}?limit=3"
    while link:
        answer = admin.get(link)
        rows += answer.get_json()["data"]
        cursor = answer.get_json()["pagination"]["next_cursor"]
        assert (cursor is not None) == ("Link" in answer.headers)
        link = f"{ACTIVITY}?limit=3&cursor={cursor}" if cursor else ""
    assert rows == whole["data"]


def test_events_of_one_moment_are_neither_lost_nor_told_twice(admin, flat):
    ids = {pay(admin, flat.lease["id"], "1.00", paid_at="2026-11-02T09:00:00Z")["id"] for _ in range(5)}
    told, cursor = [], ""
    for _ in range(10):
        page = admin.get(f"{ACTIVITY}?limit=2{cursor}").get_json()
        told += [row["id"] for row in page["data"] if row["kind"] == "PAYMENT_COMPLETED"]
        if not page["pagination"]["has_more"]:
            break
        cursor = f"&cursor={page['pagination']['next_cursor']}"
    assert sorted(told) == sorted(ids)


def test_the_tags_name_every_table_that_is_read():
    """What is forgotten there would be served after it has changed."""
    from haven.db.base import Base
    from haven.insight.routes import ACTIVITY_RULE, STATS_RULE

    for rule, statement in ((STATS_RULE, f"{FIGURES} FROM agency "), (ACTIVITY_RULE, str(EVENTS))):
        words = statement.split()
        read = {
            word.strip("(),")
            for before, word in itertools.pairwise(words)
            if before.upper() in ("FROM", "JOIN")
        }
        assert read & set(Base.metadata.tables) == set(rule.tags)
