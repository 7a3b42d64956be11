"""Whether the figures are Haven's, or those of the load generator or of the machine. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

_Second = TypeVar("_Second")

FULL_CORE: Final = 0.9
"""A generator is one thread: above this share of a core its users wait for each other."""
LATE_MS: Final = 50.0
"""A timer that wakes so late on average adds that to what is measured; gevent's own lateness is below 2 ms."""
FULL_MACHINE: Final = 0.95
GENERATOR: Final = "load generator"
OTHERS: Final = "other programs"
OFTEN: Final = 0.1
"""Share of the seconds from which it counts: short peaks are in any run."""
MOSTLY: Final = 0.5


@dataclass(frozen=True, slots=True)
class GeneratorSecond:
    """One second of one generator: its share of a core (0 to 1), and how late a timer of its loop woke on average."""

    cpu: float
    late_ms: float


@dataclass(frozen=True, slots=True)
class MachineSecond:
    """One second of the machine: the share of all its processors that was busy, and who used how many cores."""

    busy: float
    cores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What else than Haven limited the figures, in sentences for people; empty where nothing did."""

    generator: str = ""
    machine: str = ""

    @property
    def sentences(self) -> list[str]:
        return [one for one in (self.generator, self.machine) if one]


def limits(
    generators: Sequence[Sequence[GeneratorSecond]], machine: Sequence[MachineSecond], cpus: int
) -> Limits:
    """What limited the figures.

    Args:
        generators: the seconds of each.
        machine: its seconds, where Haven runs on it too; empty where Haven is elsewhere.
        cpus: of the machine.
    """
    return Limits(_generator(generators), _machine(machine, cpus))


def _generator(generators: Sequence[Sequence[GeneratorSecond]]) -> str:
    full = max((_share(seconds, lambda one: one.cpu >= FULL_CORE) for seconds in generators), default=0.0)
    if full >= OFTEN:
        return (
            f"The load generator was the bottleneck: it used over {FULL_CORE:.0%} of a core in {full:.0%} of the time."
            f" Haven is faster than these figures; give it more processes (--generators {len(generators) + 1}),"
            " on a machine with cores to spare."
        )
    late = max((_share(seconds, lambda one: one.late_ms >= LATE_MS) for seconds in generators), default=0.0)
    if late >= OFTEN:
        return (
            f"The load generator got no processor in time: in {late:.0%} of the seconds its timers woke over"
            f" {LATE_MS:.0f} ms late, which is in the figures. Run it on another machine, or where less is going on."
        )
    return ""


def _machine(seconds: Sequence[MachineSecond], cpus: int) -> str:
    full = _share(seconds, lambda one: one.busy >= FULL_MACHINE)
    if full < MOSTLY:
        return ""
    used = mean_cores(seconds)
    load, others = used.pop(GENERATOR, 0.0), used.pop(OTHERS, 0.0)
    shown = ", ".join(f"{who} {cores:.2f}" for who, cores in sorted(used.items(), key=lambda one: -one[1]))
    sentence = (
        f"The machine was the limit: its {cpus} cores were all busy in {full:.0%} of the time, so everything waited for them."
        f" On average other programs used {others:.2f} of them, the load generator {load:.2f}, Haven with its servers"
        f" {sum(used.values()):.2f}{f' ({shown})' if shown else ''}."
    )
    if others > sum(used.values()):
        sentence += " Measure again when less else is going on."
    return sentence


def mean_cores(seconds: Sequence[MachineSecond]) -> dict[str, float]:
    """Who used how many cores, on average."""
    total: dict[str, float] = defaultdict(float)
    for one in seconds:
        for who, cores in one.cores.items():
            total[who] += cores
    return {who: cores / len(seconds) for who, cores in total.items()}


def _share(seconds: Sequence[_Second], holds: Callable[[_Second], bool]) -> float:
    return sum(map(holds, seconds)) / len(seconds) if seconds else 0.0
