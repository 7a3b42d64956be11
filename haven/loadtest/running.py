"""Runs a plan: prepares, starts the users, watches, and gives what came of it."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from haven.benchmarking.checkout import revision
from haven.benchmarking.errors import CannotMeasure
from haven.benchmarking.machine import machine
from haven.loadtest.bottleneck import GeneratorSecond, limits
from haven.loadtest.generating import Generators, generators
from haven.loadtest.outcome import Outcome
from haven.loadtest.plan import Plan, Scenario
from haven.loadtest.preparing import Prepared, prepared
from haven.loadtest.site import Site, has_simulated_mpesa, is_loopback
from haven.loadtest.tally import Tally, merged
from haven.loadtest.watching import Machine, Watcher

PROGRESS_S: Final = 5.0
_LOOK_S: Final = 0.25
_FINISH_READING_S: Final = 35.0
"""What users have for what is under way at the end: a slow one that was cut off would be missing among the slow ones."""
_FINISH_WRITING_S: Final = 130.0
_INTERRUPTED_S: Final = 5.0

Asked = Callable[[], int]
"""How often somebody has asked to stop: once, users finish in some seconds; more, at once."""


def run(
    plan: Plan, site: Site, say: Callable[[str], None], asked: Asked, *, may_ring: bool = False
) -> Outcome:
    """Run it; when somebody asks to stop, what was measured until then.

    Args:
        may_ring: the caller says that M-Pesa over there is a simulator.

    Raises:
        CannotMeasure: it cannot be prepared, real phones might ring, or a generator fails.
    """
    if plan.scenario.rings and not may_ring:
        refuse_real_phones(site, plan.scenario)
    # The generators import while keys are made.
    with (
        tempfile.TemporaryDirectory(prefix="haven-loadtest-") as folder,
        generators(plan, Path(folder)) as started,
        prepared(site, plan, say) as shared,
    ):
        return _Run(plan, site, say, asked).measure(started, shared)


def refuse_real_phones(site: Site, scenario: Scenario) -> None:
    """See that nobody is asked for money who never rented anything.

    Raises:
        CannotMeasure: it is not known that M-Pesa over there is the simulator.
    """
    if not has_simulated_mpesa(site):
        raise CannotMeasure(
            f"{site.host} is not known to have a simulated M-Pesa: {scenario.name} would ring phones of strangers."
            " Choose another scenario, or say --simulated-mpesa if it has one."
        )


@dataclass
class _Run:
    plan: Plan
    site: Site
    say: Callable[[str], None]
    asked: Asked

    def measure(self, started: Generators, shared: Prepared) -> Outcome:
        tally = Tally()
        seconds: list[list[GeneratorSecond]] = [[] for _ in range(self.plan.generators)]
        with Watcher(self.site) as watcher, Machine(self.site.pids, started.pids) as watched:
            at = dt.datetime.now(dt.UTC)
            self.say(f"{self.plan.users} users for {self.plan.duration_s:g} s: {self.plan.scenario.title}")
            watcher.begin()
            started.begin(self.plan, shared)
            took_s = self._follow(started, tally, seconds)
            # Afterwards nobody is there: those seconds say nothing of who was the limit.
            busy, loads = list(watched.seconds), list(watched.load_averages)
            self._let_finish(started, tally)
            served = watcher.finish()
        is_whole = took_s >= self.plan.duration_s
        is_local = is_loopback(self.site.host)
        found = limits(seconds, busy if is_local else [], os.cpu_count() or 1)
        return Outcome(
            self.plan,
            at,
            took_s,
            is_whole,
            revision(),
            machine(),
            tally,
            served,
            seconds,
            busy,
            loads,
            found,
            [] if is_whole else [f"It was interrupted after {took_s:.0f} of {self.plan.duration_s:g} s."],
        )

    def _follow(self, started: Generators, tally: Tally, seconds: list[list[GeneratorSecond]]) -> float:
        """Until it is time, or somebody asks to stop; the seconds it was."""
        began = said = time.monotonic()
        while time.monotonic() - began < self.plan.duration_s and not self.asked():
            for number, line in started.lines(_LOOK_S):
                tally.add(number, line)
                seconds[number].append(GeneratorSecond(line["cpu"], line["late_ms"]))
            if time.monotonic() - said >= PROGRESS_S:
                said = time.monotonic()
                self.say(_progress(tally, seconds))
        return time.monotonic() - began

    def _let_finish(self, started: Generators, tally: Tally) -> None:
        within_s = _FINISH_WRITING_S if self.plan.scenario.writes else _FINISH_READING_S
        within_s = _INTERRUPTED_S if self.asked() else within_s
        self.say("Waiting for what is under way")
        started.end(within_s)
        deadline, times = time.monotonic() + within_s + _INTERRUPTED_S, self.asked()
        while not started.are_done and time.monotonic() < deadline and self.asked() < max(2, times + 1):
            for number, line in started.lines(_LOOK_S):
                tally.add(number, line)


def _progress(tally: Tally, seconds: list[list[GeneratorSecond]]) -> str:
    """What the last seconds were like."""
    newest = max(tally.users, default=0)
    span = range(max(0, newest - int(PROGRESS_S) + 1), newest + 1)
    lately = merged(tally.requests[second] for second in span if second in tally.requests)
    p50, p95 = lately.percentiles((0.5, 0.95))
    cpu = max((one[-1].cpu for one in seconds if one), default=0.0)
    times = "" if p50 is None or p95 is None else f"P50 {p50:.3g} ms  P95 {p95:.3g} ms  "
    return (
        f"{newest + 1:4d} s  {tally.users.get(newest, 0)} users  {lately.count / len(span):.1f} requests/s  {times}"
        f"{lately.failed} failed  generator {cpu:.0%} of a core"
    )
