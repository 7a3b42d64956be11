-- What was owed and what was in credit at the moment :ends, by what is known of it today: as in haven/insight/figures.sql.
later AS MATERIALIZED (
  SELECT i.lease_id, i.due_at, i.issued_at, p.paid_at, a.amount
    FROM allocation a
    JOIN invoice i ON i.agency_id = a.agency_id AND i.id = a.invoice_id
    JOIN payment p ON p.agency_id = a.agency_id AND p.id = a.payment_id
   WHERE a.agency_id = :agency_id AND a.id >= :ends_id AND a.created_at >= :ends
), demand AS (
  SELECT lease_id, due_at, balance
    FROM invoice
   WHERE agency_id = :agency_id AND status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE') AND issued_at < :ends
   UNION ALL
  SELECT lease_id, due_at, amount FROM later WHERE issued_at < :ends
), credited AS (
  SELECT lease_id, sum(amount) AS credit
    FROM (SELECT lease_id, unallocated AS amount FROM payment
           WHERE agency_id = :agency_id AND unallocated > 0 AND paid_at < :ends
           UNION ALL
          SELECT lease_id, amount FROM later WHERE paid_at < :ends) AS kept
   GROUP BY lease_id
)
