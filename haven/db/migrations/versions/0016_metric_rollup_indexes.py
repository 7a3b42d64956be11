"""Indexes of metric_rollup: one series over a time for history, one step over a time for compaction and retention."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("metric_rollup_series_idx", "metric_rollup", ["metric", "labels", "step_s", "slot"])
    op.create_index("metric_rollup_step_idx", "metric_rollup", ["step_s", "slot"])


def downgrade() -> None:
    op.drop_index("metric_rollup_step_idx", "metric_rollup")
    op.drop_index("metric_rollup_series_idx", "metric_rollup")
