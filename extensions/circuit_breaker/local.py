"""A circuit in the memory of one process: a plain state machine whose clock is passed in."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from extensions.circuit_breaker.rules import Decision, Outcome, Rules, Standing, State


class LocalCircuit:
    """See ``Circuit``. Safe to share between threads; the lock is held for the decision, never for the call.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, rules: Rules, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._state = State.CLOSED
        self._generation = 0
        self._opened_at = 0.0
        self._calls: deque[tuple[float, Outcome]] = deque(maxlen=rules.window_calls)
        self._leases: dict[str, float] = {}
        self._passed = 0

    def ask(self, permit: str) -> Decision:
        with self._lock:
            now, was = self._clock(), self._state
            if was is State.OPEN:
                left = self._opened_at + self._rules.open_s - now
                if left > 0:
                    return Decision(False, was, was, self._generation, left)
                self._enter(State.HALF_OPEN)
            if self._state is State.CLOSED:
                return Decision(True, was, was, self._generation)
            return self._lease(permit, was, now)

    def tell(self, permit: str, generation: int, outcome: Outcome) -> Decision:
        with self._lock:
            was = self._state
            if generation == self._generation:
                self._count(permit, outcome, self._clock())
            return Decision(True, was, self._state, self._generation)

    def state(self) -> State:
        return self._state

    def standing(self) -> Standing:
        """Its state, and the calls that count now."""
        with self._lock:
            return self._standing(self._clock())

    def _lease(self, permit: str, was: State, now: float) -> Decision:
        self._leases = {one: ends_at for one, ends_at in self._leases.items() if ends_at > now}
        if len(self._leases) + self._passed >= self._rules.probes:
            wait_s = min(self._leases.values()) - now
            return Decision(False, was, self._state, self._generation, wait_s)
        self._leases[permit] = now + self._rules.probe_lease_s
        return Decision(True, was, self._state, self._generation)

    def _count(self, permit: str, outcome: Outcome, now: float) -> None:
        if self._state is State.HALF_OPEN:
            self._count_probe(permit, outcome, now)
        elif outcome is not Outcome.ABANDONED:
            self._calls.appendleft((now, outcome))
            if self._is_too_bad(now):
                self._open(now)

    def _count_probe(self, permit: str, outcome: Outcome, now: float) -> None:
        was_leased = self._leases.pop(permit, None) is not None
        if self._rules.is_bad_probe(outcome):
            self._open(now)
        elif was_leased and outcome is not Outcome.ABANDONED:
            self._passed += 1
            if self._passed >= self._rules.probes:
                self._enter(State.CLOSED)

    def _is_too_bad(self, now: float) -> bool:
        rules, seen = self._rules, self._standing(now)
        if seen.calls < rules.minimum_calls:
            return False
        return (
            seen.failed >= rules.failure_rate * seen.calls or seen.slow >= rules.slow_call_rate * seen.calls
        )

    def _standing(self, now: float) -> Standing:
        oldest = now - self._rules.window_s if self._rules.window_s else float("-inf")
        counted = [outcome for at, outcome in self._calls if at > oldest]
        failed = sum(outcome.is_failure for outcome in counted)
        slow = sum(outcome.is_slow for outcome in counted)
        return Standing(self._state, len(counted), failed, slow)

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._enter(State.OPEN)

    def _enter(self, state: State) -> None:
        self._state = state
        self._generation += 1
        self._calls.clear()
        self._leases.clear()
        self._passed = 0
