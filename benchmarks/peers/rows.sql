-- {agencies} agencies of {properties} properties of {units} units, four of five occupied. Loaded by the superuser.
SET session_replication_role = replica;

CREATE FUNCTION numbered(kind int, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS
  $$ SELECT (lpad(to_hex(kind), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;

INSERT INTO agency (id, name, slug)
SELECT numbered(1, n), 'Benchmark ' || n, 'benchmark-' || n FROM generate_series(0, {agencies} - 1) AS n;
INSERT INTO owner (agency_id, id, full_name)
SELECT numbered(1, n), numbered(2, n), 'Wanjiku Kamau' FROM generate_series(0, {agencies} - 1) AS n;
INSERT INTO property (agency_id, id, name, code, kind, address, location, county, latitude, longitude, owner_id)
SELECT numbered(1, n % {agencies}), numbered(3, n), 'Umoja Court ' || n, 'UC' || n, 'APARTMENT', n || ' Moi Avenue', 'Umoja',
       'Nairobi', -1.286389, 36.817223, numbered(2, n % {agencies})
  FROM generate_series(0, {agencies} * {properties} - 1) AS n;
INSERT INTO unit (agency_id, id, property_id, label, rent_amount, payment_reference, status)
SELECT numbered(1, n % {agencies}), numbered(4, n * {units} + u), numbered(3, n), 'A' || u, 25000, 'U' || n || 'A' || u,
       CASE WHEN u % 5 = 0 THEN 'VACANT' ELSE 'OCCUPIED' END
  FROM generate_series(0, {agencies} * {properties} - 1) AS n, generate_series(1, {units}) AS u;

SET session_replication_role = DEFAULT;
VACUUM ANALYZE property, unit;
