-- One row for each property: owed and credit before and after, invoiced by kind, received, and what became its owner's.
WITH {place}, moved AS MATERIALIZED (
  -- Allocated in the period or after it: without these, today's balances are those of its first moment.
  SELECT i.lease_id, i.issued_at, i.due_at, p.paid_at, a.created_at, a.amount
    FROM allocation a
    JOIN invoice i ON i.agency_id = a.agency_id AND i.id = a.invoice_id
    JOIN payment p ON p.agency_id = a.agency_id AND p.id = a.payment_id
   WHERE a.agency_id = :agency_id AND a.id >= :begins_id AND a.created_at >= :begins
), demand AS (
  SELECT lease_id, issued_at, due_at, balance, true AS at_end
    FROM invoice
   WHERE agency_id = :agency_id AND status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE') AND issued_at < :ends
   UNION ALL
  SELECT lease_id, issued_at, due_at, amount, created_at >= :ends FROM moved WHERE issued_at < :ends
), owed AS (
  SELECT lease_id,
         sum(balance) FILTER (WHERE issued_at < :begins) AS opening,
         sum(balance) FILTER (WHERE issued_at < :begins AND due_at < :first) AS opening_arrears,
         sum(balance) FILTER (WHERE at_end) AS closing,
         sum(balance) FILTER (WHERE at_end AND due_at < :on) AS closing_arrears
    FROM demand GROUP BY lease_id
), kept AS (
  SELECT lease_id, paid_at, unallocated AS amount, true AS at_end FROM payment
   WHERE agency_id = :agency_id AND unallocated > 0 AND paid_at < :ends
   UNION ALL
  SELECT lease_id, paid_at, amount, created_at >= :ends FROM moved WHERE paid_at < :ends
), credit AS (
  SELECT lease_id, sum(amount) FILTER (WHERE paid_at < :begins) AS opening, sum(amount) FILTER (WHERE at_end) AS closing
    FROM kept GROUP BY lease_id
), received AS (
  SELECT lease_id, sum(amount) FILTER (WHERE method <> 'DEPOSIT') AS collected,
         sum(amount) FILTER (WHERE method = 'DEPOSIT') AS deposits_used
    FROM payment
   WHERE agency_id = :agency_id AND status = 'COMPLETED' AND paid_at >= :begins AND paid_at < :ends
   GROUP BY lease_id
), issued AS MATERIALIZED (
  SELECT id, lease_id FROM invoice
   WHERE agency_id = :agency_id AND issued_at >= :begins AND issued_at < :ends AND status <> 'VOID'
), line AS (
  SELECT issued.lease_id, l.kind, l.amount
    FROM issued JOIN invoice_line l ON l.agency_id = :agency_id AND l.invoice_id = issued.id
   UNION ALL
  SELECT issued.lease_id, n.kind, -n.amount
    FROM issued JOIN credit_note_line n ON n.agency_id = :agency_id AND n.invoice_id = issued.id
), invoiced AS (
  SELECT lease_id, sum(amount) AS total,
         sum(amount) FILTER (WHERE kind = 'RENT') AS rent, sum(amount) FILTER (WHERE kind = 'UTILITY') AS utility,
         sum(amount) FILTER (WHERE kind = 'LATE_FEE') AS late_fee, sum(amount) FILTER (WHERE kind = 'DEPOSIT') AS deposit,
         sum(amount) FILTER (WHERE kind IN ('OTHER', 'CREDIT')) AS other
    FROM line GROUP BY lease_id
), shared AS (
  SELECT i.lease_id,
         sum(e.debit - e.credit) FILTER (WHERE a.code IN ('RENT_TO_OWNERS', 'OTHER_TO_OWNERS')) AS collected,
         sum(e.credit - e.debit) FILTER (WHERE a.code = 'MANAGEMENT_FEE_INCOME') AS fee
    FROM ledger_transaction t
    JOIN ledger_entry e ON e.agency_id = t.agency_id AND e.transaction_id = t.id
    JOIN ledger_account a ON a.agency_id = e.agency_id AND a.id = e.account_id
    JOIN invoice i ON i.agency_id = t.agency_id AND i.id = t.invoice_id
   WHERE t.agency_id = :agency_id AND t.kind IN ('COLLECTED', 'MANAGEMENT_FEE') AND t.at >= :begins AND t.at < :ends
   GROUP BY i.lease_id
)
SELECT home.property_id, home.property,
       coalesce(sum(owed.opening), 0) AS opening, coalesce(sum(owed.opening_arrears), 0) AS opening_arrears,
       coalesce(sum(invoiced.total), 0) AS invoiced, coalesce(sum(received.collected), 0) AS collected,
       coalesce(sum(received.deposits_used), 0) AS deposits_used,
       coalesce(sum(credit.opening), 0) - coalesce(sum(credit.closing), 0) AS credits_used,
       coalesce(sum(owed.closing), 0) AS closing, coalesce(sum(owed.closing_arrears), 0) AS closing_arrears,
       coalesce(sum(credit.opening), 0) AS opening_credit, coalesce(sum(credit.closing), 0) AS closing_credit,
       coalesce(sum(invoiced.rent), 0) AS rent, coalesce(sum(invoiced.utility), 0) AS utility,
       coalesce(sum(invoiced.late_fee), 0) AS late_fee, coalesce(sum(invoiced.other), 0) AS other,
       coalesce(sum(invoiced.deposit), 0) AS deposit,
       coalesce(sum(shared.collected), 0) AS for_owner, coalesce(sum(shared.fee), 0) AS fee,
       coalesce(sum(shared.collected), 0) - coalesce(sum(shared.fee), 0) AS net
  FROM home
  LEFT JOIN owed USING (lease_id) LEFT JOIN credit USING (lease_id) LEFT JOIN received USING (lease_id)
  LEFT JOIN invoiced USING (lease_id) LEFT JOIN shared USING (lease_id)
 GROUP BY home.property_id, home.property ORDER BY home.property, home.property_id LIMIT :most
