"""Credit notes, deposits, owners' money, statements and the ledger, as a client sees them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from extensions.database import count_statements
from tests.api.conftest import an_invoice, let_a_flat
from tests.api.operations import assert_is_problem

RENT_AND_DEPOSIT = [
    {"kind": "RENT", "description": "Rent", "amount": "300.00"},
    {"kind": "DEPOSIT", "description": "Deposit", "amount": "500.00"},
]


@pytest.fixture
def flat(admin):
    return let_a_flat(admin)


def pay(by, flat, amount):
    return by.made("/payments", lease_id=flat.lease["id"], amount=amount, method="CASH")


def the_end(by, flat):
    answer = by.post(f"/leases/{flat.lease['id']}/terminate", {"date": "2026-11-20", "reason": "Moved"})
    assert answer.status_code == 200, answer.get_json()


def test_a_credit_note_is_made_of_an_invoice_and_shown(admin, flat):
    invoice = an_invoice(admin, flat.lease["id"])
    answer = admin.post(f"/invoices/{invoice['id']}/credit", {"amount": "1000", "reason": "No water"})
    note = answer.get_json()
    assert (answer.status_code, note["number"], note["amount"]) == (201, "CN-000001", "1000.00")
    assert note["lines"] == [
        {"kind": "CREDIT", "charge_kind": "RENT", "description": "No water", "amount": "-1000.00"}
    ]
    assert answer.headers["Location"] == f"/api/v1/credit-notes/{note['id']}"
    assert admin.get(f"/credit-notes/{note['id']}").get_json() == note
    assert admin.get(f"/credit-notes?invoice_id={invoice['id']}").get_json()["data"] == [note]
    shown = admin.get(f"/invoices/{invoice['id']}").get_json()
    assert (shown["credited"], shown["balance"]) == ("1000.00", "24000.00")


def test_a_credit_is_given_once_for_one_key_and_only_on_the_version_that_was_read(admin, flat):
    invoice = an_invoice(admin, flat.lease["id"])
    path, body = f"/invoices/{invoice['id']}/credit", {"amount": "10.00", "reason": "No light"}
    stale = admin.post(path, body, If_Match='"99"')
    assert_is_problem(stale, 412)
    first, again = (admin.post(path, body, Idempotency_Key="credit-1") for _ in range(2))
    assert (first.get_json(), again.headers["Idempotency-Replayed"]) == (again.get_json(), "true")
    assert admin.get(f"/invoices/{invoice['id']}").get_json()["credited"] == "10.00"


def test_more_than_is_left_is_a_conflict_that_names_the_field(admin, flat):
    invoice = an_invoice(admin, flat.lease["id"], "100.00")
    answer = admin.post(f"/invoices/{invoice['id']}/credit", {"amount": "100.01", "reason": "No roof"})
    problem = assert_is_problem(answer, 409)
    assert problem["errors"] == [
        {"pointer": "/amount", "detail": "INV-000001 has 100.00 left to credit, not 100.01."}
    ]


def test_a_deposit_is_shown_on_its_lease_and_settled_when_that_is_over(admin, flat):
    lease = f"/leases/{flat.lease['id']}"
    an_invoice(admin, flat.lease["id"], lines=RENT_AND_DEPOSIT)
    before = admin.get(lease)
    pay(admin, flat, "800.00")
    after = admin.get(lease)
    assert (before.get_json()["deposit_held"], after.get_json()["deposit_held"]) == ("0.00", "500.00")
    assert before.headers["ETag"] != after.headers["ETag"]
    assert_is_problem(admin.post(f"{lease}/deposit/refund", {"method": "CASH"}), 409)
    an_invoice(admin, flat.lease["id"], "120.00")
    the_end(admin, flat)
    applied = admin.post(f"{lease}/deposit/apply", {})
    assert (applied.status_code, applied.get_json()["used"]) == (200, "120.00")
    payment = admin.client.get(
        applied.headers["Location"], headers={"Authorization": f"Bearer {admin.token}"}
    )
    assert (payment.get_json()["method"], payment.get_json()["amount"]) == ("DEPOSIT", "120.00")
    assert admin.post(f"{lease}/deposit/retain", {"amount": "80", "reason": "Broken door"}).status_code == 200
    refunded = admin.post(f"{lease}/deposit/refund", {"method": "BANK", "reference": "RTGS 7"}).get_json()
    assert refunded == {
        "lease_id": flat.lease["id"],
        "charged": "500.00",
        "paid": "500.00",
        "used": "200.00",
        "refunded": "300.00",
        "held": "0.00",
    }
    (row,) = admin.get("/disbursements?kind=DEPOSIT_REFUND").get_json()["data"]
    assert (row["amount"], row["lease_id"], row["status"]) == ("300.00", flat.lease["id"], "RECORDED")


def test_an_owner_sees_what_is_collected_and_is_paid_no_more_than_is_his(admin, flat):
    owner = f"/owners/{flat.property['owner_id']}"
    an_invoice(admin, flat.lease["id"], "1000.00")
    pay(admin, flat, "1000.00")
    assert_is_problem(admin.post(f"{owner}/payouts", {"amount": "920.01", "method": "BANK"}), 409)
    paid = admin.made(f"{owner}/payouts", amount="900.00", method="BANK")
    admin.made(f"{owner}/expenses", amount="10.00", method="CASH", description="A lock")
    shown = admin.get(f"{owner}/balance").get_json()
    money = {
        name: value for name, value in shown.items() if name not in ("owner_id", "from", "to", "currency")
    }
    assert money == {
        "opening_balance": "0.00",
        "collected": "1000.00",
        "rent_collected": "1000.00",
        "management_fee": "80.00",
        "expenses": "10.00",
        "payouts": "900.00",
        "closing_balance": "10.00",
    }
    undone = admin.post(f"/disbursements/{paid['id']}/reverse", {"reason": "It came back"}, If_Match='"1"')
    assert (undone.status_code, undone.get_json()["status"]) == (200, "REVERSED")
    assert admin.get(f"{owner}/balance").get_json()["closing_balance"] == "910.00"


def test_a_tenants_statement_ends_with_what_he_owes(admin, flat):
    an_invoice(admin, flat.lease["id"], "1000.00")
    pay(admin, flat, "400.00")
    shown = admin.get(f"/tenants/{flat.tenant['id']}/statement").get_json()
    assert [(one["kind"], one["debit"], one["credit"], one["balance"]) for one in shown["lines"]] == [
        ("INVOICE", "1000.00", "0.00", "1000.00"),
        ("PAYMENT", "0.00", "400.00", "600.00"),
    ]
    assert shown["closing_balance"] == admin.get(f"/tenants/{flat.tenant['id']}").get_json()["balance"]
    past = admin.get(f"/tenants/{flat.tenant['id']}/statement?from=2020-01-01&to=2020-12-31").get_json()
    assert (past["from"], past["to"], past["lines"], past["closing_balance"]) == (
        "2020-01-01",
        "2020-12-31",
        [],
        "0.00",
    )


@pytest.mark.parametrize(
    "query, pointer",
    [
        ("since=2026-01-01", "since"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("to=9999-12-31", "to"),
        ("from=2026-02-01&to=2026-01-31", "from"),
        ("from=2026-02-01&from=2026-02-02", "from"),
        ("from=%00", "from"),
    ],
)
def test_days_that_are_none_are_refused(admin, flat, query, pointer):
    for path in (f"/tenants/{flat.tenant['id']}/statement", f"/owners/{flat.property['owner_id']}/balance"):
        problem = assert_is_problem(admin.get(f"{path}?{query}"), 422)
        assert problem["errors"][0]["pointer"] == pointer


def test_the_ledger_is_listed_and_adds_up(admin, flat):
    invoice = an_invoice(admin, flat.lease["id"], "1000.00")
    payment = pay(admin, flat, "400.00")
    accounts = admin.get("/ledger/accounts").get_json()["data"]
    assert sum(Decimal(one["balance"]) for one in accounts) == 0
    (owed,) = admin.get(
        f"/ledger/accounts?code=TENANT_RECEIVABLE&lease_id={flat.lease['id']}&include_total=true"
    ).get_json()["data"]
    assert (owed["debit"], owed["credit"], owed["balance"]) == ("1000.00", "400.00", "600.00")
    kinds = {
        query: [
            (one["kind"], one["code"], one["debit"], one["credit"])
            for one in admin.get(f"/ledger/entries?sort=created_at&{query}").get_json()["data"]
        ]
        for query in (
            f"account_id={owed['id']}",
            f"lease_id={flat.lease['id']}&kind=PAYMENT",
            f"invoice_id={invoice['id']}&kind=INVOICE",
            f"payment_id={payment['id']}",
            f"owner_id={flat.property['owner_id']}&at__gte=2020-01-01T00:00:00Z",
            "at__lte=2020-01-01T00:00:00Z",
        )
    }
    receivable = ("INVOICE", "TENANT_RECEIVABLE", "1000.00", "0.00")
    paid = ("PAYMENT", "TENANT_RECEIVABLE", "0.00", "400.00")
    assert [sorted(one) for one in kinds.values()] == [
        [receivable, paid],
        [paid],
        [("INVOICE", "RENT_INCOME", "0.00", "1000.00"), receivable],
        [("PAYMENT", "CASH", "400.00", "0.00"), paid],
        [
            ("COLLECTED", "OWNER_PAYABLE", "0.00", "400.00"),
            ("MANAGEMENT_FEE", "OWNER_PAYABLE", "32.00", "0.00"),
        ],
        [],
    ]
    trial = admin.get("/ledger/trial-balance").get_json()
    assert trial["debit"] == trial["credit"]


def test_who_only_views_reads_the_money_and_moves_none(caller_of, admin, flat):
    viewer = caller_of("VIEWER", admin.agency_id)
    invoice = an_invoice(admin, flat.lease["id"])
    for path in ("/ledger/entries", "/credit-notes", "/disbursements", f"/leases/{flat.lease['id']}/deposit"):
        assert viewer.get(path).status_code == 200
    for path, body in (
        (f"/invoices/{invoice['id']}/credit", {"amount": "1", "reason": "No"}),
        (f"/owners/{flat.property['owner_id']}/payouts", {"amount": "1", "method": "CASH"}),
        (f"/leases/{flat.lease['id']}/deposit/refund", {"method": "CASH"}),
    ):
        assert_is_problem(viewer.post(path, body), 403)


def test_statements_and_balances_cost_the_same_for_few_events_and_for_many(app, admin, flat):
    paths = (f"/tenants/{flat.tenant['id']}/statement", f"/owners/{flat.property['owner_id']}/balance")
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    counts = []
    for _ in range(2):
        for _ in range(3):
            an_invoice(admin, flat.lease["id"], "10.00")
            pay(admin, flat, "10.00")
        with count_statements(engine) as counted:
            assert all(admin.get(path).status_code == 200 for path in paths)
        counts.append(counted.count)
    assert counts[0] == counts[1] <= 9
