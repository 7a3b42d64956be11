"""People who open the dashboard, and look closer."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from locust import between, task

from haven.loadtest.flows import OPENING
from haven.loadtest.scenarios.people import FlowFailed, HavenUser

_MONTHS_BACK: Final = 6


class DashboardUser(HavenUser):
    """Opens the dashboard, thinks, narrows it to a property or goes back some months."""

    weight = 40
    wait_time = between(2, 6)

    @task(6)
    def open_dashboard(self) -> None:
        """Both parts of the page."""
        with self.flow(OPENING):
            self._needed(self.ask("GET", "/dashboard/stats"))
            self._needed(self.ask("GET", "/dashboard/activity?limit=20"))

    @task(2)
    def look_at_a_property(self) -> None:
        """The figures of one property; some are looked at far more than others."""
        chosen = self.one_of(self.people.prepared["properties"])
        self.ask("GET", f"/dashboard/stats?property_id={chosen}", "/dashboard/stats?property_id=")

    @task(1)
    def look_back(self) -> None:
        """The figures of a month that is over."""
        back = self.random.randint(1, _MONTHS_BACK)
        self.ask("GET", f"/dashboard/stats?month={_month(back)}", "/dashboard/stats?month=")

    @staticmethod
    def _needed(answer: Any) -> None:
        if answer is None:
            raise FlowFailed("a part of it was no success")


def _month(back: int) -> str:
    """The month so many before this one, as the API has it."""
    today = dt.datetime.now(dt.UTC).date()
    months = today.year * 12 + today.month - 1 - back
    return f"{months // 12}-{months % 12 + 1:02}"
