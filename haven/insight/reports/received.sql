-- What was received in the period, by day, by method and by property. Applied deposits are told apart: no new money.
WITH {place}, received AS (
  SELECT CAST(p.paid_at AT TIME ZONE :zone AS date) AS day, p.method, home.property, home.property_id, p.amount, p.status
    FROM payment p JOIN home ON home.lease_id = p.lease_id
   WHERE p.agency_id = :agency_id AND p.paid_at >= :begins AND p.paid_at < :ends
     AND p.status IN ('COMPLETED', 'REVERSED')
)
SELECT grouping(day, method, property_id) AS part, status, method = 'DEPOSIT' AS is_deposit, day, method,
       property_id, min(property) AS property, count(*) AS count, sum(amount) AS amount
  FROM received
 GROUP BY GROUPING SETS ((status, method = 'DEPOSIT', day), (status, method = 'DEPOSIT', method),
                         (status, method = 'DEPOSIT', property_id))
 ORDER BY part, day, method, property, property_id LIMIT :most
