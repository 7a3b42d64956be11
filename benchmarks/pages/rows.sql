-- One agency with {rows} tenants, leases, invoices and payments. Loaded by the superuser with triggers off.
SET session_replication_role = replica;

CREATE FUNCTION numbered(kind int, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS
  $$ SELECT (lpad(to_hex(kind), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
CREATE TEMP VIEW number AS SELECT n, numbered(1, 0) AS agency_id FROM generate_series(1, {rows}) AS n;

INSERT INTO agency (id, name, slug) VALUES (numbered(1, 0), 'Benchmark', 'benchmark');
INSERT INTO property (agency_id, id, name, code, kind)
SELECT agency_id, numbered(2, n), 'Court ' || n, 'C' || n, 'APARTMENT' FROM number;
INSERT INTO unit (agency_id, id, property_id, label, rent_amount, payment_reference)
SELECT agency_id, numbered(4, n), numbered(2, n), 'A1', 20000 + n % 900, 'R' || n FROM number;
INSERT INTO tenant (agency_id, id, full_name, status)
SELECT agency_id, numbered(5, n), 'Tenant ' || md5(n::text), 'ACTIVE' FROM number;
INSERT INTO lease (agency_id, id, unit_id, tenant_id, start_date, rent_amount, status)
SELECT agency_id, numbered(6, n), numbered(4, n), numbered(5, n), date '2020-01-01' + (n % 2000)::int, 20000, 'ACTIVE'
  FROM number;
INSERT INTO invoice (agency_id, id, lease_id, tenant_id, number, period_start, period_end, issued_at, due_at, total, status)
SELECT agency_id, numbered(7, n), numbered(6, n), numbered(5, n), n, '2026-11-01', '2026-11-30', now(),
       date '2020-01-01' + (n % 2000)::int, 20000, 'OPEN' FROM number;
INSERT INTO payment (agency_id, id, lease_id, tenant_id, invoice_id, amount, method, status, paid_at, reference)
SELECT agency_id, numbered(9, n), numbered(6, n), numbered(5, n), numbered(7, n), 20000, 'MPESA', 'COMPLETED',
       timestamptz '2020-01-01' + n * interval '5 minutes', 'P' || n FROM number;

SET session_replication_role = DEFAULT;
VACUUM ANALYZE
