"""Every kind of background job: where it waits, what runs it, how often and how long.

The function is named by text, so that services can ask for a job without importing a worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """``function`` is ``module:name``; it gets a ``JobContext`` and the job's arguments, and may run more than once.

    ``max_attempts`` 0: as many as MAX_JOB_ATTEMPTS says.
    """

    queue: str
    function: str
    max_attempts: int = 0
    timeout_s: int = 600


DEFAULT_ATTEMPTS: Final = 3
KINDS: Final[dict[str, Kind]] = {
    "rent_run": Kind("payments", "workers.payments:rent_run", timeout_s=1800),
    "late_fees": Kind("payments", "workers.payments:late_fees", timeout_s=1800),
    "verify_books": Kind("maintenance", "workers.maintenance:verify_books", timeout_s=1800),
    "mpesa_query": Kind("payments", "workers.payments:mpesa_query", timeout_s=60),
    "mpesa_apply": Kind("payments", "workers.payments:mpesa_apply", max_attempts=20, timeout_s=60),
    "cache_warm": Kind("maintenance", "workers.maintenance:cache_warm"),
    "bulk_apply": Kind("maintenance", "workers.maintenance:bulk_apply", timeout_s=7200),
    "export": Kind("exports", "workers.exports:export", timeout_s=3600),
    "mpesa_pull": Kind("payments", "workers.payments:mpesa_pull", timeout_s=600),
    "report": Kind("reports", "workers.reports:report", timeout_s=900),
    # 34 attempts are a day: ten waits from 5 s to 43 min, then one an hour.
    "webhook_deliver": Kind(
        "notifications", "workers.notifications:webhook_deliver", max_attempts=34, timeout_s=60
    ),
    "alert_send": Kind("notifications", "workers.notifications:alert_send", max_attempts=34, timeout_s=60),
    "notification_send": Kind(
        "notifications", "workers.notifications:notification_send", max_attempts=12, timeout_s=300
    ),
    "sms_report": Kind("notifications", "workers.notifications:sms_report", timeout_s=60),
}

QUEUES: Final = ("payments", "notifications", "reports", "exports", "maintenance")
"""In the order in which workers serve them: money first."""
SHARES: Final = {"payments": 16, "notifications": 8, "reports": 2, "exports": 2, "maintenance": 4}
"""How many jobs of one agency may be with the workers at once, by queue; the others wait their turn in PostgreSQL."""
