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
    "an invoice's credited is not the sum of its credit notes": """
        SELECT i.id FROM invoice i
         WHERE i.credited <> coalesce((SELECT sum(n.amount) FROM credit_note n WHERE n.invoice_id = i.id), 0)""",
    "a credit note is not the sum of its lines": """
        SELECT n.id FROM credit_note n
         WHERE n.amount <> coalesce((SELECT sum(l.amount) FROM credit_note_line l WHERE l.credit_note_id = n.id), 0)""",
    "more is credited of a kind than was charged": """
        SELECT n.invoice_id FROM credit_note_line n GROUP BY n.invoice_id, n.kind
        HAVING sum(n.amount) > (SELECT coalesce(sum(l.amount), 0) FROM invoice_line l
                                 WHERE l.invoice_id = n.invoice_id AND l.kind = n.kind)""",
    "what an invoice owes is not what is left of it": """
        SELECT i.id FROM invoice i WHERE i.balance <> i.total - i.credited - i.paid OR i.balance < 0""",
    "a late fee on a late fee": """
        SELECT f.id FROM invoice f JOIN invoice i ON i.id = f.late_fee_of WHERE i.late_fee_of IS NOT NULL""",
    "the deposits held are not what was charged, less what was used and refunded": """
        SELECT 1 WHERE coalesce((SELECT sum(l.amount) FROM invoice_line l JOIN invoice i ON i.id = l.invoice_id
                          WHERE l.kind = 'DEPOSIT' AND i.status NOT IN ('DRAFT', 'VOID')), 0)
             - coalesce((SELECT sum(amount) FROM credit_note_line WHERE kind = 'DEPOSIT'), 0)
             - coalesce((SELECT sum(amount) FROM payment WHERE method = 'DEPOSIT' AND status = 'COMPLETED'), 0)
             - coalesce((SELECT sum(amount) FROM disbursement WHERE kind = 'DEPOSIT_REFUND' AND status = 'RECORDED'), 0)
            <> coalesce((SELECT sum(e.credit - e.debit) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id
                          WHERE a.code = 'DEPOSITS_HELD'), 0)""",
    "what is an owner's is not what was collected, less fee, expenses and payouts": """
        SELECT o.id FROM owner o
         WHERE coalesce((SELECT sum(s.rent + s.other - s.fee) FROM owner_share s WHERE s.owner_id = o.id), 0)
             - coalesce((SELECT sum(d.amount) FROM disbursement d WHERE d.owner_id = o.id AND d.status = 'RECORDED'), 0)
            <> coalesce((SELECT sum(e.credit - e.debit) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id
                          WHERE a.code = 'OWNER_PAYABLE' AND a.owner_id = o.id), 0)""",
    "an owner's share is not what was paid, rent first, deposits last": """
        SELECT i.id FROM invoice i JOIN lease l ON l.id = i.lease_id JOIN unit u ON u.id = l.unit_id
          JOIN property p ON p.id = u.property_id AND p.owner_id IS NOT NULL
          LEFT JOIN owner_share s ON s.invoice_id = i.id
         CROSS JOIN LATERAL (SELECT
               coalesce((SELECT sum(amount) FROM invoice_line WHERE invoice_id = i.id AND kind = 'RENT'), 0)
             - coalesce((SELECT sum(amount) FROM credit_note_line WHERE invoice_id = i.id AND kind = 'RENT'), 0) AS rent,
               coalesce((SELECT sum(amount) FROM invoice_line WHERE invoice_id = i.id AND kind = 'DEPOSIT'), 0)
             - coalesce((SELECT sum(amount) FROM credit_note_line WHERE invoice_id = i.id AND kind = 'DEPOSIT'), 0)
                 AS deposit) net
         WHERE coalesce(s.rent + s.other, 0) <> least(i.paid, greatest(i.total - i.credited - net.deposit, 0))
            OR coalesce(s.rent, 0) <> least(i.paid, net.rent, greatest(i.total - i.credited - net.deposit, 0))
            OR s.fee <> round(s.rent * s.fee_percent / 100, 2)""",
    "the clearing accounts are not what was received, less what was paid out": """
        SELECT 1 WHERE coalesce((SELECT sum(amount) FROM payment WHERE status = 'COMPLETED' AND method <> 'DEPOSIT'), 0)
             - coalesce((SELECT sum(amount) FROM disbursement WHERE status = 'RECORDED'), 0)
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
               WHEN i.paid >= i.total - i.credited THEN 'PAID'
               WHEN i.due_at < (now() AT TIME ZONE 'Africa/Nairobi')::date THEN 'OVERDUE'
               WHEN i.paid > 0 THEN 'PARTIALLY_PAID' ELSE 'OPEN' END""",
    "invoice numbers have a gap": """
        SELECT 1 FROM invoice HAVING count(number) <> coalesce(max(number), 0)""",
    "credit note numbers have a gap": """
        SELECT 1 FROM credit_note HAVING count(number) <> coalesce(max(number), 0)""",
    "receipt numbers have a gap": """
        SELECT 1 FROM payment HAVING count(receipt_number) <> coalesce(max(receipt_number), 0)""",
}


def check_books(engine: Engine, agency_id: uuid.UUID) -> None:
    """Fail with the first rule that an agency's rows break."""
    with tenant_session(engine, agency_id, "test") as session:
        for rule, query in RULES.items():
            broken = session.execute(text(query.replace("::date", "\\:\\:date"))).all()
            assert not broken, f"{rule}: {broken[:3]}"
