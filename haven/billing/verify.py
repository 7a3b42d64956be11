"""Whether an agency's books are right: each rule recomputed from the rows by the database.

``haven verify`` asks it for every agency, the clock each night. A rule is one statement, so it sees one moment, also
while money moves; what it finds is a fault of Haven or of a hand in the database, never of a user.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from haven.billing.days import agency_day
from haven.db.session import tenant_of
from haven.errors import Conflict
from haven.operations.jobs import submit
from haven.operations.models import Job

log = structlog.get_logger(__name__)

EXAMPLES: Final = 5
"""How many of the rows that break a rule are named."""
NIGHTLY_HOUR: Final = 2
"""From this hour on, where the agency is, the day's check is due."""
_KIND: Final = "verify_books"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken, how often, and by which rows (at most ``EXAMPLES``)."""

    rule: str
    count: int
    examples: tuple[str, ...]


RULES: Final[dict[str, str]] = {
    "the debits of a ledger transaction equal its credits": """
        SELECT transaction_id AS id FROM ledger_entry WHERE agency_id = :agency_id
         GROUP BY transaction_id HAVING sum(debit) <> sum(credit)""",
    "the debits of the agency equal its credits": """
        SELECT CAST(:agency_id AS uuid) AS id
         WHERE (SELECT coalesce(sum(debit - credit), 0) FROM ledger_entry WHERE agency_id = :agency_id) <> 0""",
    "a ledger transaction has entries": """
        SELECT t.id FROM ledger_transaction t WHERE t.agency_id = :agency_id AND NOT EXISTS (
               SELECT FROM ledger_entry e WHERE e.agency_id = t.agency_id AND e.transaction_id = t.id)""",
    "a mirror is the opposite of what it reverses": """
        SELECT m.id FROM ledger_transaction m
          JOIN ledger_entry e ON e.agency_id = m.agency_id AND e.transaction_id IN (m.id, m.reverses_id)
         WHERE m.agency_id = :agency_id AND m.reverses_id IS NOT NULL
         GROUP BY m.id, e.account_id HAVING sum(e.debit) <> sum(e.credit)""",
    "money that has come is posted once": """
        SELECT p.id FROM payment p
          LEFT JOIN ledger_transaction t ON t.agency_id = p.agency_id AND t.payment_id = p.id
               AND t.kind IN ('PAYMENT', 'MATCHED')
         WHERE p.agency_id = :agency_id
         GROUP BY p.id, p.status
        HAVING CASE WHEN p.status IN ('COMPLETED', 'REVERSED') THEN count(t.id) = 0 OR
                         count(t.id) FILTER (WHERE t.kind = 'PAYMENT') > 1
                    ELSE count(t.id) > 0 END""",
    "an M-Pesa receipt is on one payment, and waits nowhere else": """
        SELECT reference AS id FROM payment
         WHERE agency_id = :agency_id AND method = 'MPESA' AND reference IS NOT NULL
         GROUP BY reference HAVING count(*) > 1
        UNION ALL
        SELECT u.receipt FROM unmatched_receipt u JOIN payment p
            ON p.agency_id = u.agency_id AND p.method = 'MPESA' AND p.reference = u.receipt
         WHERE u.agency_id = :agency_id AND u.payment_id IS NULL""",
    "an allocation is of money that is there, to an invoice of its lease": """
        SELECT a.id FROM allocation a
          JOIN payment p ON p.agency_id = a.agency_id AND p.id = a.payment_id
          JOIN invoice i ON i.agency_id = a.agency_id AND i.id = a.invoice_id
         WHERE a.agency_id = :agency_id
           AND (p.status <> 'COMPLETED' OR i.status IN ('DRAFT', 'VOID') OR p.lease_id <> i.lease_id)""",
    "no more of a payment is allocated than it is, and as much as it says": """
        SELECT p.id FROM payment p
          LEFT JOIN allocation a ON a.agency_id = p.agency_id AND a.payment_id = p.id
         WHERE p.agency_id = :agency_id GROUP BY p.id, p.amount, p.allocated
        HAVING coalesce(sum(a.amount), 0) <> p.allocated OR p.allocated > p.amount""",
    "no more of an invoice is paid than it comes to, and as much as it says": """
        SELECT i.id FROM invoice i
          LEFT JOIN allocation a ON a.agency_id = i.agency_id AND a.invoice_id = i.id
         WHERE i.agency_id = :agency_id GROUP BY i.id, i.total, i.credited, i.paid, i.balance
        HAVING coalesce(sum(a.amount), 0) <> i.paid OR i.paid + i.credited > i.total
            OR i.balance <> i.total - i.credited - i.paid""",
    "an invoice's total is the sum of its lines": """
        SELECT i.id FROM invoice i
          LEFT JOIN invoice_line l ON l.agency_id = i.agency_id AND l.invoice_id = i.id
         WHERE i.agency_id = :agency_id GROUP BY i.id, i.total HAVING i.total <> coalesce(sum(l.amount), 0)""",
    "what an invoice is credited is the sum of its credit notes": """
        SELECT i.id FROM invoice i
          LEFT JOIN credit_note_line l ON l.agency_id = i.agency_id AND l.invoice_id = i.id
         WHERE i.agency_id = :agency_id GROUP BY i.id, i.credited HAVING i.credited <> coalesce(sum(l.amount), 0)
        UNION ALL
        SELECT n.id FROM credit_note n
          LEFT JOIN credit_note_line l ON l.agency_id = n.agency_id AND l.credit_note_id = n.id
         WHERE n.agency_id = :agency_id GROUP BY n.id, n.amount HAVING n.amount <> coalesce(sum(l.amount), 0)""",
    # The clock marks what is late within minutes; a whole day means that it stands still.
    "an invoice's status is what its sums and its due date say": """
        SELECT id FROM invoice
         WHERE agency_id = :agency_id AND status NOT IN ('DRAFT', 'VOID') AND NOT CASE
               WHEN balance = 0 THEN status = 'PAID'
               WHEN due_at < CAST(:today AS date) - 1 THEN status = 'OVERDUE'
               WHEN due_at < :today THEN status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE')
               WHEN paid > 0 THEN status = 'PARTIALLY_PAID' ELSE status = 'OPEN' END""",
    "what a lease owes by the ledger is what its invoices leave open": """
        SELECT coalesce(owed.lease_id, posted.lease_id) AS id
          FROM (SELECT lease_id, sum(balance) AS amount FROM invoice
                 WHERE agency_id = :agency_id AND status NOT IN ('DRAFT', 'VOID') GROUP BY lease_id) owed
          FULL JOIN (SELECT a.lease_id, sum(e.debit - e.credit) AS amount FROM ledger_account a
                       JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
                      WHERE a.agency_id = :agency_id AND a.code = 'TENANT_RECEIVABLE' GROUP BY a.lease_id) posted
            ON posted.lease_id = owed.lease_id
         WHERE coalesce(owed.amount, 0) <> coalesce(posted.amount, 0)""",
    "the credit of a lease by the ledger is what its payments have left": """
        SELECT coalesce(rest.lease_id, posted.lease_id) AS id
          FROM (SELECT lease_id, sum(unallocated) AS amount FROM payment
                 WHERE agency_id = :agency_id GROUP BY lease_id) rest
          FULL JOIN (SELECT a.lease_id, sum(e.credit - e.debit) AS amount FROM ledger_account a
                       JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
                      WHERE a.agency_id = :agency_id AND a.code = 'TENANT_CREDIT' GROUP BY a.lease_id) posted
            ON posted.lease_id = rest.lease_id
         WHERE coalesce(rest.amount, 0) <> coalesce(posted.amount, 0)""",
    "money in the clearing accounts is what has come, less what was paid out": """
        SELECT CAST(:agency_id AS uuid) AS id
         WHERE (SELECT coalesce(sum(amount), 0) FROM payment
                 WHERE agency_id = :agency_id AND status = 'COMPLETED' AND method <> 'DEPOSIT')
             + (SELECT coalesce(sum(amount), 0) FROM unmatched_receipt
                 WHERE agency_id = :agency_id AND payment_id IS NULL)
             - (SELECT coalesce(sum(amount), 0) FROM disbursement
                 WHERE agency_id = :agency_id AND status = 'RECORDED')
            <> (SELECT coalesce(sum(e.debit - e.credit), 0) FROM ledger_account a
                  JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
                 WHERE a.agency_id = :agency_id AND a.code IN ('MPESA_CLEARING', 'BANK', 'CASH'))""",
    "suspense is what nobody has placed": """
        SELECT CAST(:agency_id AS uuid) AS id
         WHERE (SELECT coalesce(sum(amount), 0) FROM unmatched_receipt
                 WHERE agency_id = :agency_id AND payment_id IS NULL)
            <> (SELECT coalesce(sum(e.credit - e.debit), 0) FROM ledger_account a
                  JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
                 WHERE a.agency_id = :agency_id AND a.code = 'SUSPENSE')""",
    "deposits held are what was charged, less what was used and refunded": """
        SELECT CAST(:agency_id AS uuid) AS id
         WHERE (SELECT coalesce(sum(l.amount), 0) FROM invoice_line l
                  JOIN invoice i ON i.agency_id = l.agency_id AND i.id = l.invoice_id
                 WHERE l.agency_id = :agency_id AND l.kind = 'DEPOSIT' AND i.status NOT IN ('DRAFT', 'VOID'))
             - (SELECT coalesce(sum(amount), 0) FROM credit_note_line
                 WHERE agency_id = :agency_id AND kind = 'DEPOSIT')
             - (SELECT coalesce(sum(amount), 0) FROM payment
                 WHERE agency_id = :agency_id AND method = 'DEPOSIT' AND status = 'COMPLETED')
             - (SELECT coalesce(sum(amount), 0) FROM disbursement
                 WHERE agency_id = :agency_id AND kind = 'DEPOSIT_REFUND' AND status = 'RECORDED')
            <> (SELECT coalesce(sum(e.credit - e.debit), 0) FROM ledger_account a
                  JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
                 WHERE a.agency_id = :agency_id AND a.code = 'DEPOSITS_HELD')""",
    "what is an owner's by the ledger is what was collected, less fee, expenses and payouts": """
        SELECT o.id FROM owner o
         WHERE o.agency_id = :agency_id
           AND (SELECT coalesce(sum(rent + other - fee), 0) FROM owner_share
                 WHERE agency_id = o.agency_id AND owner_id = o.id)
             - (SELECT coalesce(sum(amount), 0) FROM disbursement
                 WHERE agency_id = o.agency_id AND owner_id = o.id AND status = 'RECORDED')
            <> (SELECT coalesce(sum(e.credit - e.debit), 0) FROM ledger_account a
                  JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
                 WHERE a.agency_id = o.agency_id AND a.owner_id = o.id AND a.code = 'OWNER_PAYABLE')""",
    "an owner's share is what was paid: rent first, other charges next, deposits never": """
        SELECT s.id FROM owner_share s
          JOIN invoice i ON i.agency_id = s.agency_id AND i.id = s.invoice_id
         CROSS JOIN LATERAL (
               SELECT coalesce(sum(amount) FILTER (WHERE kind = 'RENT'), 0) AS rent,
                      coalesce(sum(amount) FILTER (WHERE kind = 'DEPOSIT'), 0) AS deposit
                 FROM (SELECT kind, amount FROM invoice_line
                        WHERE agency_id = i.agency_id AND invoice_id = i.id
                       UNION ALL
                       SELECT kind, -amount FROM credit_note_line
                        WHERE agency_id = i.agency_id AND invoice_id = i.id) charged) net
         CROSS JOIN LATERAL (
               SELECT least(i.paid, greatest(i.total - i.credited - net.deposit, 0)) AS income) paid
         WHERE s.agency_id = :agency_id
           AND (s.rent + s.other <> paid.income OR s.rent <> least(paid.income, net.rent)
                OR s.fee <> round(s.rent * s.fee_percent / 100, 2))""",
    "numbers of invoices, receipts and credit notes have no gap": """
        SELECT 'INVOICE' AS id FROM invoice WHERE agency_id = :agency_id
        HAVING count(number) <> coalesce(max(number), 0)
        UNION ALL
        SELECT 'RECEIPT' FROM payment WHERE agency_id = :agency_id
        HAVING count(receipt_number) <> coalesce(max(receipt_number), 0)
        UNION ALL
        SELECT 'CREDIT_NOTE' FROM credit_note WHERE agency_id = :agency_id
        HAVING count(number) <> coalesce(max(number), 0)""",
}
"""What must be so → the rows for which it is not: one column, ``id``."""


def verify(session: Session, now: dt.datetime) -> list[Finding]:
    """The rules that the agency's rows break; none where all is right."""
    return list(_findings(session, now))


