"""One turn over all rules: read, move each alert on, write what has changed, tell of it. One evaluator at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from extensions.alerting import machine
from extensions.alerting.machine import Alert, Moved
from extensions.alerting.measures import Reader, Reading, Readings
from extensions.alerting.rules import Rule

INTERVAL_S: Final = 10
SERIES_MOST: Final = 20
"""Open alerts of one rule: when everything is slow, twenty routes say so as well as a thousand."""


@dataclass(frozen=True, slots=True)
class Silences:
    """Whose alerts are not sent now."""

    fingerprints: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()

    def cover(self, alert: Alert) -> bool:
        return alert.fingerprint in self.fingerprints or alert.rule in self.rules


class Turn(Protocol):
    """What one evaluator has in hand, alone. All of it is written when the turn ends, or none."""

    def rules(self) -> Sequence[Rule]:
        """Every rule, switched off ones too."""

    def open_alerts(self) -> Sequence[Alert]:
        """Those that are pending or firing."""

    def silences(self, now: dt.datetime) -> Silences: ...

    def add(self, alert: Alert) -> None: ...

    def update(self, alert: Alert) -> None: ...

    def remove(self, alert: Alert) -> None: ...

    def tell(self, alert: Alert) -> None:
        """Send that the alert fires, or that it is over: once the turn has been written, and then certainly."""


class Store(Protocol):
    """Where rules and alerts are."""

    def turn(self) -> AbstractContextManager[Turn | None]:
        """Let the caller evaluate; None where another one does."""


@dataclass(slots=True)
class Evaluation:
    """What a turn came to. ``unknown`` are rules of which nobody could say anything: their alerts stay as they are."""

    at: dt.datetime
    fired: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    told: list[Alert] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    pending: int = 0
    firing: int = 0

    @property
    def changes(self) -> int:
        return len(self.fired) + len(self.resolved)


def evaluate(store: Store, reader: Reader, now: dt.datetime) -> Evaluation | None:
    """Let every rule see its newest values; None where another evaluator has the turn."""
    with store.turn() as turn:
        if turn is None:
            return None
        return _Evaluator(turn, Readings(reader, now.timestamp()), now).run()


class _Evaluator:
    def __init__(self, turn: Turn, readings: Readings, now: dt.datetime) -> None:
        self._turn = turn
        self._readings = readings
        self._now = now
        self._silences = turn.silences(now)
        self._done = Evaluation(now)

    def run(self) -> Evaluation:
        open_alerts = list(self._turn.open_alerts())
        rules = {rule.id: rule for rule in self._turn.rules() if rule.enabled}
        # First: a rule that was made again under its name has alerts of the same fingerprints.
        for alert in open_alerts:
            if alert.rule_id not in rules:
                self._write(alert, machine.resolve(alert, self._now))
        for rule in rules.values():
            self._evaluate(rule, {one.fingerprint: one for one in open_alerts if one.rule_id == rule.id})
        return self._done

    def _evaluate(self, rule: Rule, alerts: dict[str, Alert]) -> None:
        readings = self._readings.of(rule)
        if readings is None:
            self._done.unknown.append(rule.name)
            self._count(alerts.values())
            return
        found = {machine.fingerprint(rule.name, one.labels): one for one in readings}
        for fingerprint, alert in alerts.items():
            reading = found.get(fingerprint)
            self._write(
                alert, machine.move(rule, alert, None if reading is None else reading.value, self._now)
            )
        new = [one for fingerprint, one in found.items() if fingerprint not in alerts]
        self._begin(rule, _worst_first(rule, new)[: max(SERIES_MOST - len(alerts), 0)])

    def _begin(self, rule: Rule, readings: Sequence[Reading]) -> None:
        for one in readings:
            alert = machine.begin(rule, one.labels, one.value, self._now)
            if alert is None:
                return
            # A rule without a duration fires at once.
            moved = machine.move(rule, alert, one.value, self._now)
            self._turn.add(alert)
            self._write(alert, moved)

    def _write(self, alert: Alert, moved: Moved) -> None:
        if moved == "DROPPED":
            self._turn.remove(alert)
            return
        if moved == "FIRED":
            self._done.fired.append(alert)
        if moved == "RESOLVED":
            self._done.resolved.append(alert)
        self._tell(alert)
        self._turn.update(alert)
        self._count([alert])

    def _tell(self, alert: Alert) -> None:
        """Tell once that it fires, as soon as it is not silenced; and that it is over only who was told of it."""
        if alert.state == "PENDING" or self._silences.cover(alert):
            return
        if alert.state == "FIRING" and alert.told_at is None:
            alert.told_at = self._now
        elif alert.state != "RESOLVED" or alert.told_at is None:
            return
        self._turn.tell(alert)
        self._done.told.append(alert)

    def _count(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self._done.pending += alert.state == "PENDING"
            self._done.firing += alert.state == "FIRING"


def _worst_first(rule: Rule, readings: Sequence[Reading]) -> list[Reading]:
    return sorted(readings, key=lambda one: one.value, reverse=rule.comparison == "ABOVE")
