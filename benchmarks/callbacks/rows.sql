-- Leases that each owe one invoice and have one push open. Everything has its number in its id, so that the load and
-- pgbench find it without asking. Loaded by the superuser with triggers off: {agencies} agencies, {count} leases.
SET session_replication_role = replica;

CREATE FUNCTION numbered(kind int, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS
  $$ SELECT (lpad(to_hex(kind), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
CREATE FUNCTION token_of(n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS
  $$ SELECT replace(numbered(1, n % {agencies})::text, '-', '') || lpad(to_hex(n), 64, '0') $$;
GRANT EXECUTE ON FUNCTION numbered, token_of TO PUBLIC;

CREATE TEMP VIEW number AS SELECT n, numbered(1, n % {agencies}) AS agency_id FROM generate_series(0, {count} - 1) AS n;

INSERT INTO agency (id, name, slug)
SELECT numbered(1, n), 'Benchmark ' || n, 'benchmark-' || n FROM generate_series(0, {agencies} - 1) AS n;
INSERT INTO property (agency_id, id, name, code, kind)
SELECT numbered(1, n), numbered(2, n), 'Court', 'C' || n, 'APARTMENT' FROM generate_series(0, {agencies} - 1) AS n;
INSERT INTO ledger_account (agency_id, id, code, kind)
SELECT numbered(1, n), numbered(3, n), 'MPESA_CLEARING', 'ASSET' FROM generate_series(0, {agencies} - 1) AS n;
INSERT INTO counter (agency_id, name, value)
SELECT numbered(1, n), name, 0 FROM generate_series(0, {agencies} - 1) AS n, unnest(ARRAY['RECEIPT', 'INVOICE']) AS name;

INSERT INTO unit (agency_id, id, property_id, label, rent_amount, payment_reference)
SELECT agency_id, numbered(4, n), numbered(2, n % {agencies}), 'U' || n, 1000, 'R' || n FROM number;
INSERT INTO tenant (agency_id, id, full_name, status)
SELECT agency_id, numbered(5, n), 'Tenant ' || n, 'ACTIVE' FROM number;
INSERT INTO lease (agency_id, id, unit_id, tenant_id, start_date, rent_amount, status)
SELECT agency_id, numbered(6, n), numbered(4, n), numbered(5, n), '2026-01-01', 1000, 'ACTIVE' FROM number;
INSERT INTO invoice (agency_id, id, lease_id, tenant_id, number, period_start, period_end, issued_at, due_at, total, status)
SELECT agency_id, numbered(7, n), numbered(6, n), numbered(5, n), n + 1, '2026-11-01', '2026-11-30', now(), '2099-01-01',
       1000, 'OPEN' FROM number;
INSERT INTO ledger_account (agency_id, id, code, kind, lease_id)
SELECT agency_id, numbered(8, n), 'TENANT_RECEIVABLE', 'ASSET', numbered(6, n) FROM number;
INSERT INTO payment (agency_id, id, lease_id, tenant_id, invoice_id, amount, method, status, phone)
SELECT agency_id, numbered(9, n), numbered(6, n), numbered(5, n), numbered(7, n), 1000, 'MPESA', 'PROCESSING',
       '+2547' || lpad(n::text, 8, '0') FROM number;
INSERT INTO mpesa_attempt (agency_id, id, payment_id, phone, amount, account_reference, token_hash, state,
                           merchant_request_id, checkout_request_id, sent_at, answered_at, next_query_at)
SELECT agency_id, numbered(10, n), numbered(9, n), '+2547' || lpad(n::text, 8, '0'), 1000, 'R' || n,
       sha256(token_of(n)::bytea), 'ACCEPTED', 'm-' || n, 'ws_CO_' || n, now(), now(), now() + interval '1 hour'
  FROM number;

SET session_replication_role = DEFAULT;
ANALYZE;
