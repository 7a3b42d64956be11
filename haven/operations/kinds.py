"""Every kind of background job: where it waits, what runs it, how often and how long.

The function is named by text, so that services can ask for a job without importing a worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """``function`` is ``module:name``; it gets a ``JobContext`` and the job's arguments, and may run more than once."""

    queue: str
    function: str
    max_attempts: int = 3
    timeout_s: int = 600


KINDS: Final[dict[str, Kind]] = {
    "rent_run": Kind("payments", "workers.payments:rent_run", timeout_s=1800),
    "mpesa_query": Kind("payments", "workers.payments:mpesa_query", timeout_s=60),
    "mpesa_apply": Kind("payments", "workers.payments:mpesa_apply", max_attempts=20, timeout_s=60),
    "cache_warm": Kind("maintenance", "workers.maintenance:cache_warm"),
    "webhook_deliver": Kind(
        "notifications", "workers.notifications:webhook_deliver", max_attempts=10, timeout_s=60
    ),
}

QUEUES: Final = ("payments", "notifications", "reports", "exports", "maintenance")
"""In the order in which workers serve them: money first."""
