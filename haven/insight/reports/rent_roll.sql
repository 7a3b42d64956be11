-- One row for each unit and lease in force on :on; a unit without one has one row. Two leases meet on a day of change.
-- What leases that are not in force still owe comes last, so that balances add up to the ledger's.
WITH {place}, {balances}, owed AS (
  SELECT lease_id, sum(balance) AS owed, sum(balance) FILTER (WHERE due_at < :on) AS arrears
    FROM demand GROUP BY lease_id
), held AS (
  SELECT l.id AS lease_id, l.unit_id, l.tenant_id, l.start_date, l.end_date, l.rent_amount, l.deposit_amount
    FROM lease l
   WHERE l.agency_id = :agency_id AND l.status <> 'DRAFT' AND l.start_date <= :on
     AND (l.end_date IS NULL OR l.end_date >= :on)
), line AS (
  SELECT 1 AS part, place.property_id, place.property, place.unit, place.unit_status, place.market_rent, held.*
    FROM place LEFT JOIN held USING (unit_id)
   UNION ALL
  SELECT 2, home.property_id, home.property, home.unit, home.unit_status, NULL, l.id, l.unit_id, l.tenant_id,
         l.start_date, l.end_date, NULL, NULL
    FROM home JOIN lease l ON l.agency_id = :agency_id AND l.id = home.lease_id
   WHERE NOT EXISTS (SELECT FROM held WHERE held.lease_id = l.id)
     AND (EXISTS (SELECT FROM owed WHERE owed.lease_id = l.id)
          OR EXISTS (SELECT FROM credited WHERE credited.lease_id = l.id))
)
SELECT line.part, line.property, line.unit, line.unit_status, line.lease_id IS NOT NULL AS is_let, line.unit_id,
       t.full_name AS tenant, line.start_date, line.end_date, line.market_rent, line.rent_amount AS rent,
       line.deposit_amount AS deposit, coalesce(owed.owed, 0) AS owed, coalesce(owed.arrears, 0) AS arrears,
       coalesce(credited.credit, 0) AS credit
  FROM line
  LEFT JOIN owed ON owed.lease_id = line.lease_id
  LEFT JOIN credited ON credited.lease_id = line.lease_id
  LEFT JOIN tenant t ON t.agency_id = :agency_id AND t.id = line.tenant_id
-- Units as people count them, A2 before A10: numbers with noughts before them, eight digits long (ICU may not be there).
 ORDER BY line.part, line.property, line.property_id, regexp_replace(regexp_replace(line.unit, '(\d+)', '00000000\1', 'g'), '0*(\d\d\d\d\d\d\d\d)', '\1', 'g'),
          line.unit, line.start_date, line.lease_id LIMIT :most
