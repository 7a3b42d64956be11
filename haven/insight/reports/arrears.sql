-- One row for each lease that owes or has credit. Reads invoice_owed_idx and payment_credit_idx.
WITH {place}, {balances}, aged AS (
  SELECT lease_id,
         sum(balance) FILTER (WHERE due_at >= :on) AS not_yet_due,
         sum(balance) FILTER (WHERE CAST(:on AS date) - due_at BETWEEN 1 AND 30) AS days_1_to_30,
         sum(balance) FILTER (WHERE CAST(:on AS date) - due_at BETWEEN 31 AND 60) AS days_31_to_60,
         sum(balance) FILTER (WHERE CAST(:on AS date) - due_at BETWEEN 61 AND 90) AS days_61_to_90,
         sum(balance) FILTER (WHERE CAST(:on AS date) - due_at > 90) AS over_90_days,
         sum(balance) FILTER (WHERE due_at < :on) AS arrears,
         min(due_at) FILTER (WHERE due_at < :on) AS oldest_due
    FROM demand GROUP BY lease_id
)
SELECT home.property, home.unit, t.full_name AS tenant, t.phone, aged.oldest_due,
       coalesce(aged.not_yet_due, 0) AS not_yet_due, coalesce(aged.days_1_to_30, 0) AS days_1_to_30,
       coalesce(aged.days_31_to_60, 0) AS days_31_to_60, coalesce(aged.days_61_to_90, 0) AS days_61_to_90,
       coalesce(aged.over_90_days, 0) AS over_90_days, coalesce(aged.arrears, 0) AS arrears,
       coalesce(credited.credit, 0) AS credit
  FROM aged FULL JOIN credited USING (lease_id)
  JOIN home USING (lease_id)
  JOIN tenant t ON t.agency_id = :agency_id AND t.id = home.tenant_id
-- Units as people count them, A2 before A10: numbers with noughts before them, eight digits long (ICU may not be there).
 ORDER BY home.property, home.property_id, regexp_replace(regexp_replace(home.unit, '(\d+)', '00000000\1', 'g'), '0*(\d\d\d\d\d\d\d\d)', '\1', 'g'),
          home.unit, lease_id LIMIT :most
