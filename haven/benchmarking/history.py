"""Runs in the database, and the alerts that follow from them. No Flask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.benchmarking.machine import Machine
from haven.benchmarking.models import BenchmarkRun
from haven.benchmarking.runs import Figure, Run, Verdict
from haven.operations.alerts import BuiltIn, raise_alert, resolve_alerts

PERFORMANCE_REGRESSION: Final = BuiltIn("performance_regression", "performance_regressions", "WARNING")
"""A benchmark takes longer than it did."""
MOST: Final = 500


def keep(session: Session, run: Run) -> None:
    """Write a run down. Its rounds are in files; here are its figures."""
    document = run.document()
    figures = {
        name: {"seconds": one.seconds, "ratio": one.ratio} for name, one in sorted(run.figures.items())
    }
    session.add(
        BenchmarkRun(
            started_at=run.started_at,
            kind=run.kind,
            revision=run.revision,
            is_changed=run.is_changed,
            machine=document["machine"],
            figures=figures,
            verdicts=document["verdicts"],
        )
    )
    session.flush()


def past(session: Session, most: int = MOST) -> list[Run]:
    """The newest runs, the oldest of them first."""
    newest = select(BenchmarkRun).order_by(BenchmarkRun.started_at.desc(), BenchmarkRun.id.desc()).limit(most)
    return [_run(row) for row in reversed(session.scalars(newest).all())]


def tell(session: Session, verdicts: Sequence[Verdict]) -> int:
    """Let an alert fire for each benchmark that became slower, and end that of each that is not any more; how many are new.

    What is unclear changes nothing. In the platform's name: the session's tenant must be it.
    """
    over = [_subject(one) for one in verdicts if one.decision in ("same", "faster")]
    resolve_alerts(session, PERFORMANCE_REGRESSION, over)
    return sum(
        raise_alert(
            session, PERFORMANCE_REGRESSION, _subject(one), ratio=one.ratio, low=one.low, high=one.high
        )
        for one in verdicts
        if one.decision == "slower"
    )


def _subject(verdict: Verdict) -> str:
    return f"benchmark:{verdict.name}"


def _run(row: BenchmarkRun) -> Run:
    figures = {name: Figure(one["seconds"], one["ratio"], []) for name, one in sorted(row.figures.items())}
    verdicts = [Verdict(**one) for one in row.verdicts]
    return Run(
        row.kind, row.started_at, row.revision, row.is_changed, Machine.of(row.machine), figures, verdicts
    )
