"""People who page through properties, and open some."""

from __future__ import annotations

from typing import Final

from locust import between, task

from haven.loadtest.flows import PAGING
from haven.loadtest.scenarios.people import HavenUser

_PAGES: Final = 3


class PropertiesUser(HavenUser):
    """Pages, searches, opens a property and its units."""

    weight = 35
    wait_time = between(2, 6)
    cursor = ""
    page = 0

    @task(5)
    def turn_the_page(self) -> None:
        """The first page, or the one after the last one looked at."""
        found = self.ask("GET", f"/properties?limit=20{self.cursor}", PAGING)
        self.page += 1
        following = found["pagination"]["next_cursor"] if found else None
        is_on = following is not None and self.page < _PAGES
        self.cursor = f"&cursor={following}" if is_on else ""
        self.page = self.page if is_on else 0

    @task(3)
    def open_one(self) -> None:
        """A property, and the units in it."""
        chosen = self.one_of(self.people.prepared["properties"])
        self.ask("GET", f"/properties/{chosen}", "/properties/{id}")
        self.ask("GET", f"/units?property_id={chosen}&limit=50", "/units?property_id=")

    @task(1)
    def filter_them(self) -> None:
        """Those that are let, by name."""
        self.ask("GET", "/properties?status=ACTIVE&sort=name&limit=20", PAGING)

    @task(1)
    def search(self) -> None:
        """By a word that some property or its place has."""
        self.ask("GET", f"/properties?q={self.one_of(self.people.prepared['words'])}&limit=20", PAGING)
