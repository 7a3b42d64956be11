"""What came of a load test: figures beside their targets, and all that they were made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from haven.benchmarking.checkout import Revision
from haven.benchmarking.machine import Machine
from haven.loadtest import flows, targets
from haven.loadtest.bottleneck import GeneratorSecond, Limits, MachineSecond, mean_cores
from haven.loadtest.plan import Plan
from haven.loadtest.tally import FLOW, HTTP, Series, Tally, short
from haven.loadtest.targets import Judged
from haven.loadtest.watching import Served

_STEPS_MOST: Final = 120


@dataclass(frozen=True, slots=True)
class Outcome:
    """One load test that was run.

    Args:
        took_s: from the first user's start until they were told to end.
        is_whole: it was not interrupted.
        generators: the seconds of each.
        machine_seconds: of the machine that the generators ran on.
        load_averages: of a minute, each second.
    """

    plan: Plan
    started_at: dt.datetime
    took_s: float
    is_whole: bool
    revision: Revision
    machine: Machine
    tally: Tally
    served: Served
    generators: Sequence[Sequence[GeneratorSecond]]
    machine_seconds: Sequence[MachineSecond]
    load_averages: Sequence[float]
    limits: Limits
    notes: list[str] = field(default_factory=list)

    @property
    def verdicts(self) -> list[Judged]:
        """Each figure that the scenario gives, beside its target."""
        return [
            *_felt(self.plan, self.tally),
            *_whole(self.plan, self.tally, self.served),
            *_many(self.plan, self.tally),
        ]

    @property
    def requests_a_second(self) -> float:
        """While the users were there; what they finished afterwards is not in it."""
        counted = sum(one.count for second, one in self.tally.requests.items() if second < self.took_s)
        return counted / self.took_s if self.took_s else 0.0

    @property
    def step_s(self) -> int:
        """Of a point in plots."""
        return max(1, -(-int(self.took_s) // _STEPS_MOST))

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        verdicts = self.verdicts
        return {
            "scenario": self.plan.scenario.name,
            "host": self.plan.host,
            "users": self.plan.users,
            "duration_s": self.plan.duration_s,
            "ramp_s": self.plan.ramp_s,
            "seed": self.plan.seed,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "took_s": short(self.took_s),
            "is_whole": self.is_whole,
            "revision": asdict(self.revision),
            "verdict": targets.worst(verdicts),
            "targets": [one.document() for one in verdicts],
            "limits": asdict(self.limits),
            "notes": self.notes,
            "requests_a_second": short(self.requests_a_second),
            "requests": self._rows(HTTP),
            "flows": self._rows(FLOW),
            "errors": dict(self.tally.errors.most_common()),
            "server": self.served.document(),
            "generators": [
                {
                    "cpu_mean": short(_mean([s.cpu for s in one])),
                    "cpu_max": max((s.cpu for s in one), default=None),
                }
                | {"late_ms_mean": short(_mean([s.late_ms for s in one])), "seconds": len(one)}
                for one in self.generators
            ],
            "machine": self.machine.document()
            | {
                "busy_mean": short(_mean([one.busy for one in self.machine_seconds])),
                "load_average_mean": short(_mean(self.load_averages)),
                "cores_used": {who: short(used) for who, used in mean_cores(self.machine_seconds).items()},
            },
            "steps": self._steps(),
        }

    def _rows(self, kind: str) -> list[dict[str, Any]]:
        found = [(name, one) for (of, name), one in self.tally.of.items() if of == kind]
        return [{"name": name} | one.document() for name, one in sorted(found, key=lambda row: -row[1].count)]

    def _steps(self) -> list[dict[str, Any]]:
        """By time, for plots: ``at`` is in seconds since the beginning."""
        users = self.tally.users
        found = []
        for at, one in self.tally.steps(self.step_s):
            step = {"at": at, "users": max((users.get(at + s, 0) for s in range(self.step_s)), default=0)}
            found.append(step | one.document())
        return found


def _felt(plan: Plan, tally: Tally) -> list[Judged]:
    """What people of this scenario wait for."""
    classes = plan.scenario.classes
    found = []
    if "DashboardUser" in classes:
        found.append(_p95(targets.DASHBOARD, tally.all_of(FLOW, [flows.OPENING])))
    if "PropertiesUser" in classes:
        found.append(_p95(targets.PROPERTIES, tally.all_of(HTTP, [f"GET {flows.PAGING}"])))
    if plan.scenario.rings:
        found.append(_p95(targets.PAYMENT, tally.all_of(FLOW, [flows.PAYING])))
    if {"BulkUser", "OccasionalBulkUser"} & set(classes):
        bulk = tally.all_of(FLOW, flows.BULK)
        found.append(_share(targets.BULK, bulk.error_rate, f"of {bulk.count} operations"))
    return found


def _whole(plan: Plan, tally: Tally, served: Served) -> list[Judged]:
    """What holds for every scenario."""
    requests, everything = tally.all_of(HTTP), Series()
    everything.merge(requests)
    everything.merge(tally.all_of(FLOW))
    statements = (served.database or {}).get("statements") or {}
    most = max(served.memory, default=None)
    cache = _share(targets.CACHE, served.cache_hit_rate, served.why or "of what the cache was asked for")
    return [
        Judged(targets.API, short(requests.mean), f"of {requests.count:,} requests"),
        Judged(
            targets.DATABASE,
            statements.get("mean"),
            served.why or f"of {statements.get('count', 0):,} statements",
        ),
        # What pays and loads asks for nothing that is stored: its few look-ups say nothing of the cache.
        *([cache] if plan.scenario.reads else []),
        _share(targets.MEMORY, most, served.why or f"of the limit ({served.memory_limit})"),
        _share(
            targets.ERRORS, everything.error_rate, f"of {everything.count:,}; {everything.failed:,} failed"
        ),
    ]


def _many(plan: Plan, tally: Tally) -> list[Judged]:
    if plan.users < targets.MANY_USERS:
        return []
    most = max(tally.users.values(), default=0)
    rate = tally.all_of(HTTP).error_rate if most >= plan.users else None
    return [_share(targets.MANY, rate, f"{most} users were there at once")]


def _p95(target: targets.Target, series: Series) -> Judged:
    (p95,) = series.percentiles((0.95,))
    if p95 is None:
        return Judged(target, None, "none was finished")
    return Judged(target, short(p95 / 1000), f"of {series.count:,}; mean {(series.mean or 0) / 1000:.3g} s")


def _share(target: targets.Target, share: float | None, why: str) -> Judged:
    return Judged(target, None if share is None else short(share * 100), why)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
