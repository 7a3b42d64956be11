"""What a load test is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scenario:
    """What simulated people do.

    Args:
        users: how many at once the project's targets speak of.
        writes: it changes rows: payments are made, or files are loaded.
        rings: it asks for rent by M-Pesa. At a real one, phones of strangers would ring.
        reads: it asks for what Haven stores answers of, so that the cache can be judged.
        classes: of ``haven.loadtest.scenarios``; ``mixed`` has all of them, each with its weight.
    """

    name: str
    title: str
    users: int
    writes: bool
    rings: bool
    reads: bool
    classes: tuple[str, ...]


_EVERYBODY: Final = ("DashboardUser", "PropertiesUser", "OfficeUser", "RentDayUser", "OccasionalBulkUser")
SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "dashboard", "people who look at the dashboard", 100, False, False, True, ("DashboardUser",)
        ),
        Scenario(
            "properties", "people who page through properties", 50, False, False, True, ("PropertiesUser",)
        ),
        Scenario("payments", "tenants who pay by M-Pesa", 20, True, True, False, ("PaymentsUser",)),
        Scenario("bulk", "people who load and change many rows", 5, True, False, False, ("BulkUser",)),
        Scenario("mixed", "all of them, as an agency's day has them", 100, True, True, True, _EVERYBODY),
    )
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One load test.

    Args:
        users: at once, over all generators.
        duration_s: from the first user's start; what is under way then may finish.
        ramp_s: in which the users start, one after the other.
        generators: processes that make the load.
        host: base URL, without a path.
        seed: of what users choose; two runs with one seed choose alike.
    """

    scenario: Scenario
    users: int
    duration_s: float
    ramp_s: float
    generators: int
    host: str
    seed: int = 2026

    def users_of(self, generator: int) -> int:
        """The share of one generator; together they are ``users``."""
        return self.users // self.generators + (generator < self.users % self.generators)


def ramp_of(users: int) -> float:
    """Seconds in which so many users start: 20 a second, and at most 10 s, so that many come soon together."""
    return min(10.0, users / 20)
