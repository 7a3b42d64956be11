"""Alerts of measured values: rules with a window, labels and a version; alerts that keep what their rule said."""

import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, insert

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
PLATFORM = "00000000-0000-0000-0000-000000000000"
OLD_KINDS = (
    "'PAYMENT_COMPLETED', 'PAYMENT_FAILED', 'PAYMENT_NEEDS_REVIEW', 'INVOICE_ISSUED', 'RENT_DUE', 'RENT_OVERDUE',"
    " 'EXPORT_READY', 'REPORT_READY', 'WEBHOOK_DISABLED'"
)
KINDS = f"{OLD_KINDS}, 'ALERT_FIRING', 'ALERT_RESOLVED'"

COLUMNS = "name metric comparison threshold resolve_threshold for_s severity window_s minimum_count description".split()
RULES = (
    ("slow_responses", "response_p95_seconds", "ABOVE", 3.0, 2.0, 60, "WARNING", 300, 20,
     "A route answers more than 5 of 100 requests later than after 3 s"),
    ("high_memory", "memory_share", "ABOVE", 0.80, 0.75, 120, "CRITICAL", 60, 1,
     "A process or its host has used more than 80 % of the memory it may have"),
    ("slow_queries", "slow_queries_per_minute", "ABOVE", 5.0, 2.0, 60, "WARNING", 300, 1,
     "More than 5 statements a minute take longer than SLOW_QUERY_THRESHOLD"),
    ("high_error_rate", "error_rate", "ABOVE", 0.05, 0.03, 60, "CRITICAL", 300, 100,
     "More than 5 of 100 requests end with a server error"),
    ("low_cache_hit_rate", "cache_hit_rate", "BELOW", 0.70, 0.75, 300, "WARNING", 300, 200,
     "The cache answers less than 70 of 100 look-ups"),
    ("deep_queue", "jobs_waiting", "ABOVE", 1000.0, 500.0, 60, "WARNING", 60, 1,
     "More than 1,000 jobs of a queue wait for a worker"),
)  # fmt: skip


