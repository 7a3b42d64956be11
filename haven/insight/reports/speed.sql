-- Days from due date to allocation, weighted by amount, of what was allocated in the period; and money in suspense.
WITH {place}, allocated AS (
  SELECT a.amount, CAST(a.created_at AT TIME ZONE :zone AS date) - i.due_at AS days
    FROM allocation a
    JOIN invoice i ON i.agency_id = a.agency_id AND i.id = a.invoice_id
    JOIN home ON home.lease_id = i.lease_id
   WHERE a.agency_id = :agency_id AND a.id >= :begins_id AND a.created_at >= :begins AND a.created_at < :ends
)
SELECT coalesce(sum(amount), 0) AS allocated, coalesce(sum(amount * days), 0) AS shilling_days,
       (SELECT coalesce(sum(amount), 0) FROM unmatched_receipt
         WHERE agency_id = :agency_id AND payment_id IS NULL
           AND received_at >= :begins AND received_at < :ends) AS suspense
  FROM allocated
