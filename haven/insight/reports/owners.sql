-- By owner: what was collected for him in the period, the fee, expenses and payouts, all from the ledger as it was posted.
SELECT o.id, o.full_name AS owner,
       coalesce(sum(e.credit - e.debit) FILTER (WHERE coalesce(r.kind, t.kind) = 'COLLECTED'), 0) AS collected,
       coalesce(sum(e.debit - e.credit) FILTER (WHERE coalesce(r.kind, t.kind) = 'MANAGEMENT_FEE'), 0) AS fee,
       coalesce(sum(e.debit - e.credit) FILTER (WHERE coalesce(r.kind, t.kind) = 'EXPENSE'), 0) AS expenses,
       coalesce(sum(e.debit - e.credit) FILTER (WHERE coalesce(r.kind, t.kind) = 'PAYOUT'), 0) AS payouts
  FROM ledger_transaction t
  JOIN ledger_entry e ON e.agency_id = t.agency_id AND e.transaction_id = t.id
  JOIN ledger_account a ON a.agency_id = e.agency_id AND a.id = e.account_id AND a.code = 'OWNER_PAYABLE'
  JOIN owner o ON o.agency_id = a.agency_id AND o.id = a.owner_id
  LEFT JOIN ledger_transaction r ON r.agency_id = t.agency_id AND r.id = t.reverses_id
 WHERE t.agency_id = :agency_id AND t.at >= :begins AND t.at < :ends
   AND (CAST(:owner_id AS uuid) IS NULL OR o.id = CAST(:owner_id AS uuid))
 GROUP BY o.id, o.full_name ORDER BY o.full_name, o.id LIMIT :most
