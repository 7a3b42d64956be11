"""The demo's money and homes agree with each other, whatever the day it is loaded."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import create_engine

import haven.models  # noqa: F401
from haven.billing.verify import verify
from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from tests.demo.loaded import Loaded

BROKEN = {
    "each ledger transaction balances": """
        SELECT transaction_id FROM ledger_entry GROUP BY agency_id, transaction_id
        HAVING sum(debit) <> sum(credit) OR count(*) < 2""",
    "each ledger transaction has entries": """
        SELECT t.id FROM ledger_transaction t LEFT JOIN ledger_entry e
            ON e.agency_id = t.agency_id AND e.transaction_id = t.id WHERE e.id IS NULL""",
    "what an invoice says is paid is what is allocated to it": """
        SELECT i.id FROM invoice i LEFT JOIN allocation a ON a.agency_id = i.agency_id AND a.invoice_id = i.id
         GROUP BY i.agency_id, i.id, i.paid HAVING i.paid <> coalesce(sum(a.amount), 0)""",
    "what a payment says is allocated is": """
        SELECT p.id FROM payment p LEFT JOIN allocation a ON a.agency_id = p.agency_id AND a.payment_id = p.id
         GROUP BY p.agency_id, p.id, p.allocated HAVING p.allocated <> coalesce(sum(a.amount), 0)""",
    "an invoice's total is the sum of its lines": """
        SELECT i.id FROM invoice i LEFT JOIN invoice_line l ON l.agency_id = i.agency_id AND l.invoice_id = i.id
         GROUP BY i.agency_id, i.id, i.total HAVING i.total IS DISTINCT FROM sum(l.amount) OR i.total <= 0""",
    "lines are numbered from 1": """
        SELECT invoice_id FROM invoice_line GROUP BY agency_id, invoice_id
        HAVING min(position) <> 1 OR max(position) <> count(*)""",
    "the receivable of each lease is what its invoices leave open": """
        SELECT a.lease_id FROM ledger_account a
          LEFT JOIN LATERAL (SELECT coalesce(sum(debit - credit), 0) AS owed FROM ledger_entry e
                              WHERE e.agency_id = a.agency_id AND e.account_id = a.id) e ON true
          LEFT JOIN LATERAL (SELECT coalesce(sum(balance), 0) AS open FROM invoice i
                              WHERE i.agency_id = a.agency_id AND i.lease_id = a.lease_id
                                AND i.status NOT IN ('DRAFT', 'VOID')) i ON true
         WHERE a.code = 'TENANT_RECEIVABLE' AND e.owed <> i.open""",
    "the credit of each lease is what its payments have left": """
        SELECT a.lease_id FROM ledger_account a
          LEFT JOIN LATERAL (SELECT coalesce(sum(credit - debit), 0) AS held FROM ledger_entry e
                              WHERE e.agency_id = a.agency_id AND e.account_id = a.id) e ON true
          LEFT JOIN LATERAL (SELECT coalesce(sum(unallocated), 0) AS rest FROM payment p
                              WHERE p.agency_id = a.agency_id AND p.lease_id = a.lease_id) p ON true
         WHERE a.code = 'TENANT_CREDIT' AND e.held <> p.rest""",
    "money in the clearing accounts is what was received": """
        SELECT a.id FROM agency a
          LEFT JOIN LATERAL (SELECT sum(debit - credit) AS held FROM ledger_entry e JOIN ledger_account l
                 ON l.agency_id = e.agency_id AND l.id = e.account_id
              WHERE e.agency_id = a.id AND l.code IN ('MPESA_CLEARING', 'BANK', 'CASH')) e ON true
         WHERE e.held <> (SELECT sum(amount) FROM payment WHERE agency_id = a.id AND status = 'COMPLETED')
                       + (SELECT sum(amount) FROM unmatched_receipt WHERE agency_id = a.id)""",
    "suspense is what nobody has placed": """
        SELECT l.id FROM ledger_account l JOIN ledger_entry e ON e.agency_id = l.agency_id AND e.account_id = l.id
         WHERE l.code = 'SUSPENSE' GROUP BY l.agency_id, l.id
        HAVING sum(credit - debit) <> (SELECT sum(amount) FROM unmatched_receipt WHERE agency_id = l.agency_id)""",
    "what is an owner's is what was collected of his units' rent and charges, less the fee": """
        SELECT o.id FROM owner o
          LEFT JOIN LATERAL (SELECT coalesce(sum(credit - debit), 0) AS his FROM ledger_account a JOIN ledger_entry e
                 ON e.agency_id = a.agency_id AND e.account_id = a.id
              WHERE a.agency_id = o.agency_id AND a.owner_id = o.id AND a.code = 'OWNER_PAYABLE') e ON true
          LEFT JOIN LATERAL (SELECT coalesce(sum(rent + other - fee), 0) AS his FROM owner_share s
              WHERE s.agency_id = o.agency_id AND s.owner_id = o.id) s ON true
         WHERE e.his <> s.his OR e.his <= 0""",
    "each event of money is posted once": """
        SELECT i.id FROM invoice i LEFT JOIN ledger_transaction t
            ON t.agency_id = i.agency_id AND t.invoice_id = i.id AND t.kind = 'INVOICE'
         GROUP BY i.agency_id, i.id, i.status HAVING count(t.id) <> (i.status <> 'DRAFT')::int
        UNION ALL
        SELECT p.id FROM payment p LEFT JOIN ledger_transaction t
            ON t.agency_id = p.agency_id AND t.payment_id = p.id AND t.kind = 'PAYMENT'
         GROUP BY p.agency_id, p.id, p.status HAVING count(t.id) <> (p.status IN ('COMPLETED', 'REVERSED'))::int""",
    "what was undone is mirrored": """
        SELECT i.id FROM invoice i WHERE status = 'VOID' AND NOT EXISTS (SELECT FROM ledger_transaction t
             WHERE t.agency_id = i.agency_id AND t.invoice_id = i.id AND t.kind = 'INVOICE_VOID'
               AND t.reverses_id IS NOT NULL)
        UNION ALL
        SELECT p.id FROM payment p WHERE status = 'REVERSED' AND NOT EXISTS (SELECT FROM ledger_transaction t
             WHERE t.agency_id = p.agency_id AND t.payment_id = p.id AND t.kind = 'REVERSAL'
               AND t.reverses_id IS NOT NULL)""",
    "an allocation is of one lease, and not before its payment or its invoice": """
        SELECT a.id FROM allocation a JOIN payment p ON p.agency_id = a.agency_id AND p.id = a.payment_id
          JOIN invoice i ON i.agency_id = a.agency_id AND i.id = a.invoice_id
         WHERE i.lease_id <> p.lease_id OR a.created_at < p.paid_at OR a.created_at < i.issued_at""",
    "invoice numbers have no gap, and the counter stands at the last": """
        SELECT c.agency_id FROM counter c LEFT JOIN invoice i ON i.agency_id = c.agency_id
         WHERE c.name = 'INVOICE' GROUP BY c.agency_id, c.value
        HAVING min(i.number) <> 1 OR max(i.number) <> c.value OR count(i.number) <> c.value""",
    "receipt numbers have no gap, and the counter stands at the last": """
        SELECT c.agency_id FROM counter c LEFT JOIN payment p ON p.agency_id = c.agency_id
         WHERE c.name = 'RECEIPT' GROUP BY c.agency_id, c.value
        HAVING min(receipt_number) <> 1 OR max(receipt_number) <> c.value OR count(receipt_number) <> c.value""",
    "a unit is occupied if and only if a lease of it is active": """
        SELECT u.id FROM unit u WHERE (u.status = 'OCCUPIED') <> EXISTS (SELECT FROM lease l
             WHERE l.agency_id = u.agency_id AND l.unit_id = u.id AND l.status = 'ACTIVE')""",
    "a tenant is active if and only if a lease of his is": """
        SELECT t.id FROM tenant t WHERE (t.status = 'ACTIVE') <> EXISTS (SELECT FROM lease l
             WHERE l.agency_id = t.agency_id AND l.tenant_id = t.id AND l.status = 'ACTIVE')""",
    "every user signs in with one address, and nobody else does": """
        SELECT u.email FROM user_account u FULL JOIN sign_in_address s
            ON s.agency_id = u.agency_id AND s.user_id = u.id AND s.email = u.email
         WHERE u.id IS NULL OR s.email IS NULL""",
    "ids rise with time": """
        SELECT id FROM (SELECT id, created_at, lag(created_at) OVER (PARTITION BY agency_id ORDER BY id) AS before
                          FROM payment) p WHERE created_at < before
        UNION ALL
        SELECT id FROM (SELECT id, number, lag(number) OVER (PARTITION BY agency_id ORDER BY id) AS before
                          FROM invoice WHERE number IS NOT NULL) i WHERE number <> before + 1
        UNION ALL
        SELECT id FROM ledger_transaction WHERE abs(extract(epoch FROM uuid_extract_timestamp(id) - at)) > 0.001
        UNION ALL
        SELECT id FROM invoice WHERE uuid_extract_version(id) IS DISTINCT FROM 7
            OR abs(extract(epoch FROM uuid_extract_timestamp(id) - created_at)) > 0.001""",
    "nothing was received by M-Pesa over its limit or in cents, or twice by one receipt": """
        SELECT reference FROM payment WHERE method = 'MPESA' AND (amount > 250000 OR amount <> trunc(amount))
        UNION ALL
        SELECT reference FROM payment WHERE method = 'MPESA' AND reference IS NOT NULL
         GROUP BY reference HAVING count(*) > 1
        UNION ALL
        SELECT reference FROM payment JOIN unmatched_receipt ON receipt = reference""",
    "leases of one unit follow each other": """
        SELECT a.id FROM lease a JOIN lease b ON b.agency_id = a.agency_id AND b.unit_id = a.unit_id AND b.id <> a.id
         WHERE daterange(a.start_date, a.end_date, '[]') && daterange(b.start_date, b.end_date, '[]')""",
    "an invoice is for days of its lease": """
        SELECT i.id FROM invoice i JOIN lease l ON l.agency_id = i.agency_id AND l.id = i.lease_id
         WHERE i.run_period IS NOT NULL AND NOT daterange(l.start_date, l.end_date, '[]')
            @> daterange(i.period_start, i.period_end, '[]')""",
    "an active lease is billed for every month": """
        SELECT l.id FROM lease l LEFT JOIN invoice i ON i.agency_id = l.agency_id AND i.lease_id = l.id
           AND i.run_period IS NOT NULL WHERE l.status = 'ACTIVE' GROUP BY l.agency_id, l.id
        HAVING count(i.id) = 0 OR count(i.id) <> 12 * extract(year FROM age(max(i.run_period), min(i.run_period)))
                                                + extract(month FROM age(max(i.run_period), min(i.run_period))) + 1""",
}


@pytest.mark.parametrize("what", BROKEN)
def test_nothing_breaks_a_rule(loaded: Loaded, what: str):
    assert loaded.rows(BROKEN[what]) == []


def test_the_books_are_right_by_haven_verify(loaded: Loaded):
    agencies = loaded.rows("SELECT id FROM agency WHERE slug <> 'platform'")
    engine = create_engine(sqlalchemy_url(loaded.url))
    for (agency_id,) in agencies:
        with tenant_session(engine, uuid.UUID(str(agency_id))) as session:
            assert verify(session, loaded.now) == []
    engine.dispose()


def test_an_invoice_is_overdue_from_the_day_after_it_was_due(loaded: Loaded):
    wrong = loaded.rows(
        """SELECT id, status, due_at, paid, balance FROM invoice
            WHERE status NOT IN ('DRAFT', 'VOID') AND status <> CASE WHEN balance = 0 THEN 'PAID'
              WHEN due_at < %s THEN 'OVERDUE' WHEN paid > 0 THEN 'PARTIALLY_PAID' ELSE 'OPEN' END""",
        loaded.today,
    )
    assert wrong == []


def test_nothing_happens_after_now(loaded: Loaded):
    assert (
        loaded.one(
            """SELECT count(*) FROM (SELECT created_at FROM payment UNION ALL SELECT created_at FROM invoice
             UNION ALL SELECT at FROM ledger_transaction UNION ALL SELECT created_at FROM lease
             UNION ALL SELECT created_at FROM allocation UNION ALL SELECT created_at FROM tenant) AS happened
            WHERE created_at > %s""",
            loaded.now,
        )
        == 0
    )


def test_ended_leases_have_ended_and_active_ones_have_begun(loaded: Loaded):
    wrong = loaded.rows(
        """SELECT id FROM lease WHERE status IN ('ENDED', 'TERMINATED') AND end_date >= %(today)s
              OR status = 'ACTIVE' AND (start_date > %(today)s OR end_date < %(today)s)""".replace(
            "%(today)s", f"date '{loaded.today}'"
        )
    )
    assert wrong == []


def test_a_draft_lease_waits_on_a_vacant_unit_and_another_unit_is_vacant(loaded: Loaded):
    drafts = loaded.one(
        """SELECT count(*) FROM lease l JOIN unit u ON u.agency_id = l.agency_id AND u.id = l.unit_id
            WHERE l.status = 'DRAFT' AND u.status = 'VACANT'"""
    )
    vacant = loaded.one(
        """SELECT count(*) FROM unit u WHERE status = 'VACANT' AND NOT EXISTS (SELECT FROM lease l
             WHERE l.agency_id = u.agency_id AND l.unit_id = u.id AND l.status IN ('DRAFT', 'ACTIVE'))"""
    )
    assert drafts >= 1
    assert vacant >= 1


@pytest.mark.parametrize(
    "table, states",
    [
        ("invoice", {"DRAFT", "OPEN", "PARTIALLY_PAID", "PAID", "VOID"}),
        ("payment", {"COMPLETED", "FAILED", "CANCELLED", "REVERSED"}),
        ("lease", {"DRAFT", "ACTIVE", "ENDED"}),
        ("unit", {"VACANT", "OCCUPIED", "RESERVED", "OUT_OF_SERVICE"}),
        ("tenant", {"ACTIVE", "FORMER", "PROSPECT"}),
        ("user_account", {"ACTIVE", "DISABLED"}),
    ],
)
def test_there_is_something_in_every_state(loaded: Loaded, table: str, states: set[str]):
    assert states <= {status for (status,) in loaded.rows(f"SELECT DISTINCT status FROM {table}")}


def test_what_an_agency_was_to_have_it_has(loaded: Loaded):
    size = loaded.size
    counts = loaded.rows(
        """SELECT (SELECT count(*) FROM unit WHERE agency_id = a.id), (SELECT count(*) FROM invoice WHERE agency_id = a.id),
                  (SELECT count(*) FROM payment WHERE agency_id = a.id) FROM agency a WHERE slug <> 'platform'"""
    )
    assert len(counts) == size.agencies
    for units, invoices, payments in counts:
        assert size.units in {0, units}
        assert size.invoices in {None, invoices}
        assert size.payments in {None, payments}
