"""Every table, imported in one place for migrations and tests."""

from haven.benchmarking import models as benchmarking
from haven.billing import models as billing
from haven.bulk import models as bulk
from haven.db.base import Base
from haven.identity import models as identity
from haven.insight.reports import models as reports
from haven.leasing import models as leasing
from haven.notifications import models as notifications
from haven.operations import models as operations
from haven.payments import models as payments
from haven.portfolio import models as portfolio

__all__ = [
    "Base",
    "benchmarking",
    "billing",
    "bulk",
    "identity",
    "leasing",
    "notifications",
    "operations",
    "payments",
    "portfolio",
    "reports",
]
