"""What is to be measured, and how often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Subject:
    """A benchmark of ``benchmarks/suite`` as people read of it."""

    name: str
    kind: Literal["micro", "endpoint", "job"]
    title: str
    clock: Literal["cpu", "wall"]


SUBJECTS: Final = (
    Subject("serialisation", "micro", "50 units to JSON", "cpu"),
    Subject("key_building", "micro", "the keys of a cached answer", "cpu"),
    Subject("sketch", "micro", "200 durations counted, merged, read", "cpu"),
    Subject("limiter", "micro", "a request counted in two windows", "cpu"),
    Subject("list_computed", "endpoint", "a page of 50 units from PostgreSQL", "wall"),
    Subject("list_stored", "endpoint", "the same page, stored", "wall"),
    Subject("one_row", "endpoint", "one unit by its id", "wall"),
    Subject("dashboard", "endpoint", "the month's figures, computed", "wall"),
    Subject("sign_in", "endpoint", "a sign-in by password", "wall"),
    Subject("callback", "endpoint", "a callback of M-Pesa, applied", "wall"),
    Subject("empty_job", "job", "a job that does nothing", "wall"),
    Subject("small_export", "job", "60 units into a CSV file", "wall"),
)
NAMES: Final = tuple(subject.name for subject in SUBJECTS)
OF_NAME: Final = {subject.name: subject for subject in SUBJECTS}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Args:
        sessions: times that the processes are started anew. Where memory and code come to lie differs from start to start, so
            rounds of one process alone say less than they seem to.
        most: sessions of a benchmark that stays unclear; 0: no more than ``sessions``.
        rounds: of each session; in each of them everything is measured once, in an order of its own.
        warm_up: rounds before them that do not count.
        names: of SUBJECTS.
        seed: of the orders.
    """

    sessions: int = 6
    most: int = 48
    rounds: int = 16
    warm_up: int = 2
    names: tuple[str, ...] = NAMES
    seed: int = 2026

    @property
    def looks(self) -> tuple[int, ...]:
        """Sessions after which it is decided whether more are needed; the last ends it. As ``statistics.LOOKS`` where whole."""
        found = [self.sessions * factor for factor in (1, 2, 4, 8)]
        return (*(one for one in found if one < self.most), max(self.most, self.sessions))

    @property
    def figures_a_session(self) -> int:
        """How often each benchmark is measured after one start."""
        return self.rounds + self.warm_up + 1


WHOLE: Final = Plan()
QUICK: Final = replace(WHOLE, sessions=4, most=0, rounds=6, warm_up=1)
"""A look; it overlooks what the whole one finds, and says that it is not sure."""
