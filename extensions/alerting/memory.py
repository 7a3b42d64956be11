"""Rules and alerts in this process: for an app without a database. They are gone when it ends."""

from __future__ import annotations

import copy
import datetime as dt
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from extensions.alerting.evaluator import Silences
from extensions.alerting.machine import Alert
from extensions.alerting.rules import Rule

HISTORY_MOST: Final = 1000
Listener = Callable[[Alert], None]


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts with this fingerprint, or of this rule, are not sent before ``ends_at``."""

    reason: str
    created_by: str
    ends_at: dt.datetime
    fingerprint: str | None = None
    rule: str | None = None
    id: uuid.UUID = field(default_factory=uuid.uuid4)


class MemoryStore:
    """A store that is lost with its process.

    Args:
        rules: what it begins with.
        tell: called with each alert that fires or is over, after its turn; what it raises is the caller's to see.
    """

    def __init__(self, rules: Iterable[Rule], tell: Listener) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._tell = tell
        self._open: dict[uuid.UUID, Alert] = {}
        self._ended: deque[Alert] = deque(maxlen=HISTORY_MOST)
        self._silences: dict[uuid.UUID, Silence] = {}
        self._lock = threading.Lock()
        self._turn_lock = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[_Turn | None]:
        """See ``evaluator.Store``."""
        if not self._turn_lock.acquire(blocking=False):
            yield None
            return
        try:
            with self._lock:
                open_alerts = [copy.copy(alert) for alert in self._open.values()]
                turn = _Turn(list(self._rules.values()), open_alerts, list(self._silences.values()))
            yield turn
            with self._lock:
                self._take(turn)
        finally:
            self._turn_lock.release()
        for alert in turn.told:
            self._tell(alert)

    def rules(self) -> list[Rule]:
        """Every rule, by name."""
        with self._lock:
            return [self._rules[name] for name in sorted(self._rules)]

    def put_rule(self, rule: Rule) -> None:
        """Add a rule, or put it in the place of the one with this name, whose alerts go on."""
        with self._lock:
            self._rules[rule.name] = rule

    def remove_rule(self, name: str) -> None:
        """Remove a rule; its open alerts are over at the next turn. ``LookupError`` where there is none."""
        with self._lock:
            del self._rules[name]

    def alerts(self, state: str | None = None) -> list[Alert]:
        """Open alerts and the last thousand that are over, the newest first."""
        with self._lock:
            found = [*self._ended, *self._open.values()]
        found.sort(key=lambda alert: alert.started_at, reverse=True)
        return [copy.copy(alert) for alert in found if state in (None, alert.state)]

    def acknowledge(self, alert_id: uuid.UUID, by: str, at: dt.datetime, note: str = "") -> Alert:
        """Say that somebody looks after it. ``LookupError`` where no such alert is open."""
        with self._lock:
            alert = self._open[alert_id]
            alert.acknowledged_by, alert.acknowledged_at, alert.acknowledged_note = by, at, note
            return copy.copy(alert)

    def silence(self, silence: Silence) -> None:
        """Send nothing of these alerts before the silence ends."""
        with self._lock:
            self._silences[silence.id] = silence

    def end_silence(self, silence_id: uuid.UUID) -> None:
        """Send of these alerts again. ``LookupError`` where there is no such silence."""
        with self._lock:
            del self._silences[silence_id]

    def _take(self, turn: _Turn) -> None:
        for alert in turn.changed.values():
            now = self._open.get(alert.id)
            if now is not None:
                # Somebody may have taken it on meanwhile.
                alert.acknowledged_by, alert.acknowledged_at = now.acknowledged_by, now.acknowledged_at
                alert.acknowledged_note = now.acknowledged_note
            self._open[alert.id] = alert
            if alert.state == "RESOLVED":
                self._ended.append(self._open.pop(alert.id))
        for alert_id in turn.removed:
            self._open.pop(alert_id, None)
        self._silences = {
            one.id: one for one in self._silences.values() if turn.at is None or one.ends_at > turn.at
        }


class _Turn:
    def __init__(self, rules: list[Rule], alerts: list[Alert], silences: list[Silence]) -> None:
        self._rules = rules
        self._alerts = alerts
        self._silences = silences
        self.at: dt.datetime | None = None
        self.changed: dict[uuid.UUID, Alert] = {}
        self.removed: set[uuid.UUID] = set()
        self.told: list[Alert] = []

    def rules(self) -> Sequence[Rule]:
        return self._rules

    def open_alerts(self) -> Sequence[Alert]:
        return self._alerts

    def silences(self, now: dt.datetime) -> Silences:
        self.at = now
        running = [one for one in self._silences if one.ends_at > now]
        return Silences(
            frozenset(one.fingerprint for one in running if one.fingerprint),
            frozenset(one.rule for one in running if one.rule),
        )

    def add(self, alert: Alert) -> None:
        self.changed[alert.id] = alert

    def update(self, alert: Alert) -> None:
        self.changed[alert.id] = alert

    def remove(self, alert: Alert) -> None:
        self.removed.add(alert.id)

    def tell(self, alert: Alert) -> None:
        self.told.append(copy.copy(alert))