def upgrade() -> None:
    _bind_owner(is_bound=False)
    _widen_rules()
    _widen_alerts()
    op.alter_column("alert_silence", "fingerprint", nullable=True)
    op.add_column("alert_silence", sa.Column("rule", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("alert_silence_subject_check"), "alert_silence", "num_nonnulls(fingerprint, rule) = 1"
    )
    op.create_index(
        op.f("alert_silence_agency_id_rule_ends_at_idx"), "alert_silence", ["agency_id", "rule", "ends_at"]
    )
    op.execute(
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON alert_silence"
        " FOR EACH ROW EXECUTE FUNCTION haven_audit()"
    )
    _notification_kinds(KINDS)
    _insert_rules()
    _bind_owner(is_bound=True)


def downgrade() -> None:
    _bind_owner(is_bound=False)
    op.execute("DELETE FROM notification WHERE kind IN ('ALERT_FIRING', 'ALERT_RESOLVED')")
    _notification_kinds(OLD_KINDS)
    op.execute("DROP TRIGGER audit ON alert_silence")
    op.execute("DELETE FROM alert_silence WHERE fingerprint IS NULL")
    op.drop_index(op.f("alert_silence_agency_id_rule_ends_at_idx"), "alert_silence")
    op.drop_constraint(op.f("alert_silence_subject_check"), "alert_silence")
    op.drop_column("alert_silence", "rule")
    op.alter_column("alert_silence", "fingerprint", nullable=False)
    op.execute("DELETE FROM alert WHERE rule_id IS NULL")
    op.execute(
        "DELETE FROM alert a USING alert_rule r"
        " WHERE r.agency_id = a.agency_id AND r.id = a.rule_id AND r.kind = 'METRIC'"
    )
    _be_platform(PLATFORM)
    op.execute("DELETE FROM alert_rule WHERE kind = 'METRIC'")
    _be_platform("")
    for name in ("agency_id_resolved_at", "agency_id_rule_id_2", "agency_id_state_id"):
        op.drop_index(f"alert_{name}_idx", "alert")
    for name in "told_at acknowledged_note clear_since seen_at labels threshold comparison severity metric rule".split():
        op.drop_column("alert", name)
    op.alter_column("alert", "rule_id", nullable=False)
    op.drop_constraint(op.f("alert_rule_kind_check"), "alert_rule")
    for name in "version description minimum_count window_s resolve_for_s labels kind".split():
        op.drop_column("alert_rule", name)
    _bind_owner(is_bound=True)


def _widen_rules() -> None:
    # What there is was made by code that raises alerts itself.
    op.add_column("alert_rule", sa.Column("kind", sa.Text(), server_default="EVENT", nullable=False))
    op.add_column("alert_rule", sa.Column("labels", JSONB(), server_default="{}", nullable=False))
    op.add_column("alert_rule", sa.Column("resolve_for_s", sa.Integer(), server_default="0", nullable=False))
    op.add_column("alert_rule", sa.Column("window_s", sa.Integer(), server_default="300", nullable=False))
    op.add_column("alert_rule", sa.Column("minimum_count", sa.Integer(), server_default="1", nullable=False))
    op.add_column("alert_rule", sa.Column("description", sa.Text(), server_default="", nullable=False))
    op.add_column("alert_rule", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.create_check_constraint(op.f("alert_rule_kind_check"), "alert_rule", "kind IN ('METRIC', 'EVENT')")


def _widen_alerts() -> None:
    op.alter_column("alert", "rule_id", nullable=True)
    for name in ("rule", "metric", "severity"):
        op.add_column("alert", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("alert", sa.Column("comparison", sa.Text(), server_default="ABOVE", nullable=False))
    op.add_column("alert", sa.Column("threshold", sa.Float(), server_default="0", nullable=False))
    op.add_column("alert", sa.Column("labels", JSONB(), server_default="{}", nullable=False))
    for name in ("seen_at", "clear_since", "told_at"):
        op.add_column("alert", sa.Column(name, _INSTANT, nullable=True))
    op.add_column("alert", sa.Column("acknowledged_note", sa.Text(), nullable=True))
    op.execute(
        "UPDATE alert a SET rule = r.name, metric = r.metric, severity = r.severity, threshold = r.threshold,"
        " labels = jsonb_build_object('subject', substr(a.fingerprint, length(r.name) + 2))"
        " FROM alert_rule r WHERE r.agency_id = a.agency_id AND r.id = a.rule_id"
    )
    op.create_index("alert_agency_id_state_id_idx", "alert", ["agency_id", "state", "id"])
    op.create_index("alert_agency_id_rule_id_2_idx", "alert", ["agency_id", "rule", "id"])
    op.create_index("alert_agency_id_resolved_at_idx", "alert", ["agency_id", "resolved_at"])


def _notification_kinds(kinds: str) -> None:
    op.drop_constraint("notification_kind_check", "notification")
    op.create_check_constraint(op.f("notification_kind_check"), "notification", f"kind IN ({kinds})")


def _insert_rules() -> None:
    """The six that every installation begins with, as ``extensions/alerting/rules.py`` has them."""
    texts = {"name", "metric", "comparison", "severity", "description", "kind"}
    names = [*COLUMNS, "kind", "resolve_for_s"]
    columns = [sa.column(name, sa.Text() if name in texts else sa.Float()) for name in names]
    table = sa.table("alert_rule", sa.column("agency_id", sa.Uuid()), sa.column("id", sa.Uuid()), *columns)
    rows = [
        dict(zip(COLUMNS, rule, strict=True))
        | {"agency_id": uuid.UUID(PLATFORM), "kind": "METRIC", "resolve_for_s": 120}
        for rule in RULES
    ]
    _be_platform(PLATFORM)
    for row in rows:
        op.execute(insert(table).values(id=sa.func.uuidv7(), **row).on_conflict_do_nothing())
    _be_platform("")


def _be_platform(agency_id: str) -> None:
    """Be somebody of the platform's own agency, or nobody again: the audit trail asks who it is."""
    actor = "migration" if agency_id else ""
    op.execute(
        f"SELECT set_config('haven.agency_id', '{agency_id}', true), set_config('haven.actor', '{actor}', true)"
    )


def _bind_owner(*, is_bound: bool) -> None:
    """Let the tables' owner change rows of every agency, or no longer."""
    for table in ("alert", "alert_rule", "alert_silence", "notification"):
        op.execute(f"ALTER TABLE {table} {'' if is_bound else 'NO '}FORCE ROW LEVEL SECURITY")
