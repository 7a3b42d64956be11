-- All figures of the dashboard, as one row. :on is the day they are of; :midnights are the moments at which each day of the
-- month begins where the agency is, and the last of them, :ends, the moment at which the month is over.
-- Each table is read from an index that holds all it is asked for (docs/decisions/013-dashboard-by-covering-indexes.md);
-- what has no :property_id loses its condition when it is planned.
WITH chosen_lease AS MATERIALIZED (
  SELECT l.id
    FROM unit u JOIN lease l ON l.agency_id = u.agency_id AND l.unit_id = u.id
   WHERE u.agency_id = :agency_id AND u.property_id = CAST(:property_id AS uuid)
), in_force AS (
  -- Two branches, so that leases which have ended are passed over in the index. A unit may be let twice on its day of change.
  SELECT unit_id, end_date FROM lease
   WHERE agency_id = :agency_id AND status <> 'DRAFT' AND end_date >= :on AND start_date <= :on
  UNION ALL
  SELECT unit_id, NULL FROM lease
   WHERE agency_id = :agency_id AND status <> 'DRAFT' AND end_date IS NULL AND start_date <= :on
), held AS (
  SELECT unit_id, count(*) AS leases,
         count(*) FILTER (WHERE end_date <= CAST(:on AS date) + 30) AS ends_in_30,
         count(*) FILTER (WHERE end_date <= CAST(:on AS date) + 60) AS ends_in_60,
         count(*) FILTER (WHERE end_date <= CAST(:on AS date) + 90) AS ends_in_90
    FROM in_force GROUP BY unit_id
), place AS (
  SELECT count(*) AS units,
         count(*) FILTER (WHERE u.status <> 'OUT_OF_SERVICE') AS lettable,
         count(h.unit_id) FILTER (WHERE u.status <> 'OUT_OF_SERVICE') AS occupied,
         coalesce(sum(h.leases), 0) AS active_leases,
         coalesce(sum(h.ends_in_30), 0) AS ends_in_30,
         coalesce(sum(h.ends_in_60), 0) AS ends_in_60,
         coalesce(sum(h.ends_in_90), 0) AS ends_in_90
    FROM unit u LEFT JOIN held h ON h.unit_id = u.id
   WHERE u.agency_id = :agency_id
     AND (CAST(:property_id AS uuid) IS NULL OR u.property_id = CAST(:property_id AS uuid))
), issued AS (
  SELECT coalesce(sum(total - credited), 0) AS invoiced
    FROM invoice
   WHERE agency_id = :agency_id AND issued_at >= :begins AND issued_at < :ends AND status <> 'VOID'
     AND (CAST(:property_id AS uuid) IS NULL OR lease_id IN (SELECT id FROM chosen_lease))
), later AS MATERIALIZED (
  -- What has been allocated since a month that is over: its figures are without it. An id is never older than its row, so
  -- the primary key finds them; the hour is for clocks that are put back.
  SELECT a.amount, i.due_at, i.issued_at, p.paid_at
    FROM allocation a
    JOIN invoice i ON i.agency_id = a.agency_id AND i.id = a.invoice_id
    JOIN payment p ON p.agency_id = a.agency_id AND p.id = a.payment_id
   WHERE :is_over AND a.agency_id = :agency_id AND a.id >= :later_id AND a.created_at >= :ends
     AND (CAST(:property_id AS uuid) IS NULL OR i.lease_id IN (SELECT id FROM chosen_lease))
), due AS (
  SELECT coalesce(sum(total - credited), 0) AS demanded,
         coalesce(sum(paid), 0) - (SELECT coalesce(sum(amount), 0) FROM later
                                    WHERE due_at BETWEEN :first AND :last) AS paid
    FROM invoice
   WHERE agency_id = :agency_id AND due_at BETWEEN :first AND :last AND status NOT IN ('DRAFT', 'VOID')
     AND (CAST(:property_id AS uuid) IS NULL OR lease_id IN (SELECT id FROM chosen_lease))
), owed AS (
  SELECT due_at, balance
    FROM invoice
   WHERE agency_id = :agency_id AND status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE') AND issued_at < :ends
     AND (CAST(:property_id AS uuid) IS NULL OR lease_id IN (SELECT id FROM chosen_lease))
  UNION ALL
  SELECT due_at, amount FROM later WHERE issued_at < :ends
), aged AS (
  SELECT coalesce(sum(balance) FILTER (WHERE due_at >= :on), 0) AS not_yet_due,
         coalesce(sum(balance) FILTER (WHERE CAST(:on AS date) - due_at BETWEEN 1 AND 30), 0) AS days_1_to_30,
         coalesce(sum(balance) FILTER (WHERE CAST(:on AS date) - due_at BETWEEN 31 AND 60), 0) AS days_31_to_60,
         coalesce(sum(balance) FILTER (WHERE CAST(:on AS date) - due_at BETWEEN 61 AND 90), 0) AS days_61_to_90,
         coalesce(sum(balance) FILTER (WHERE CAST(:on AS date) - due_at > 90), 0) AS over_90_days
    FROM owed
), received AS (
  -- A deposit that is applied is no new money.
  SELECT width_bucket(paid_at, CAST(:midnights AS timestamptz[])) AS day, count(*) AS count, sum(amount) AS amount
    FROM payment
   WHERE agency_id = :agency_id AND status = 'COMPLETED' AND method <> 'DEPOSIT'
     AND paid_at >= :begins AND paid_at < :ends
     AND (CAST(:property_id AS uuid) IS NULL OR lease_id IN (SELECT id FROM chosen_lease))
   GROUP BY 1
), credit AS (
  SELECT coalesce(sum(unallocated), 0)
         + (SELECT coalesce(sum(amount), 0) FROM later WHERE paid_at < :ends) AS credits
    FROM payment
   WHERE agency_id = :agency_id AND unallocated > 0 AND paid_at < :ends
     AND (CAST(:property_id AS uuid) IS NULL OR lease_id IN (SELECT id FROM chosen_lease))
)
SELECT (SELECT count(*) FROM property
         WHERE agency_id = :agency_id
           AND (CAST(:property_id AS uuid) IS NULL OR id = CAST(:property_id AS uuid))) AS properties,
       place.*, issued.*, due.*, aged.*, credit.*,
       (SELECT coalesce(json_agg(json_build_array(day, count, CAST(amount AS text)) ORDER BY day), '[]')
          FROM received) AS received
  FROM place, issued, due, aged, credit
