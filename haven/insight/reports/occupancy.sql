-- By property and month: unit-days that could be let, those let, what they could and did bring.
-- :months, :last_days are the first and last day of each month's part of the period, :lengths the days of the whole month.
WITH {place}, month AS (
  SELECT * FROM unnest(CAST(:months AS date[]), CAST(:last_days AS date[]), CAST(:lengths AS int[]))
             AS m(first_day, last_day, length)
), held AS (
  SELECT unit_id, range_agg(daterange(start_date, end_date, '[]')) AS days
    FROM lease
   WHERE agency_id = :agency_id AND status <> 'DRAFT' AND start_date <= :last
     AND (end_date IS NULL OR end_date >= :first)
   GROUP BY unit_id
), cell AS (
  SELECT place.property_id, place.property, month.first_day, month.last_day - month.first_day + 1 AS days, month.length,
         place.market_rent,
         (SELECT coalesce(sum(upper(r) - lower(r)), 0)
            FROM unnest(held.days * datemultirange(daterange(month.first_day, month.last_day, '[]'))) AS r) AS let_days
    FROM place CROSS JOIN month LEFT JOIN held USING (unit_id)
   WHERE place.unit_status <> 'OUT_OF_SERVICE'
), summed AS (
  SELECT property_id, property, first_day, sum(days) AS unit_days, sum(let_days) AS let_days,
         sum(round(market_rent * days / length, 2)) AS potential,
         sum(round(market_rent * (days - let_days) / length, 2)) AS vacancy_loss
    FROM cell GROUP BY property_id, property, first_day
), rent AS (
  SELECT i.lease_id, i.period_start, i.period_end,
         (SELECT coalesce(sum(amount), 0) FROM invoice_line
           WHERE agency_id = i.agency_id AND invoice_id = i.id AND kind = 'RENT')
         - (SELECT coalesce(sum(amount), 0) FROM credit_note_line
             WHERE agency_id = i.agency_id AND invoice_id = i.id AND kind = 'RENT') AS amount
    FROM invoice i
   WHERE i.agency_id = :agency_id AND i.status NOT IN ('DRAFT', 'VOID')
     AND i.period_start <= :last AND i.period_end >= :first
), charged AS (
  SELECT home.property_id, month.first_day,
         sum(round(rent.amount * (least(rent.period_end, month.last_day) - greatest(rent.period_start, month.first_day) + 1)
                   / (rent.period_end - rent.period_start + 1), 2)) AS charged
    FROM rent JOIN home ON home.lease_id = rent.lease_id
    JOIN month ON rent.period_start <= month.last_day AND rent.period_end >= month.first_day
   WHERE home.unit_status <> 'OUT_OF_SERVICE'
   GROUP BY home.property_id, month.first_day
)
SELECT summed.*, coalesce(charged.charged, 0) AS charged
  FROM summed LEFT JOIN charged USING (property_id, first_day)
 ORDER BY property, property_id, first_day LIMIT :most
