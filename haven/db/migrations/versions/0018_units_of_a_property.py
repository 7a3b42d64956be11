"""The units of a property counted by status from one index alone, for each of fifty properties on a page."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_NAME = "unit_agency_id_property_id_label_key"


def upgrade() -> None:
    _replace("INCLUDE (status)")


def downgrade() -> None:
    _replace("")


def _replace(included: str) -> None:
    op.drop_constraint(_NAME, "unit", type_="unique")
    op.execute(f"ALTER TABLE unit ADD CONSTRAINT {_NAME} UNIQUE (agency_id, property_id, label) {included}")
