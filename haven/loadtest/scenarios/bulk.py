"""People who load a file of tenants, take it back, and change many units at once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from locust import between, task

from haven.loadtest.flows import CHANGING, LOADING, REMOVING
from haven.loadtest.scenarios.people import FlowFailed, HavenUser

ROWS: Final = 1_200
"""More than 1,000: a job does it."""
_PAGE: Final = 200
_PATIENCE_S: Final = 120.0
_ENDED: Final = ("SUCCEEDED", "FAILED", "CANCELLED")


class BulkUser(HavenUser):
    """Loads and removes a file, and changes units to what they were: rows are written, and stay as they are."""

    wait_time = between(3, 8)
    may_write = True
    first_wait_s = 0.5

    @task(2)
    def load_and_take_back(self) -> None:
        """A CSV file of tenants, by a job; they are looked for, and another job removes them."""
        word = uuid.uuid4().hex[:12]
        name = f"{self.people.prepared['mark']} {word}"
        with self.flow(LOADING):
            self._by_job("POST", "Name\n" + "".join(f"{name} {n}\n" for n in range(ROWS)), "text/csv")
        self.wait()  # type: ignore[no-untyped-call]
        if ids := self._loaded(word):
            with self.flow(REMOVING):
                self._by_job("DELETE", "".join(f'{{"id": "{one}"}}\n' for one in ids), "application/x-ndjson")

    def _loaded(self, word: str) -> list[str]:
        """The tenants of the file; none where not all of them are there."""
        found: list[str] = []
        cursor = ""
        for _ in range(ROWS // _PAGE):
            page = self.ask("GET", f"/tenants?q={word}&limit={_PAGE}{cursor}", "/tenants?q=")
            if page is None:
                return []
            found += [one["id"] for one in page["data"]]
            cursor = f"&cursor={page['pagination']['next_cursor']}"
        return found if len(found) == ROWS else []

    @task(1)
    def change_units(self) -> None:
        """Rows that are answered at once; nobody else changes these."""
        units: Sequence[Any] = self.people.units()
        rows = [{"id": one["id"], "bedrooms": one["bedrooms"]} for one in units]
        if not rows:
            return
        with self.flow(CHANGING):
            report = self.ask("PATCH", "/units/bulk", json=rows)
            if report is None or report["failed"]:
                raise FlowFailed(f"{report['failed']} rows were refused" if report else "it was refused")

    def _by_job(self, method: str, rows: str, kind: str) -> None:
        """All rows are done, by a job."""
        key = {"Content-Type": kind, "Idempotency-Key": str(uuid.uuid4())}
        job = self.ask(method, "/tenants/bulk", data=rows, headers=key)
        if job is None:
            raise FlowFailed("it was refused")
        path = f"/jobs/{job['queue']}/{job['id']}"
        done = self.wait_until(path, "/jobs/{queue}/{id}", _PATIENCE_S, "status", _ENDED)
        report = done["result"] or {}
        if done["status"] != "SUCCEEDED" or report.get("succeeded") != ROWS:
            raise FlowFailed(f"{done['status']}, {report.get('succeeded')} of {ROWS} rows")


class OccasionalBulkUser(BulkUser):
    """In the mix: a file each minute or so."""

    weight = 1
    wait_time = between(20, 40)