def request_nightly(session: Session, now: dt.datetime) -> int:
    """Ask for the night's check, once a day of the agency; how many jobs (for the clock). Reads job(agency_id, kind, id)."""
    day = agency_day(session, now)
    if now.astimezone(day.zone).hour < NIGHTLY_HOUR:
        return 0
    latest = session.execute(
        select(Job.unique_key)
        .where(Job.agency_id == tenant_of(session).agency_id, Job.kind == _KIND)
        .order_by(Job.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if latest == day.today.isoformat():
        return 0
    try:
        submit(session, _KIND, {}, unique_key=day.today.isoformat())
    except Conflict:
        return 0
    return 1


def report(session: Session, now: dt.datetime) -> dict[str, Any]:
    """Check the books and log each rule that is broken as an error; what the night's job gives as its result."""
    findings = verify(session, now)
    for one in findings:
        log.error("books_are_wrong", rule=one.rule, rows=one.count, examples=one.examples)
    return {"rules": len(RULES), "broken": {one.rule: one.count for one in findings}}


def _findings(session: Session, now: dt.datetime) -> Iterator[Finding]:
    values = {"agency_id": tenant_of(session).agency_id, "today": agency_day(session, now).today}
    for rule, query in RULES.items():
        # The window counts all, the limit keeps a table that is all wrong out of memory.
        counted = f"SELECT CAST(id AS text), count(*) OVER () FROM ({query}) broken LIMIT {EXAMPLES}"  # noqa: S608  the rules are constants
        rows = session.execute(text(counted), values).all()
        if rows:
            yield Finding(rule, rows[0][1], tuple(row[0] for row in rows))
