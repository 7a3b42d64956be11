"""Benchmarks for Python: ``performance_benchmark.establish_baseline()``, ``.compare_against_baseline()``, ``.run_regression_test()``.

They take minutes, need a checkout with what requirements-dev.txt locks, and start servers of their own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from haven.benchmarking import checkout, files
from haven.benchmarking.errors import CannotMeasure
from haven.benchmarking.machine import machine
from haven.benchmarking.measuring import Measured, Progress, Side, measure
from haven.benchmarking.plan import WHOLE, Plan
from haven.benchmarking.runs import Figure, Run, Verdict, rounded
from haven.stack_programs import CHECKOUT

if TYPE_CHECKING:
    from haven.benchmarking.statistics import Intervals, Rules

_HERE: Final = "here"
_THERE: Final = "there"


def _quiet(*_: object) -> None:
    """Tells nobody."""


def measure_here(plan: Plan = WHOLE, *, progress: Progress = _quiet, kind: str = "RUN") -> Run:
    """The figures of this checkout.

    Raises:
        CannotMeasure: as everything here does, saying what to do.
    """
    at = dt.datetime.now(dt.UTC)
    measured = measure(_once(plan), [Side(_HERE, CHECKOUT)], calibrates=True, progress=progress)
    return _run(kind, at, measured)


def establish_baseline(
    plan: Plan = WHOLE, *, path: Path = files.BASELINE, progress: Progress = _quiet
) -> Run:
    """Measure this checkout and write the baseline that later ones are compared with."""
    found = measure_here(plan, progress=progress, kind="BASELINE")
    files.write(found, path)
    return found


def compare_against_baseline(
    plan: Plan = WHOLE,
    *,
    path: Path = files.BASELINE,
    progress: Progress = _quiet,
    rules: Rules | None = None,
    kind: str = "COMPARE",
) -> Run:
    """This checkout beside the figures in the baseline, both as ratios to the calibration that was measured beside them.

    They are of different hours, maybe of different machines; ``notes`` says so. `compare_revisions` is to be believed more.
    """
    import numpy as np

    from haven.benchmarking import statistics

    rules = rules or statistics.Rules()
    base = files.read(path)
    found = measure_here(plan, progress=progress, kind=kind)
    names = [name for name in found.figures if name in base.figures]
    confidence = statistics.confidence_of_each(rules, len(names))
    random = np.random.default_rng(plan.seed)
    for name in names:
        mine, theirs = np.array(found.figures[name].starts), np.array(base.figures[name].starts)
        found.verdicts.append(
            _verdict(name, statistics.apart(mine, theirs, confidence, random), rules, len(mine))
        )
    found.notes.extend(_doubts(found, base))
    return _against(found, f"the baseline ({base.revision[:12]})")


def compare_revisions(
    revision: str = "HEAD",
    plan: Plan = WHOLE,
    *,
    progress: Progress = _quiet,
    rules: Rules | None = None,
    kind: str = "COMPARE",
) -> Run:
    """This checkout and another revision of it, in turns on the same servers; what is unclear is measured on, up to ``plan.most``."""
    from haven.benchmarking import statistics

    rules = rules or statistics.Rules()
    at = dt.datetime.now(dt.UTC)
    with checkout.worktree(revision) as other:
        sides = [Side(_HERE, CHECKOUT), Side(_THERE, other)]
        measured = measure(
            plan,
            sides,
            calibrates=True,
            progress=progress,
            unclear=lambda so_far: [
                one.name for one in paired_verdicts(so_far, rules, plan.seed) if one.decision == "unclear"
            ],
        )
    found = _run(kind, at, measured)
    found.verdicts.extend(paired_verdicts(measured, rules, plan.seed))
    return _against(found, revision)


def run_regression_test(
    plan: Plan = WHOLE,
    *,
    against: str | None = None,
    path: Path = files.BASELINE,
    progress: Progress = _quiet,
    rules: Rules | None = None,
) -> Run:
    """Whether this checkout is slower; ``.regressions`` says which benchmarks are.

    Args:
        against: a revision; without one the baseline's, measured anew in turns with this one. Only where git does not know that any more
            are the baseline's own figures what is compared with.
    """
    if against is not None:
        return compare_revisions(against, plan, progress=progress, rules=rules, kind="REGRESS")
    base = files.read(path)
    if not base.is_changed and checkout.has(base.revision):
        return compare_revisions(base.revision, plan, progress=progress, rules=rules, kind="REGRESS")
    return compare_against_baseline(plan, path=path, progress=progress, rules=rules, kind="REGRESS")


def paired_verdicts(measured: Measured, rules: Rules, seed: int) -> list[Verdict]:
    """What may be said of each benchmark that was measured on both sides."""
    import numpy as np

    from haven.benchmarking import statistics

    here, there = measured.of[_HERE], measured.of[_THERE]
    confidence = statistics.confidence_of_each(rules, len(here))
    random = np.random.default_rng(seed)
    found = []
    for name, times in here.items():
        mine, theirs = np.array(times.seconds), np.array(there[name].seconds)
        found.append(_verdict(name, statistics.paired(mine, theirs, confidence, random), rules, len(mine)))
    return found


def _verdict(name: str, found: Intervals, rules: Rules, starts: int) -> Verdict:
    ratio, low, high = (rounded(float(one)) for one in (found.ratio, found.low, found.high))
    return Verdict(name, ratio, low, high, str(found.decisions(rules.threshold)), starts)


def _run(kind: str, at: dt.datetime, measured: Measured) -> Run:
    revision = checkout.revision()
    figures = {name: Figure.of(times) for name, times in measured.of[_HERE].items()}
    if not figures:
        raise CannotMeasure(f"Nothing could be measured: {measured.missing}")
    notes = [f"{name} could not be measured: {why}" for name, why in sorted(measured.missing.items())]
    return Run(kind, at, revision.commit, revision.is_changed, machine(), figures, [], "", notes)


def _doubts(found: Run, base: Run) -> Sequence[str]:
    notes = ["Compared with figures of another time: both are ratios to a calibration that ran beside them."]
    differences = found.machine.differs_from(base.machine)
    if differences:
        notes.append(
            "This is another machine than the baseline's: "
            + ", ".join(differences)
            + ". The calibration evens out how fast it is, not how its disk, network and caches are: take it as a hint, and let"
            " `haven bench compare REVISION` decide."
        )
    return notes


def _against(run: Run, what: str) -> Run:
    from dataclasses import replace

    return replace(run, against=what)


def _once(plan: Plan) -> Plan:
    from dataclasses import replace

    return replace(plan, most=0)
