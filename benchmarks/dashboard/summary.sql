-- What was weighed against covering indexes: the month's sums kept by triggers, in the transaction of whatever changes them.
CREATE TABLE day_summary (
  agency_id uuid NOT NULL, property_id uuid NOT NULL, day date NOT NULL, collected numeric(14, 2) NOT NULL DEFAULT 0,
  owed numeric(14, 2) NOT NULL DEFAULT 0, PRIMARY KEY (agency_id, property_id, day)
);
GRANT SELECT, INSERT, UPDATE ON day_summary TO haven_app;

CREATE FUNCTION property_of(agency uuid, of_lease uuid) RETURNS uuid STABLE LANGUAGE sql AS $$
  SELECT u.property_id FROM lease l JOIN unit u ON u.agency_id = l.agency_id AND u.id = l.unit_id
   WHERE l.agency_id = agency AND l.id = of_lease $$;

CREATE FUNCTION keep_collected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO day_summary AS s (agency_id, property_id, day, collected)
  VALUES (NEW.agency_id, property_of(NEW.agency_id, NEW.lease_id), (NEW.paid_at AT TIME ZONE 'Africa/Nairobi')::date, NEW.amount)
  ON CONFLICT (agency_id, property_id, day) DO UPDATE SET collected = s.collected + excluded.collected;
  RETURN NULL;
END $$;
CREATE FUNCTION keep_owed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO day_summary AS s (agency_id, property_id, day, owed)
  VALUES (NEW.agency_id, property_of(NEW.agency_id, NEW.lease_id), NEW.due_at, NEW.balance - OLD.balance)
  ON CONFLICT (agency_id, property_id, day) DO UPDATE SET owed = s.owed + excluded.owed;
  RETURN NULL;
END $$;
CREATE TRIGGER keep_collected AFTER UPDATE OF status ON payment FOR EACH ROW
  WHEN (NEW.status = 'COMPLETED' AND OLD.status <> 'COMPLETED') EXECUTE FUNCTION keep_collected();
CREATE TRIGGER keep_owed AFTER UPDATE OF paid ON invoice FOR EACH ROW
  WHEN (NEW.paid <> OLD.paid) EXECUTE FUNCTION keep_owed();
