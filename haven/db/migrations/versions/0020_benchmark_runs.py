"""Runs of benchmarks, kept for their trend: the platform's, of no agency."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "benchmark_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("is_changed", sa.Boolean(), nullable=False),
        sa.Column("machine", JSONB(), nullable=False),
        sa.Column("figures", JSONB(), nullable=False),
        sa.Column("verdicts", JSONB(), server_default="[]", nullable=False),
        sa.CheckConstraint(
            "kind IN ('RUN', 'BASELINE', 'COMPARE', 'REGRESS')", name=op.f("benchmark_run_kind_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("benchmark_run_pkey")),
    )
    op.create_index("benchmark_run_started_idx", "benchmark_run", ["started_at", "id"])


def downgrade() -> None:
    op.drop_table("benchmark_run")
