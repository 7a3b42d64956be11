"""The runs of each benchmark in the order of time, and where its level changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from haven.benchmarking.change_points import Change, changes
from haven.benchmarking.plan import NAMES
from haven.benchmarking.runs import Run


@dataclass(frozen=True, slots=True)
class Trend:
    """One benchmark over the runs in which it was measured."""

    name: str
    runs: list[Run]
    changes: list[Change]

    @property
    def ratios(self) -> list[float]:
        return [run.figures[self.name].ratio for run in self.runs]

    @property
    def seconds(self) -> float:
        """In the newest run."""
        return self.runs[-1].figures[self.name].seconds

    def told(self) -> list[tuple[Change, dt.datetime, str]]:
        """Each change with the time and the revision of the first run after it."""
        return [
            (change, self.runs[change.at].started_at, self.runs[change.at].revision)
            for change in self.changes
        ]

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "runs": len(self.runs),
            "changes": [
                {"ratio": round(change.ratio, 4), "since": at.isoformat(), "revision": revision}
                for change, at, revision in self.told()
            ],
        }


def trends(runs: Sequence[Run]) -> list[Trend]:
    """Of every benchmark that was measured; the calibration evens out what machines differ in."""
    found = []
    for name in NAMES:
        mine = [run for run in runs if name in run.figures]
        if mine:
            found.append(Trend(name, mine, changes([run.figures[name].ratio for run in mine])))
    return found
