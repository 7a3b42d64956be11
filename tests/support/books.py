"""The invariants of an agency's money, recomputed from its rows."""

from __future__ import annotations

import uuid

from sqlalchemy import Engine, text

from haven.db.session import tenant_session

RULES = {
    "a transaction does not balance": """
        SELECT transaction_id FROM ledger_entry GROUP BY transaction_id HAVING sum(debit) <> sum(credit)""",
    "an invoice's total is not the sum of its lines": """
        SELECT i.id FROM invoice i JOIN invoice_line l ON l.invoice_id = i.id GROUP BY i.id, i.total
        HAVING i.total <> sum(l.amount)""",
    "an invoice's paid is not the sum of its allocations": """
        SELECT i.id FROM invoice i
         WHERE i.paid <> coalesce((SELECT sum(a.amount) FROM allocation a WHERE a.invoice_id = i.id), 0)""",
    "a payment's allocated is not the sum of its allocations": """
        SELECT p.id FROM payment p
         WHERE p.allocated <> coalesce((SELECT sum(a.amount) FROM allocation a WHERE a.payment_id = p.id), 0)""",
    "an allocation of money that is not there": """
        SELECT a.id FROM allocation a JOIN payment p ON p.id = a.payment_id JOIN invoice i ON i.id = a.invoice_id
         WHERE p.status <> 'COMPLETED' OR i.status IN ('DRAFT', 'VOID') OR p.lease_id <> i.lease_id""",
    "the receivable of a lease is not what its invoices owe": """
        SELECT l.id FROM lease l
         WHERE coalesce((SELECT sum(i.balance) FROM invoice i
                          WHERE i.lease_id = l.id AND i.status NOT IN ('DRAFT', 'VOID')), 0)
            <> coalesce((SELECT sum(e.debit - e.credit) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id
                          WHERE a.code = 'TENANT_RECEIVABLE' AND a.lease_id = l.id), 0)""",
    "the credit of a lease is not what its payments have left": """
        SELECT l.id FROM lease l
         WHERE coalesce((SELECT sum(p.unallocated) FROM payment p WHERE p.lease_id = l.id), 0)
            <> coalesce((SELECT sum(e.credit - e.debit) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id
                          WHERE a.code = 'TENANT_CREDIT' AND a.lease_id = l.id), 0)""",
    "the clearing accounts are not what was received": """
        SELECT 1 WHERE coalesce((SELECT sum(amount) FROM payment WHERE status = 'COMPLETED'), 0)
                     + coalesce((SELECT sum(amount) FROM unmatched_receipt WHERE payment_id IS NULL), 0)
            <> coalesce((SELECT sum(e.debit - e.credit) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id
                          WHERE a.code IN ('MPESA_CLEARING', 'BANK', 'CASH')), 0)""",
    "suspense is not what waits for a person": """
        SELECT 1 WHERE coalesce((SELECT sum(amount) FROM unmatched_receipt WHERE payment_id IS NULL), 0)
            <> coalesce((SELECT sum(e.credit - e.debit) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id
                          WHERE a.code = 'SUSPENSE'), 0)""",
    "a receipt is a payment and waits as well": """
        SELECT u.receipt FROM unmatched_receipt u JOIN payment p ON p.method = 'MPESA' AND p.reference = u.receipt
         WHERE u.payment_id IS NULL""",
    "a status is not what the sums say": """
        SELECT i.id FROM invoice i
         WHERE i.status NOT IN ('DRAFT', 'VOID') AND i.status <> CASE
               WHEN i.paid >= i.total THEN 'PAID'
               WHEN i.due_at < (now() AT TIME ZONE 'Africa/Nairobi')::date THEN 'OVERDUE'
               WHEN i.paid > 0 THEN 'PARTIALLY_PAID' ELSE 'OPEN' END""",
    "invoice numbers have a gap": """
        SELECT 1 FROM invoice HAVING count(number) <> coalesce(max(number), 0)""",
    "receipt numbers have a gap": """
        SELECT 1 FROM payment HAVING count(receipt_number) <> coalesce(max(receipt_number), 0)""",
}


def check_books(engine: Engine, agency_id: uuid.UUID) -> None:
    """Fail with the first rule that an agency's rows break."""
    with tenant_session(engine, agency_id, "test") as session:
        for rule, query in RULES.items():
            broken = session.execute(text(query.replace("::date", "\\:\\:date"))).all()
            assert not broken, f"{rule}: {broken[:3]}"
