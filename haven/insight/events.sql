-- The latest :most events before the place that :at, :id and :rank name, newest first. Each kind is read from an index in that
-- order and no further than a page, so the cost is the same however much has happened. :rank sets apart two events of one
-- row at one moment; it is a number because comparing texts is not leakproof, which would keep the index from being used.
WITH event AS (
  (SELECT paid_at AS at, id, 1 AS rank, receipt_number AS number, amount, method, lease_id
     FROM payment
    WHERE agency_id = :agency_id AND status IN ('COMPLETED', 'REVERSED')
      AND (paid_at, id, 1) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :rank)
    ORDER BY paid_at DESC, id DESC LIMIT :most)
  UNION ALL
  (SELECT reversed_at, id, 2, receipt_number, amount, method, lease_id
     FROM payment
    WHERE agency_id = :agency_id AND reversed_at IS NOT NULL
      AND (reversed_at, id, 2) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :rank)
    ORDER BY reversed_at DESC, id DESC LIMIT :most)
  UNION ALL
  (SELECT issued_at, id, 3, number, total, NULL, lease_id
     FROM invoice
    WHERE agency_id = :agency_id AND issued_at IS NOT NULL
      AND (issued_at, id, 3) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :rank)
    ORDER BY issued_at DESC, id DESC LIMIT :most)
  UNION ALL
  (SELECT voided_at, id, 4, number, total, NULL, lease_id
     FROM invoice
    WHERE agency_id = :agency_id AND voided_at IS NOT NULL
      AND (voided_at, id, 4) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :rank)
    ORDER BY voided_at DESC, id DESC LIMIT :most)
  UNION ALL
  (SELECT issued_at, id, 5, number, amount, NULL, lease_id
     FROM credit_note
    WHERE agency_id = :agency_id
      AND (issued_at, id, 5) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :rank)
    ORDER BY issued_at DESC, id DESC LIMIT :most)
  UNION ALL
  (SELECT activated_at, id, 6, NULL, rent_amount, NULL, id
     FROM lease
    WHERE agency_id = :agency_id AND activated_at IS NOT NULL
      AND (activated_at, id, 6) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :rank)
    ORDER BY activated_at DESC, id DESC LIMIT :most)
  UNION ALL
  (SELECT terminated_at, id, 7, NULL, rent_amount, NULL, id
     FROM lease
    WHERE agency_id = :agency_id AND terminated_at IS NOT NULL
      AND (terminated_at, id, 7) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :rank)
    ORDER BY terminated_at DESC, id DESC LIMIT :most)
), page AS (
  SELECT * FROM event ORDER BY at DESC, id DESC, rank DESC LIMIT :most
)
SELECT page.at, page.rank, page.id, page.number, page.amount, page.method, page.lease_id, t.id AS tenant_id,
       t.full_name AS tenant, u.label AS unit, p.id AS property_id, p.name AS property
  FROM page
  JOIN lease l ON l.agency_id = :agency_id AND l.id = page.lease_id
  JOIN tenant t ON t.agency_id = :agency_id AND t.id = l.tenant_id
  JOIN unit u ON u.agency_id = :agency_id AND u.id = l.unit_id
  JOIN property p ON p.agency_id = :agency_id AND p.id = u.property_id
 ORDER BY page.at DESC, page.id DESC, page.rank DESC
