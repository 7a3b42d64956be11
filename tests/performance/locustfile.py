"""The load scenarios for stock Locust: ``locust -f tests/performance/locustfile.py DashboardUser --users 100 --run-time 60s``.

Without ``--host`` they go to the stack that `haven up` runs in ``.haven`` (another folder: ``HAVEN_LOADTEST_DATA``); the sign-ins
come from there or from the environment, as for `haven loadtest`, which does the same and judges what comes of it. The user
classes are in ``haven/loadtest/scenarios``, so that the installed command has them. PaymentsUser, BulkUser and their kin write.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from locust import events

from haven.loadtest.plan import SCENARIOS, Plan, ramp_of
from haven.loadtest.preparing import prepared
from haven.loadtest.running import refuse_real_phones
from haven.loadtest.scenarios import (
    BulkUser,
    DashboardUser,
    OccasionalBulkUser,
    OfficeUser,
    PaymentsUser,
    Population,
    PropertiesUser,
    RentDayUser,
)
from haven.loadtest.site import find_site
from haven.stack_folder import StackFolder

__all__ = [
    "BulkUser",
    "DashboardUser",
    "OccasionalBulkUser",
    "OfficeUser",
    "PaymentsUser",
    "PropertiesUser",
    "RentDayUser",
]
_LONGEST_S: Final = 3600.0
"""Keys of users last an hour longer than that."""
_made = ExitStack()


@events.init.add_listener
def _find(environment: Any, **_: Any) -> None:
    """Where to: Locust asks for a host before anything begins."""
    folder = StackFolder(Path(os.environ.get("HAVEN_LOADTEST_DATA", ".haven")))
    environment.site = find_site(environment.host, folder, os.environ)
    environment.host = environment.site.host


@events.test_start.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    """Keys and rows for as many users as are wanted, once."""
    scenario = SCENARIOS["mixed"]
    users = int(environment.parsed_options.num_users or scenario.users)
    plan = Plan(scenario, users, _LONGEST_S, ramp_of(users), 1, environment.host)
    if any(issubclass(one, PaymentsUser) for one in environment.user_classes):
        refuse_real_phones(environment.site, scenario)
    shared = _made.enter_context(prepared(environment.site, plan, print))
    environment.population = Population(shared.part(0, 1), str(plan.seed))


@events.test_stop.add_listener
def _clean_up(**_: Any) -> None:
    """The keys are revoked."""
    _made.close()
