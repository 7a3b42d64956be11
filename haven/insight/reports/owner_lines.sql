-- What moved an owner's balance in the period, in order; with the gross rent in it. Reads the account by its index.
SELECT t.at, t.kind, t.description, sum(e.credit - e.debit) AS net,
       (SELECT coalesce(sum(x.debit - x.credit), 0)
          FROM ledger_entry x JOIN ledger_account y ON y.agency_id = x.agency_id AND y.id = x.account_id
         WHERE x.agency_id = :agency_id AND x.transaction_id = t.id AND y.code = 'RENT_TO_OWNERS') AS rent
  FROM ledger_account a
  JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
  JOIN ledger_transaction t ON t.agency_id = e.agency_id AND t.id = e.transaction_id
 WHERE a.agency_id = :agency_id AND a.code = 'OWNER_PAYABLE' AND a.owner_id = :owner_id
   AND t.at >= :begins AND t.at < :ends
 GROUP BY t.id, t.at, t.kind, t.description ORDER BY t.at, t.id LIMIT :most
