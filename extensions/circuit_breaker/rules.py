"""When a circuit opens and closes: the numbers, and the words for what happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class State(StrEnum):
    """``CLOSED`` lets calls through, ``OPEN`` none, ``HALF_OPEN`` a few to see whether the other side is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(StrEnum):
    """What became of a call. ``ABANDONED``: nobody knows; it only gives its permit back."""

    OK = "ok"
    SLOW = "slow"
    FAILED = "failed"
    FAILED_SLOWLY = "failed_slowly"
    ABANDONED = "abandoned"

    @property
    def is_failure(self) -> bool:
        return self in (Outcome.FAILED, Outcome.FAILED_SLOWLY)

    @property
    def is_slow(self) -> bool:
        return self in (Outcome.SLOW, Outcome.FAILED_SLOWLY)


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of a breaker.

    Args:
        window_s: only calls this young count; 0: whatever their age (a window by count alone).
        window_calls: only the newest so many count.
        minimum_calls: with fewer calls in the window it never opens.
        failure_rate: share of failed calls, 0 to 1, at which it opens.
        slow_call_s: a call that takes this long is slow.
        slow_call_rate: share of slow calls at which it opens; above 1: never for slowness, in half-open neither.
        open_s: seconds it stays open.
        probes: calls let through in half-open, over all processes; when all do well, it closes.
        probe_lease_s: after so many seconds without a result (its process died) a probe's place is free again.
    """

    window_s: float = 60.0
    window_calls: int = 100
    minimum_calls: int = 20
    failure_rate: float = 0.5
    slow_call_s: float = 8.0
    slow_call_rate: float = 0.8
    open_s: float = 30.0
    probes: int = 3
    probe_lease_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.failure_rate <= 1:
            raise ValueError(f"failure_rate must be above 0 and at most 1; found {self.failure_rate}")
        if min(self.minimum_calls, self.probes, self.window_calls) < 1:
            raise ValueError("minimum_calls, probes and window_calls must be at least 1")
        if min(self.window_s, self.open_s, self.slow_call_s, self.slow_call_rate) < 0:
            raise ValueError("window_s, open_s, slow_call_s and slow_call_rate must not be negative")

    def is_bad_probe(self, outcome: Outcome) -> bool:
        """Whether one such call in half-open opens the circuit again."""
        return outcome.is_failure or (outcome.is_slow and self.slow_call_rate <= 1)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may go. ``was`` and ``state`` are the circuit's before and after; ``wait_s`` when to ask again."""

    may_go: bool
    was: State
    state: State
    generation: int = 0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a circuit stands: its state, and of the calls that count now how many there are, failed, and were slow."""

    state: State
    calls: int = 0
    failed: int = 0
    slow: int = 0


class Circuit(Protocol):
    """Where a circuit's state is kept, and moves on."""

    def ask(self, permit: str) -> Decision:
        """Whether the call that is named ``permit`` may go."""

    def tell(self, permit: str, generation: int, outcome: Outcome) -> Decision:
        """What became of it. Of a call that was let through before the last change of state, nothing is counted."""

    def state(self) -> State:
        """The state as it stands; nothing is changed by asking."""
