"""A circuit breaker: it stops calling what does not answer, and tries again carefully. Knows no Flask."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis import RedisError

from extensions import trace
from extensions.circuit_breaker.local import LocalCircuit
from extensions.circuit_breaker.rules import Circuit, Decision, Outcome, Rules, Standing, State
from extensions.circuit_breaker.shared import SharedCircuit

log = logging.getLogger(__name__)

Listener = Callable[[str, State, State], None]
"""Told the breaker's name, the state it was in and the one it is in, by the process whose call changed it."""
_REDIS_REST_S: Final = 5.0
_MADE_MOST: Final = 1000
"""Names may come from users; the one that was asked for longest ago is forgotten here, and is still in Redis."""


class CircuitOpen(Exception):
    """The call was not made; ``retry_after_s`` (at least 1) says when it is worth another try."""

    def __init__(self, name: str, wait_s: float) -> None:
        self.name = name
        self.retry_after_s = max(1, int(wait_s + 0.999))
        super().__init__(f"{name} does not answer; not called for another {self.retry_after_s} s")


@dataclass(slots=True)
class Call:
    """A call that is being made. ``fail`` says that it went wrong where no exception does."""

    has_failed: bool = False

    def fail(self) -> None:
        self.has_failed = True


class Breaker:
    """One circuit: shared through Redis while Redis answers, of this process while it does not.

    Args:
        redis: a client with socket time-outs; None: this process alone.
        clock: seconds that only rise.
    """

    def __init__(
        self,
        name: str,
        rules: Rules,
        redis: Any = None,
        *,
        listeners: tuple[Listener, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self._rules = rules
        self._clock = clock
        self._listeners = listeners
        self._local = LocalCircuit(rules, clock)
        self._shared = None if redis is None else SharedCircuit(name, rules, redis)
        self._redis_away_until = float("-inf")

    @contextmanager
    def calling(self, is_failure: Callable[[Exception], bool] = lambda _: True) -> Iterator[Call]:
        """Make the call in this block, or do not make it.

        Args:
            is_failure: whether an exception speaks against the other side; one that does not is a success.

        Raises:
            CircuitOpen: at once; the block is not entered.
        """
        permit = secrets.token_hex(8)
        circuit, decision = self._ask(permit)
        if not decision.may_go:
            self.counts["refused"] += 1
            raise CircuitOpen(self.name, decision.wait_s)
        call, started = Call(), self._clock()
        began = time.perf_counter()
        try:
            yield call
        except Exception as error:
            self._trace(began, has_failed=True)
            self._tell(circuit, permit, decision, self._outcome(started, failed=is_failure(error)))
            raise
        except BaseException:
            # The process is told to stop: that says nothing of the other side.
            self._tell(circuit, permit, decision, Outcome.ABANDONED)
            raise
        self._trace(began, has_failed=call.has_failed)
        self._tell(circuit, permit, decision, self._outcome(started, failed=call.has_failed))

    @property
    def is_shared(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._shared is not None and self._clock() >= self._redis_away_until

    def state(self) -> State:
        """The state as it stands; a circuit whose time is up is still ``OPEN`` until somebody calls."""
        if self._shared is not None and self.is_shared:
            try:
                return self._shared.state()
            except RedisError as error:
                self._leave_redis(error)
        return self._local.state()

    def standing_here(self) -> Standing:
        """How the circuit of this process alone stands: what decides while Redis is away."""
        return self._local.standing()

    def _ask(self, permit: str) -> tuple[Circuit, Decision]:
        circuit: Circuit = self._local
        if self._shared is not None and self.is_shared:
            try:
                return self._shared, self._noted(self._shared.ask(permit))
            except RedisError as error:
                self._leave_redis(error)
        return circuit, self._noted(circuit.ask(permit))

    def _tell(self, circuit: Circuit, permit: str, decision: Decision, outcome: Outcome) -> None:
        self.counts[outcome] += 1
        try:
            self._noted(circuit.tell(permit, decision.generation, outcome))
        except RedisError as error:
            # Its permit comes back by itself; of its outcome this process learns at least for itself.
            self._leave_redis(error)
            self._noted(self._local.tell(permit, self._local.ask(permit).generation, outcome))

    def _trace(self, began: float, *, has_failed: bool) -> None:
        ms = (time.perf_counter() - began) * 1000
        trace.add(trace.OUTSIDE, self.name, began, ms, has_failed=has_failed)

    def _outcome(self, started: float, *, failed: bool) -> Outcome:
        is_slow = self._clock() - started >= self._rules.slow_call_s
        if failed:
            return Outcome.FAILED_SLOWLY if is_slow else Outcome.FAILED
        return Outcome.SLOW if is_slow else Outcome.OK

    def _noted(self, decision: Decision) -> Decision:
        if decision.was is not decision.state:
            log.warning("circuit of %s: %s, was %s", self.name, decision.state, decision.was)
            for listener in self._listeners:
                try:
                    listener(self.name, decision.was, decision.state)
                except Exception:
                    log.exception("a listener of the circuit of %s failed", self.name)
        return decision

    def _leave_redis(self, error: RedisError) -> None:
        # Each try may cost the client's time-outs, and somebody waits.
        self._redis_away_until = self._clock() + _REDIS_REST_S
        log.warning(
            "Redis is away (%s); the circuit of %s is this process's own", type(error).__name__, self.name
        )


class Breakers:
    """The breakers of a process, made when they are first asked for."""

    def __init__(
        self, rules: Rules | None = None, redis: Any = None, listeners: tuple[Listener, ...] = ()
    ) -> None:
        self.rules = rules or Rules()
        self.redis = redis
        self._listeners = listeners
        self._made: dict[str, Breaker] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Breaker:
        """The breaker of that name; all processes that say the name share it."""
        with self._lock:
            found = self._made.pop(name, None)
            if found is None:
                found = Breaker(name, self.rules, self.redis, listeners=self._listeners)
            self._made[name] = found
            if len(self._made) > _MADE_MOST:
                del self._made[next(iter(self._made))]
            return found

    def __iter__(self) -> Iterator[Breaker]:
        with self._lock:
            return iter(list(self._made.values()))

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change, of breakers that are made from now on."""
        self._listeners = (*self._listeners, listener)
