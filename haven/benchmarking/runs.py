"""What came of measuring: figures, verdicts, and the document that holds both."""

from __future__ import annotations

import datetime as dt
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from haven.benchmarking.machine import Machine
from haven.benchmarking.measuring import Times


@dataclass(frozen=True, slots=True)
class Figure:
    """One benchmark of one run.

    Args:
        seconds: of one, the median of all rounds.
        ratio: to the calibration beside it, the median of all rounds; what is compared between days and machines.
        starts: the ratios, by start and round.
    """

    seconds: float
    ratio: float
    starts: list[list[float]]

    @staticmethod
    def of(times: Times) -> Figure:
        pairs = zip(times.seconds, times.calibration, strict=True)
        starts = [
            [rounded(second / base) for second, base in zip(seconds, bases, strict=True)]
            for seconds, bases in pairs
        ]
        every = [second for seconds in times.seconds for second in seconds]
        return Figure(
            rounded(statistics.median(every)),
            rounded(statistics.median([ratio for one in starts for ratio in one])),
            starts,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be said of one benchmark: how many times as long it takes now, and between which bounds that is."""

    name: str
    ratio: float
    low: float
    high: float
    decision: str
    starts: int


@dataclass(frozen=True, slots=True)
class Run:
    """One measuring of one revision, or of two (``against``)."""

    kind: str
    started_at: dt.datetime
    revision: str
    is_changed: bool
    machine: Machine
    figures: dict[str, Figure]
    verdicts: list[Verdict] = field(default_factory=list)
    against: str = ""
    notes: list[str] = field(default_factory=list)
    """What a reader must know before he believes it."""

    @property
    def regressions(self) -> list[Verdict]:
        return [one for one in self.verdicts if one.decision == "slower"]

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "kind": self.kind,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "revision": self.revision,
            "is_changed": self.is_changed,
            "against": self.against,
            "machine": self.machine.document(),
            "notes": self.notes,
            "verdicts": [asdict(one) for one in self.verdicts],
            "figures": {name: asdict(one) for name, one in sorted(self.figures.items())},
        }

    @staticmethod
    def read(document: dict[str, Any]) -> Run:
        """What ``document`` wrote."""
        return Run(
            document["kind"],
            dt.datetime.fromisoformat(document["started_at"]),
            document["revision"],
            document["is_changed"],
            Machine.of(document["machine"]),
            {name: Figure(**one) for name, one in document["figures"].items()},
            [Verdict(**one) for one in document["verdicts"]],
            document["against"],
            document["notes"],
        )


def rounded(value: float) -> float:
    """Four digits: more are noise, and fill files."""
    return float(f"{value:.4g}")
