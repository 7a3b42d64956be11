-- What one callback writes, and nothing else: two transactions, as Haven has them, without its reads and locks.
\set i :i + 1
\set n :base + :client_id + :clients * (:i - 1)
BEGIN;
SELECT set_config('haven.agency_id', numbered(1, :n % :agencies)::text, true), set_config('haven.actor', 'mpesa', true),
       set_config('haven.request_id', '', true), set_config('haven.platform', '', true);
INSERT INTO mpesa_inbox (agency_id, id, attempt_id, kind, body, headers, address)
SELECT agency_id, numbered(11, :n), id, 'STK', decode(repeat('20', 520), 'hex'), '{"User-Agent": "pgbench"}', '127.0.0.1'
  FROM mpesa_attempt WHERE agency_id = numbered(1, :n % :agencies) AND token_hash = sha256(token_of(:n)::bytea);
COMMIT;
BEGIN;
SELECT set_config('haven.agency_id', numbered(1, :n % :agencies)::text, true), set_config('haven.actor', 'mpesa', true),
       set_config('haven.request_id', '', true), set_config('haven.platform', '', true);
UPDATE mpesa_attempt SET state = 'PAID', result_code = '0', settled_at = now(), next_query_at = NULL
 WHERE agency_id = numbered(1, :n % :agencies) AND id = numbered(10, :n);
INSERT INTO counter AS c (agency_id, name, value) VALUES (numbered(1, :n % :agencies), 'RECEIPT', 1)
ON CONFLICT (agency_id, name) DO UPDATE SET value = c.value + excluded.value RETURNING value AS receipt \gset
UPDATE payment SET status = 'COMPLETED', paid_at = now(), reference = 'UKO' || lpad(:n::text, 7, '0'),
       receipt_number = :receipt, allocated = 1000, version = version + 1, updated_at = now()
 WHERE agency_id = numbered(1, :n % :agencies) AND id = numbered(9, :n);
INSERT INTO allocation (agency_id, id, payment_id, invoice_id, amount)
VALUES (numbered(1, :n % :agencies), uuidv7(), numbered(9, :n), numbered(7, :n), 1000);
UPDATE invoice SET paid = paid + 1000, status = 'PAID', version = version + 1, updated_at = now()
 WHERE agency_id = numbered(1, :n % :agencies) AND id = numbered(7, :n);
INSERT INTO ledger_transaction (agency_id, id, at, kind, description, payment_id)
VALUES (numbered(1, :n % :agencies), numbered(12, :n), now(), 'PAYMENT', 'MPESA payment received', numbered(9, :n));
INSERT INTO ledger_entry (agency_id, id, transaction_id, account_id, debit, credit)
VALUES (numbered(1, :n % :agencies), uuidv7(), numbered(12, :n), numbered(3, :n % :agencies), 1000, 0),
       (numbered(1, :n % :agencies), uuidv7(), numbered(12, :n), numbered(8, :n), 0, 1000);
UPDATE mpesa_inbox SET state = 'APPLIED', outcome = 'Paid.', applied_at = now(), tries = tries + 1
 WHERE agency_id = numbered(1, :n % :agencies) AND id = numbered(11, :n);
COMMIT;
