"""Alerting: rules over what monitoring measures; each alert pending, firing, resolved; told once, over all processes."""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Flask, current_app

from extensions.alerting.evaluator import INTERVAL_S, Evaluation, Silences, Store, Turn, evaluate
from extensions.alerting.machine import Alert, fingerprint
from extensions.alerting.measures import Reader, Reading
from extensions.alerting.memory import Listener, MemoryStore, Silence
from extensions.alerting.rules import DEFAULT_RULES, MEASURES, Rule, faults
from extensions.contract import Base, Health, Metric, Setting

__all__ = [
    "DEFAULT_RULES",
    "MEASURES",
    "NAME",
    "Alert",
    "Alerting",
    "Evaluation",
    "MemoryStore",
    "Reader",
    "Reading",
    "Rule",
    "Silence",
    "Silences",
    "State",
    "Store",
    "Turn",
    "evaluate",
    "faults",
    "fingerprint",
]

log = logging.getLogger(__name__)
NAME: Final = "alerting"
_MONITORING: Final = "monitoring"
_LATE_TURNS: Final = 6


@dataclass(slots=True)
class State:
    """The alerting of one app. ``store`` may be put in place of the one in memory before the first evaluation."""

    store: Store
    interval_s: float
    listeners: list[Listener] = field(default_factory=list)
    last: Evaluation | None = None
    evaluations: int = 0
    failures: int = 0
    evaluated: float | None = None
    """When this process last evaluated, by ``time.monotonic``."""
    process: int = 0
    """Whose thread evaluates; 0: none does."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Alerting(Base):
    """Evaluates rules in a thread of the app, or whenever ``evaluate`` is called."""

    name = NAME
    requires = ("logs", "monitoring")
    settings = (
        Setting(
            "ALERT_INTERVAL", INTERVAL_S, "Time between evaluations in this process; 0: whoever calls", "s"
        ),
        Setting("ALERT_RULES", DEFAULT_RULES, "The rules that a store in memory begins with"),
    )

    def init_app(self, app: Flask) -> None:
        """Make the rules of ``app``. The first request starts the thread that evaluates them."""
        listeners: list[Listener] = []
        store = MemoryStore(self.setting(app, "ALERT_RULES"), lambda alert: _tell(listeners, alert))
        state = State(store, float(self.setting(app, "ALERT_INTERVAL")), listeners)
        app.extensions[self.name] = state
        if state.interval_s > 0:
            app.before_request(lambda: _start(app, state))

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with each alert of the current app that fires or is over; of a store in memory."""
        _state().listeners.append(listener)

    def evaluate(self, now: dt.datetime | None = None) -> Evaluation | None:
        """Let the rules of the current app see the newest values; None where somebody else does, or nothing is measured."""
        state = _state()
        monitoring = current_app.extensions.get(_MONITORING)
        if monitoring is None:
            return None
        monitoring.recorder.flush()
        try:
            done = evaluate(state.store, monitoring.reader, now or dt.datetime.now(dt.UTC))
        except Exception:
            state.failures += 1
            raise
        if done is not None:
            state.last, state.evaluated = done, time.monotonic()
            state.evaluations += 1
        return done

    @property
    def store(self) -> Any:
        """Where the rules and alerts of the current app are."""
        return _state().store

    def health(self) -> Health:
        """``degraded`` where this process shall evaluate and is late, or could not read what its rules need."""
        state = _state()
        if state.interval_s == 0 and state.evaluated is None:
            return Health("ok", {"evaluates": "another process"})
        if state.evaluated is None:
            return Health("ok", {"evaluated": "not yet", "failures": state.failures})
        ago_s = time.monotonic() - state.evaluated
        is_late = 0 < state.interval_s * _LATE_TURNS < ago_s
        unknown = [] if state.last is None else state.last.unknown
        numbers = {
            "evaluated_s_ago": round(ago_s, 1),
            "firing": state.last.firing if state.last else 0,
            "unknown": unknown,
            "failures": state.failures,
        }
        return Health("degraded" if is_late or unknown else "ok", numbers)

    def collect(self) -> Iterable[Metric]:
        """What this process evaluated itself; nothing where another one does."""
        state = _state()
        if state.last is None:
            return
        yield Metric("alerting_evaluations_total", state.evaluations)
        yield Metric("alerting_failures_total", state.failures)
        yield Metric("alerting_firing", state.last.firing, merge="max")
        yield Metric("alerting_pending", state.last.pending, merge="max")

    def after_fork(self, app: Flask) -> None:
        """The thread is the parent's: the next request of this process starts its own."""
        state: State = app.extensions[self.name]
        state.process = 0
        state.lock = threading.Lock()


def _state() -> State:
    state: State = current_app.extensions[NAME]
    return state


def _tell(listeners: list[Listener], alert: Alert) -> None:
    for listener in listeners:
        try:
            listener(alert)
        except Exception:
            log.exception("a listener of alerts failed")


def _start(app: Flask, state: State) -> None:
    if state.process == os.getpid():
        return
    with state.lock:
        if state.process == os.getpid():
            return
        state.process = os.getpid()
    arguments = (weakref.ref(app), state.interval_s)
    threading.Thread(target=_run, args=arguments, name="alerting", daemon=True).start()


def _run(of: weakref.ref[Flask], interval_s: float) -> None:
    """Evaluate as long as the app is there."""
    while True:
        time.sleep(interval_s)
        app = of()
        if app is None:
            return
        try:
            with app.app_context():
                Alerting().evaluate()
        except Exception:
            # Whatever it is, the next turn comes.
            log.exception("alerts could not be evaluated")
        del app
