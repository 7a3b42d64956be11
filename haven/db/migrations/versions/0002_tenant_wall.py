"""The tenant wall: forced row-level security on every table that belongs to an agency.

The setting is read in a scalar sub-select so that the planner evaluates it once for a statement, not once for a row.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OWNED = (
    "user_account sign_in_session refresh_token api_key idempotency_key audit_entry owner property unit tenant lease"
    " counter invoice invoice_line allocation ledger_account ledger_transaction ledger_entry payment mpesa_attempt"
    " mpesa_inbox mpesa_evidence unmatched_receipt job webhook_endpoint webhook_delivery export_file report_schedule"
    " alert_rule alert alert_silence"
).split()

CURRENT = "(SELECT nullif(current_setting('haven.agency_id', true), '')::uuid)"
PLATFORM = "(SELECT current_setting('haven.platform', true)) = 'on'"
NAMED = "email = (SELECT current_setting('haven.sign_in_email', true))"


def upgrade() -> None:
    for table in OWNED:
        _wall(table, f"agency_id = {CURRENT}", f"agency_id = {CURRENT}")
    # Operators list and make agencies; everybody else sees the one he works for.
    _wall("agency", f"id = {CURRENT} OR {PLATFORM}", f"id = {CURRENT} OR {PLATFORM}")
    # Whoever names an address may learn which account it signs in to: sign-in comes before the agency is known.
    _wall("sign_in_address", f"agency_id = {CURRENT} OR {NAMED}", f"agency_id = {CURRENT}")
    op.execute(
        "INSERT INTO agency (id, name, slug, timezone) VALUES"
        " ('00000000-0000-0000-0000-000000000000', 'Haven platform', 'platform', 'UTC') ON CONFLICT DO NOTHING"
    )


def downgrade() -> None:
    for table in (*OWNED, "agency", "sign_in_address"):
        op.execute(f"DROP POLICY tenant ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def _wall(table: str, visible: str, writable: str) -> None:
    # The owner's session must see rows while it writes the platform's own agency below.
    op.execute("SELECT set_config('haven.platform', 'on', true)")
    op.execute(f"CREATE POLICY tenant ON {table} USING ({visible}) WITH CHECK ({writable})")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
