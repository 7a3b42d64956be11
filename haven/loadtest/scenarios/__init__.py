"""Simulated people, as Locust's user classes: ``haven loadtest`` runs them, and so does ``locust -f tests/performance/locustfile.py``.

To import this changes the process: Locust patches what blocks.
"""

from haven.loadtest.scenarios.bulk import BulkUser, OccasionalBulkUser
from haven.loadtest.scenarios.dashboard import DashboardUser
from haven.loadtest.scenarios.office import OfficeUser
from haven.loadtest.scenarios.payments import PaymentsUser, RentDayUser
from haven.loadtest.scenarios.people import HavenUser, Population
from haven.loadtest.scenarios.properties import PropertiesUser

__all__ = [
    "BulkUser",
    "DashboardUser",
    "HavenUser",
    "OccasionalBulkUser",
    "OfficeUser",
    "PaymentsUser",
    "Population",
    "PropertiesUser",
    "RentDayUser",
]
