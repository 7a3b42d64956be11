-- Of the invoices due in the period, by property: what was demanded, what of it was paid by its end, and what was invoiced.
WITH {place}, {balances}, due AS (
  SELECT lease_id, sum(total - credited) AS demanded, sum(paid) AS paid
    FROM invoice
   WHERE agency_id = :agency_id AND due_at BETWEEN :first AND :last AND status NOT IN ('DRAFT', 'VOID')
   GROUP BY lease_id
), after AS (
  SELECT lease_id, sum(amount) AS amount FROM later WHERE due_at BETWEEN :first AND :last GROUP BY lease_id
), issued AS (
  SELECT lease_id, sum(total - credited) AS invoiced
    FROM invoice
   WHERE agency_id = :agency_id AND issued_at >= :begins AND issued_at < :ends AND status <> 'VOID'
   GROUP BY lease_id
)
SELECT home.property_id, home.property, coalesce(sum(due.demanded), 0) AS demanded,
       coalesce(sum(due.paid), 0) - coalesce(sum(after.amount), 0) AS paid,
       coalesce(sum(issued.invoiced), 0) AS invoiced
  FROM home
  LEFT JOIN due USING (lease_id) LEFT JOIN after USING (lease_id) LEFT JOIN issued USING (lease_id)
 GROUP BY home.property_id, home.property ORDER BY home.property, home.property_id LIMIT :most
