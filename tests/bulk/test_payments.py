"""Payments in bulk do to the books what the same payments do one by one."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import text

from haven.bulk import running
from haven.db.session import tenant_session
from haven.operations import jobs
from haven.payments import service as payments
from haven.payments.models import UnmatchedReceipt
from haven.payments.suspense import lock_receipt, lock_receipts, receipt_lock
from tests.api.conftest import an_invoice, let_a_flat

# What the books say, without ids and moments of their own; a lease is told by its start.
BOOKS = {
    "payments": "SELECT l.start_date, p.amount, p.method, p.status, p.paid_at, p.reference, p.phone, p.allocated, p.unallocated,"
    " p.receipt_number, p.version, p.invoice_id IS NULL FROM payment p JOIN lease l ON l.id = p.lease_id",
    "allocations": "SELECT p.receipt_number, i.number, a.amount FROM allocation a JOIN payment p ON p.id = a.payment_id"
    " JOIN invoice i ON i.id = a.invoice_id",
    "invoices": "SELECT number, paid, balance, status FROM invoice",
    "ledger": "SELECT t.kind, CASE WHEN t.kind <> 'INVOICE' THEN t.at END, t.description, p.receipt_number, i.number, a.code,"
    " l.start_date, a.owner_id IS NULL, e.debit, e.credit FROM ledger_entry e"
    " JOIN ledger_transaction t ON t.id = e.transaction_id JOIN ledger_account a ON a.id = e.account_id"
    " LEFT JOIN payment p ON p.id = t.payment_id LEFT JOIN invoice i ON i.id = t.invoice_id"
    " LEFT JOIN lease l ON l.id = a.lease_id",
    "order": "SELECT l.start_date, array_agg(p.receipt_number ORDER BY t.id) FROM ledger_transaction t"
    " JOIN payment p ON p.id = t.payment_id JOIN lease l ON l.id = p.lease_id GROUP BY 1",
    "owners": "SELECT i.number, s.fee_percent, s.rent, s.other, s.fee FROM owner_share s JOIN invoice i ON i.id = s.invoice_id",
    "evidence": "SELECT kind, detail ->> 'receipt', (detail ->> 'recorded_by') LIKE 'key:%' FROM mpesa_evidence",
    "audit": "SELECT action, entity, changes ->> 'amount', changes ->> 'allocated' FROM audit_entry"
    " WHERE entity = 'payment' AND action = 'INSERT'",
    "told": "SELECT p.receipt_number, n.kind, n.channel, n.language, n.subject, regexp_replace(n.body, '[0-9a-f-]{36}', '')"
    " FROM notification n JOIN payment p ON p.id = n.about_id",
    "webhooks": "SELECT event, payload ->> 'receipt_number', payload ->> 'amount', payload ->> 'status' FROM webhook_delivery",
    "counter": "SELECT name, value FROM counter",
}  # fmt: skip


def books(engine, by):
    with tenant_session(engine, by.agency_id) as session:
        return {name: sorted(map(repr, session.execute(text(query)).all())) for name, query in BOOKS.items()}


def set_up(by):
    """Three leases: one with two invoices, one with one, one with none; and a webhook that listens."""
    by.made("/webhooks", url="https://makao.test/events", events=["payment.completed"])
    flats = [let_a_flat(by, start_date=f"2026-0{month}-01") for month in (1, 2, 3)]
    leases = [flat.lease["id"] for flat in flats]
    invoices = [
        an_invoice(by, leases[0], "25000.00", due_at="2026-11-05"),
        an_invoice(by, leases[0], "3000.00", due_at="2026-11-20"),
        an_invoice(by, leases[1], "25000.00"),
    ]
    return leases, [one["id"] for one in invoices]


def some(leases, invoices):
    first, second, third = leases
    at = "2026-11-0{}T08:00:00Z".format
    return [
        {"lease_id": first, "amount": "1000.33", "method": "CASH", "paid_at": at(3)},
        {"lease_id": second, "amount": "25000.00", "method": "BANK", "paid_at": at(4), "reference": "Slip 7"},
        {"invoice_id": invoices[1], "amount": "2500.00", "method": "MPESA", "reference": "sgl4a1b2c3", "paid_at": at(2)},
        {"lease_id": first, "amount": "30000.00", "method": "CHEQUE", "paid_at": at(1), "phone": "+254712345678"},
        {"lease_id": third, "amount": "10.00", "method": "CARD", "paid_at": at(5)},
        {"lease_id": first, "amount": "5.00", "method": "CASH", "paid_at": at(6)},
    ]  # fmt: skip


def test_the_books_are_the_same_to_the_shilling(caller_of, engine):
    alone, together = caller_of(), caller_of()
    for row in some(*set_up(alone)):
        alone.made("/payments", **row)
    answer = together.post("/payments/bulk", some(*set_up(together)))
    assert answer.status_code == 200, answer.get_json()
    one_by_one, in_bulk = books(engine, alone), books(engine, together)
    for name, rows in one_by_one.items():
        assert rows, name
        assert rows == in_bulk[name], name
    assert together.get("/ledger/trial-balance").status_code == 200


def test_the_same_is_refused_with_the_same_words(caller_of, engine):
    by = caller_of()
    leases, invoices = set_up(by)
    by.made("/payments", lease_id=leases[0], amount="1.00", method="MPESA", reference="TAKEN00001")
    draft = by.made(
        "/invoices",
        lease_id=leases[2],
        lines=[{"kind": "RENT", "description": "Rent", "amount": "1.00"}],
        period_start="2026-11-01",
        period_end="2026-11-30",
        due_at="2026-12-01",
    )
    with tenant_session(engine, by.agency_id) as session:
        session.add(
            UnmatchedReceipt(
                agency_id=by.agency_id,
                receipt="WAITING001",
                amount=1,
                received_at=dt.datetime.now(dt.UTC),
                account_typed="A1",
            )
        )
    cash = {"lease_id": leases[0], "amount": "1.00", "method": "CASH"}
    wrong = [
        cash | {"method": "MPESA"},
        cash | {"method": "MPESA", "reference": "TAKEN00001"},
        cash | {"method": "MPESA", "reference": "waiting001"},
        cash | {"lease_id": "0198b4f0-7c1e-7b3a-9d2e-5f6a7b8c9d0e"},
        cash | {"invoice_id": "0198b4f0-7c1e-7b3a-9d2e-5f6a7b8c9d0e"},
        cash | {"invoice_id": invoices[2]},
        {"invoice_id": draft["id"], "amount": "1.00", "method": "CASH"},
        {"amount": "1.00", "method": "CASH"},
        cash | {"paid_at": "2099-01-01T00:00:00Z"},
        cash | {"amount": "0.00"},
    ]
    before = books(engine, by)
    alone = [by.post("/payments", row).get_json() for row in wrong]
    report = by.post("/payments/bulk?mode=partial", [cash, *wrong]).get_json()
    assert (report["succeeded"], report["failed"]) == (1, len(wrong))
    for number, (single, error) in enumerate(zip(alone, report["errors"], strict=True), start=2):
        assert error["row"] == number
        assert error["detail"] == (
            single["errors"][0]["detail"] if single.get("errors") else single["detail"]
        )
    after = books(engine, by)
    assert len(after["payments"]) == len(before["payments"]) + 1


def test_a_receipt_twice_in_a_file_is_taken_once(caller_of):
    by = caller_of()
    leases, _ = set_up(by)
    row = {"lease_id": leases[0], "amount": "1.00", "method": "MPESA", "reference": "SGL4A1B2C3"}
    report = by.post("/payments/bulk?mode=partial", [row | {"amount": "-1"}, row, row]).get_json()
    assert [(one["row"], one["column"]) for one in report["errors"]] == [(1, "amount"), (3, "reference")]
    assert by.post("/payments/bulk", [row]).status_code == 422


def test_a_bulk_payment_is_told_of_once(caller_of, engine, runtime):
    by = caller_of()
    leases, _ = set_up(by)
    rows = [{"lease_id": leases[0], "amount": f"{n}.00", "method": "CASH"} for n in range(1, 26)]
    assert by.post("/payments/bulk", rows).status_code == 200
    with tenant_session(engine, by.agency_id) as session:
        sends = (
            session.execute(text("SELECT arguments -> 'about_ids' FROM job WHERE kind = 'notification_send'"))
            .scalars()
            .all()
        )
        told = set(session.execute(text("SELECT about_id::text FROM notification")).scalars())
    assert sorted(len(one) for one in sends) == [5, 20]
    assert {payment for one in sends for payment in one} == told


@pytest.mark.parametrize("rows, is_free", [(None, False), (1000, False), (100, True)])
def test_many_receipts_are_held_by_one_lock(caller_of, engine, runtime, rows, is_free):
    """PostgreSQL has no room for as many locks as a file has rows."""
    by = caller_of()
    order = running.Order("payments", "CREATE", "ATOMIC", "JSON", is_dry_run=False)
    tried = text("SELECT pg_try_advisory_xact_lock_shared(hashtextextended('mpesa-receipts/' || :agency, 0))")
    with jobs.job_session(runtime, by.agency_id, "tests") as session:
        order.batches(rows).begin(session)
        with tenant_session(engine, by.agency_id) as other:
            assert other.execute(tried, {"agency": str(by.agency_id)}).scalar_one() is is_free


def test_locks_of_receipts_are_those_of_single_payments(caller_of, engine):
    by = caller_of()
    with tenant_session(engine, by.agency_id) as session:
        lock_receipts(session, ["SGL4A1B2C3", "SGL4A1B2C4"])
        with tenant_session(engine, by.agency_id) as other:
            tried = text("SELECT pg_try_advisory_xact_lock(:lock)")
            for receipt, is_free in (("SGL4A1B2C3", False), ("SGL4A1B2C5", True)):
                number = receipt_lock(other, receipt)
                assert other.execute(tried, {"lock": number}).scalar_one() is is_free
            lock_receipt(other, "SGL4A1B2C6")
    with tenant_session(engine, by.agency_id) as session:
        payments.lock_all_receipts(session)
