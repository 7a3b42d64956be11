"""What was collected for the owners of a demo, worked out by the database from the rows that were loaded.

Haven posts it with each payment; here one posting for each owner and month stands for them, at the moment of the
month's last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg2.extensions import cursor

TABLE: Final = "owner_share"

# Rent first, other charges next, deposits last: as haven.billing.owner_shares says.
_SHARE: Final = """
    INSERT INTO owner_share (agency_id, id, invoice_id, owner_id, fee_percent, rent, other, fee)
    SELECT agency_id, uuidv7(), invoice_id, owner_id, percent, rent, income - rent, round(rent * percent / 100, 2)
      FROM (SELECT i.agency_id, i.id AS invoice_id, o.id AS owner_id, o.management_fee_percent AS percent,
                   least(i.paid, greatest(i.total - l.deposit, 0)) AS income,
                   least(i.paid, greatest(i.total - l.deposit, 0), l.rent) AS rent
              FROM invoice i
              JOIN (SELECT agency_id, invoice_id,
                           coalesce(sum(amount) FILTER (WHERE kind = 'RENT'), 0) AS rent,
                           coalesce(sum(amount) FILTER (WHERE kind = 'DEPOSIT'), 0) AS deposit
                      FROM invoice_line WHERE agency_id = ANY (%(agencies)s::uuid[])
                     GROUP BY agency_id, invoice_id) l ON l.agency_id = i.agency_id AND l.invoice_id = i.id
              JOIN lease ON lease.agency_id = i.agency_id AND lease.id = i.lease_id
              JOIN unit ON unit.agency_id = i.agency_id AND unit.id = lease.unit_id
              JOIN property p ON p.agency_id = i.agency_id AND p.id = unit.property_id
              JOIN owner o ON o.agency_id = i.agency_id AND o.id = p.owner_id
             WHERE i.agency_id = ANY (%(agencies)s::uuid[]) AND i.paid > 0) paid
     ORDER BY agency_id, invoice_id
"""

# Ids (UUIDv7) have the time of the event, as all ids of the demo do.
_POST: Final = """
    WITH month AS (
      SELECT s.agency_id, s.owner_id, max(i.updated_at) AS at, sum(s.rent) AS rent, sum(s.other) AS other,
             sum(s.fee) AS fee
        FROM owner_share s JOIN invoice i ON i.agency_id = s.agency_id AND i.id = s.invoice_id
       WHERE s.agency_id = ANY (%(agencies)s::uuid[])
       GROUP BY s.agency_id, s.owner_id, date_trunc('month', i.updated_at AT TIME ZONE 'Africa/Nairobi')
    ), event AS (
      SELECT agency_id, owner_id, at, 'COLLECTED' AS kind, 'Collected in the month' AS words,
             ARRAY['RENT_TO_OWNERS', 'OTHER_TO_OWNERS', 'OWNER_PAYABLE'] AS codes, ARRAY[rent, other, 0] AS debits,
             ARRAY[0, 0, rent + other] AS credits
        FROM month WHERE rent + other > 0
       UNION ALL
      SELECT agency_id, owner_id, at, 'MANAGEMENT_FEE', 'Management fee of the month',
             ARRAY['OWNER_PAYABLE', 'MANAGEMENT_FEE_INCOME'], ARRAY[fee, 0], ARRAY[0, fee]
        FROM month WHERE fee > 0
    ), posting AS MATERIALIZED (
      SELECT event.*, md5(owner_id || kind || at) AS hash,
             lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' AS time
        FROM event
    ), posted AS (
      INSERT INTO ledger_transaction (agency_id, id, at, created_at, kind, description)
      SELECT agency_id, (time || left(hash, 3) || '8' || right(hash, 15))::uuid, at, at, kind, words FROM posting
    )
    INSERT INTO ledger_entry (agency_id, id, transaction_id, account_id, debit, credit)
    SELECT p.agency_id, (p.time || left(md5(p.hash || side.code), 3) || '8' || right(md5(p.hash || side.code), 15))::uuid,
           (p.time || left(p.hash, 3) || '8' || right(p.hash, 15))::uuid, a.id, side.debit, side.credit
      FROM posting p
     CROSS JOIN LATERAL unnest(p.codes, p.debits, p.credits) AS side(code, debit, credit)
      JOIN ledger_account a ON a.agency_id = p.agency_id AND a.code = side.code AND a.lease_id IS NULL
           AND (a.owner_id IS NULL OR a.owner_id = p.owner_id)
     WHERE side.debit + side.credit > 0
"""


def pass_on(at: cursor, agencies: Sequence[str]) -> tuple[int, int]:
    """Write the owners' shares of the agencies and post them; how many shares, and how many ledger entries."""
    values = {"agencies": list(agencies)}
    # Just loaded, and without indexes: planned as if the tables were small, 100,000 invoices took over 5 minutes.
    at.execute("ANALYZE invoice, invoice_line, lease, unit, property, owner")
    at.execute(_SHARE, values)
    shares = at.rowcount
    at.execute(_POST, values)
    return shares, at.rowcount
