"""Jobs that are fenced, traced and fair; queues that stay paused; what the clock did last."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_WAITING = sa.text("status IN ('QUEUED', 'SCHEDULED', 'RUNNING')")


def upgrade() -> None:
    op.add_column("job", sa.Column("claim", sa.Integer(), server_default="0", nullable=False))
    op.add_column("job", sa.Column("worker", sa.Text(), server_default="", nullable=False))
    op.add_column("job", sa.Column("trace_id", sa.Text(), server_default="", nullable=False))
    op.drop_index("job_unfinished_idx", "job")
    op.create_index(
        "job_unfinished_idx", "job", ["agency_id", "queue", "run_after"], postgresql_where=_WAITING
    )
    op.create_index("job_agency_id_finished_at_idx", "job", ["agency_id", "finished_at"])
    op.create_table(
        "job_queue",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("paused_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("queue", name="job_queue_pkey"),
    )
    op.create_table(
        "maintenance_task",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("every_s", sa.Integer(), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=True),
        sa.Column("finished_at", _INSTANT, nullable=True),
        sa.Column("next_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("moved", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name="maintenance_task_pkey"),
    )


def downgrade() -> None:
    op.drop_table("maintenance_task")
    op.drop_table("job_queue")
    op.drop_index("job_agency_id_finished_at_idx", "job")
    op.drop_index("job_unfinished_idx", "job")
    op.create_index("job_unfinished_idx", "job", ["agency_id", "run_after"], postgresql_where=_WAITING)
    for column in ("trace_id", "worker", "claim"):
        op.drop_column("job", column)
