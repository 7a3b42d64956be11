"""The audit trail writes money as text, as the API does, and leaves out when a key or session was last used."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A number with decimals (money, a percentage, a coordinate) becomes text: read as JSON it would be a float.
AUDIT = """
CREATE OR REPLACE FUNCTION haven_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{{}}' ELSE to_jsonb(OLD) END;
  after  jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{{}}' ELSE to_jsonb(NEW) END;
  changed jsonb;
BEGIN
  SELECT jsonb_object_agg(key, CASE WHEN key = ANY (TG_ARGV) THEN '["redacted", "redacted"]'::jsonb
                                    ELSE jsonb_build_array({before}, {after}) END)
    INTO changed
    FROM jsonb_object_keys(before || after) AS key
   WHERE key NOT IN ({unaudited})
     AND (before -> key) IS DISTINCT FROM (after -> key);
  IF changed IS NOT NULL OR TG_OP <> 'UPDATE' THEN
    INSERT INTO audit_entry (agency_id, actor, request_id, action, entity, entity_id, changes)
    VALUES (current_setting('haven.agency_id')::uuid, coalesce(current_setting('haven.actor', true), ''),
            coalesce(current_setting('haven.request_id', true), ''), TG_OP, TG_TABLE_NAME,
            ((before || after) ->> 'id')::uuid, coalesce(changed, '{{}}'));
  END IF;
  RETURN NULL;
END $$
"""
EXACT = (
    "CASE WHEN jsonb_typeof({row} -> key) = 'number' AND {row} ->> key LIKE '%.%'"
    " THEN to_jsonb({row} ->> key) ELSE {row} -> key END"
)
UNAUDITED = ("agency_id", "id", "search", "created_at", "updated_at", "version")


def _function(before: str, after: str, unaudited: tuple[str, ...]) -> str:
    return AUDIT.format(before=before, after=after, unaudited=", ".join(f"'{name}'" for name in unaudited))


def upgrade() -> None:
    op.execute(_function(EXACT.format(row="before"), EXACT.format(row="after"), (*UNAUDITED, "last_used_at")))


def downgrade() -> None:
    op.execute(_function("before -> key", "after -> key", UNAUDITED))
