-- Which leases a report is of: all of the agency, or those of one property or owner.
place AS MATERIALIZED (
  SELECT p.id AS property_id, p.name AS property, u.id AS unit_id, u.label AS unit, u.status AS unit_status, u.rent_amount AS market_rent
    FROM property p JOIN unit u ON u.agency_id = p.agency_id AND u.property_id = p.id
   WHERE p.agency_id = :agency_id
     AND (CAST(:property_id AS uuid) IS NULL OR p.id = CAST(:property_id AS uuid))
     AND (CAST(:owner_id AS uuid) IS NULL OR p.owner_id = CAST(:owner_id AS uuid))
), home AS MATERIALIZED (
  SELECT l.id AS lease_id, l.tenant_id, place.*
    FROM place JOIN lease l ON l.agency_id = :agency_id AND l.unit_id = place.unit_id
)
