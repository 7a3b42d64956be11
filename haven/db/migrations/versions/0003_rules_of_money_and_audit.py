"""Rules that the database keeps itself: a balanced, append-only ledger, paid stays paid, and the audit trail."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Table → columns whose values are never written to the trail.
AUDITED = {
    "agency": ["mpesa_credentials"],
    "user_account": ["password_hash"],
    "api_key": ["secret_hash"],
    "owner": ["payout_details"],
    "property": [],
    "unit": [],
    "tenant": [],
    "lease": [],
    "invoice": [],
    "payment": [],
    "webhook_endpoint": ["secret"],
    "report_schedule": [],
    "alert_rule": [],
}
APPEND_ONLY = ("ledger_entry", "ledger_transaction", "audit_entry")

LEDGER_BALANCES = """
CREATE FUNCTION haven_ledger_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE difference numeric;
BEGIN
  SELECT sum(debit) - sum(credit) INTO difference FROM ledger_entry
   WHERE agency_id = NEW.agency_id AND transaction_id = NEW.transaction_id;
  IF difference <> 0 THEN
    RAISE EXCEPTION 'ledger transaction % does not balance: debits less credits are %', NEW.transaction_id, difference
      USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balances';
  END IF;
  RETURN NULL;
END $$
"""

APPEND_ONLY_RULE = """
CREATE FUNCTION haven_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: correct a row by adding another', TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'append_only';
END $$
"""

INVOICE_KEEPS_NUMBER = """
CREATE FUNCTION haven_invoice_keeps_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    RAISE EXCEPTION 'an issued invoice is voided, never deleted'
      USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_keeps_number';
  ELSIF NEW.number IS DISTINCT FROM OLD.number THEN
    RAISE EXCEPTION 'the number of an issued invoice never changes'
      USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_keeps_number';
  END IF;
  RETURN NEW;
END $$
"""

PAID_STAYS_PAID = """
CREATE FUNCTION haven_paid_stays_paid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'payment % is %: it cannot become %', OLD.id, OLD.status, NEW.status
    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'paid_stays_paid';
END $$
"""

AUDIT = """
CREATE FUNCTION haven_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
  after  jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
  changed jsonb;
BEGIN
  SELECT jsonb_object_agg(key, CASE WHEN key = ANY (TG_ARGV) THEN '["redacted", "redacted"]'::jsonb
                                    ELSE jsonb_build_array(before -> key, after -> key) END)
    INTO changed
    FROM jsonb_object_keys(before || after) AS key
   WHERE key NOT IN ('agency_id', 'id', 'search', 'created_at', 'updated_at', 'version')
     AND (before -> key) IS DISTINCT FROM (after -> key);
  IF changed IS NOT NULL OR TG_OP <> 'UPDATE' THEN
    INSERT INTO audit_entry (agency_id, actor, request_id, action, entity, entity_id, changes)
    VALUES (current_setting('haven.agency_id')::uuid, coalesce(current_setting('haven.actor', true), ''),
            coalesce(current_setting('haven.request_id', true), ''), TG_OP, TG_TABLE_NAME,
            ((before || after) ->> 'id')::uuid, coalesce(changed, '{}'));
  END IF;
  RETURN NULL;
END $$
"""

FUNCTIONS = (LEDGER_BALANCES, APPEND_ONLY_RULE, INVOICE_KEEPS_NUMBER, PAID_STAYS_PAID, AUDIT)


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)
    op.execute(
        "CREATE CONSTRAINT TRIGGER balances AFTER INSERT ON ledger_entry DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION haven_ledger_balances()"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION haven_append_only()"
        )
    op.execute(
        "CREATE TRIGGER keeps_number BEFORE UPDATE OF number OR DELETE ON invoice"
        " FOR EACH ROW WHEN (OLD.number IS NOT NULL) EXECUTE FUNCTION haven_invoice_keeps_number()"
    )
    op.execute(
        "CREATE TRIGGER paid_stays_paid BEFORE UPDATE OF status ON payment FOR EACH ROW"
        " WHEN (OLD.status = 'REVERSED' AND NEW.status <> 'REVERSED'"
        " OR OLD.status = 'COMPLETED' AND NEW.status NOT IN ('COMPLETED', 'REVERSED'))"
        " EXECUTE FUNCTION haven_paid_stays_paid()"
    )
    for table, hidden in AUDITED.items():
        arguments = ", ".join(f"'{column}'" for column in hidden)
        op.execute(
            f"CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION haven_audit({arguments})"
        )


def downgrade() -> None:
    for table in AUDITED:
        op.execute(f"DROP TRIGGER audit ON {table}")
    op.execute("DROP TRIGGER paid_stays_paid ON payment")
    op.execute("DROP TRIGGER keeps_number ON invoice")
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only ON {table}")
    op.execute("DROP TRIGGER balances ON ledger_entry")
    for name in ("ledger_balances", "append_only", "invoice_keeps_number", "paid_stays_paid", "audit"):
        op.execute(f"DROP FUNCTION haven_{name}()")
