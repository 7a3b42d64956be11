"""The evaluation of the platform's rules, in the clock: one transaction for each turn, that only one process gets."""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import redis
import structlog
from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from config import Settings
from extensions.alerting import Alert, Reader, Rule, Silences, Turn, evaluate
from extensions.monitoring.reader import Reader as MonitoringReader
from extensions.monitoring.recorder import Recorder
from extensions.monitoring.slots import Slot
from extensions.monitoring.store import Store
from haven.db.base import PLATFORM
from haven.db.session import tenant_of
from haven.operations import alert_delivery
from haven.operations import models as tables
from haven.operations.jobs import job_session
from haven.runtime import Runtime

log = structlog.get_logger(__name__)
ACTOR: Final = "alerting"
_LOCK: Final = 0x414C5254
_RULES_MOST: Final = 500
_SILENCES_MOST: Final = 1000
_REMOVED_AT_ONCE: Final = 1000
_HELD_S: Final = 1.0
_SHARED: Final = (
    "rule metric severity comparison threshold labels fingerprint value started_at seen_at state fired_at"
    " clear_since resolved_at told_at"
).split()
"""Columns of an alert that are fields of the extension's, too; acknowledging is the API's alone."""


class PostgresStore:
    """Where the platform's rules and alerts are. See ``extensions.alerting.Store``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @contextmanager
    def turn(self) -> Iterator[Turn | None]:
        """One transaction: what has changed and the jobs that tell of it are written together, or not at all.

        The lock ends with the transaction, also when the process dies, so that another evaluator takes over at once.
        """
        with job_session(self._runtime, PLATFORM, ACTOR) as session:
            is_ours = session.execute(select(func.pg_try_advisory_xact_lock(_LOCK))).scalar_one()
            yield _Turn(session, self._runtime.settings) if is_ours else None


def evaluate_rules(runtime: Runtime) -> int:
    """Let every rule see the newest values; for the clock. How many alerts fired or were resolved."""
    return evaluate_with(runtime, _reader(os.getpid(), runtime), dt.datetime.now(dt.UTC))


def evaluate_with(runtime: Runtime, reader: Reader, now: dt.datetime) -> int:
    """The same with values from elsewhere, at a given time."""
    done = evaluate(PostgresStore(runtime), reader, now)
    if done is None:
        return 0
    if done.unknown:
        log.warning("alert_rules_unknown", rules=done.unknown, why="what they measure cannot be read now")
    for alert in (*done.fired, *done.resolved):
        is_told = any(one is alert for one in done.told)
        log.warning(
            "alert", state=alert.state, alert=alert.fingerprint, value=alert.value, severity=alert.severity,
            told=is_told,
        )  # fmt: skip
    return done.changes


def remove_old(session: Session, now: dt.datetime) -> int:
    """Remove alerts and silences of one agency that ended more than ALERT_HISTORY_DAYS ago; at most 1,000 a time."""
    agency_id = tenant_of(session).agency_id
    settings: Settings = session.info["settings"]
    before = now - dt.timedelta(days=settings.alert_history_days)
    alert, silence = tables.Alert, tables.AlertSilence
    old = (
        select(alert.id)
        .where(alert.agency_id == agency_id, alert.resolved_at < before)
        .order_by(alert.resolved_at)
        .limit(_REMOVED_AT_ONCE)
    )
    alerts = session.execute(delete(alert).where(alert.agency_id == agency_id, alert.id.in_(old)))
    silences = session.execute(
        delete(silence).where(silence.agency_id == agency_id, silence.ends_at < before)
    )
    return int(alerts.rowcount + silences.rowcount)  # type: ignore[attr-defined]


class _Turn:
    """See ``extensions.alerting.Turn``."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._rows: dict[uuid.UUID, tables.Alert] = {}
        self._descriptions: dict[uuid.UUID, str] = {}

    def rules(self) -> Sequence[Rule]:
        rule = tables.AlertRule
        wanted = (
            select(rule)
            .where(rule.agency_id == PLATFORM, rule.kind == "METRIC")
            .order_by(rule.name)
            .limit(_RULES_MOST)
        )
        found = [as_rule(row) for row in self._session.scalars(wanted)]
        self._descriptions = {one.id: one.description for one in found}
        return found

    def open_alerts(self) -> Sequence[Alert]:
        """Those of rules that are evaluated, or were: what code raises ends by code alone."""
        alert, rule = tables.Alert, tables.AlertRule
        wanted = (
            select(alert)
            .outerjoin(rule, (rule.agency_id == alert.agency_id) & (rule.id == alert.rule_id))
            .where(
                alert.agency_id == PLATFORM,
                alert.state != "RESOLVED",
                or_(rule.kind == "METRIC", alert.rule_id.is_(None)),
            )
        )
        self._rows = {row.id: row for row in self._session.scalars(wanted)}
        return [_as_alert(row) for row in self._rows.values()]

    def silences(self, now: dt.datetime) -> Silences:
        silence = tables.AlertSilence
        wanted = (
            select(silence.fingerprint, silence.rule)
            .where(silence.agency_id == PLATFORM, silence.ends_at > now)
            .limit(_SILENCES_MOST)
        )
        found = self._session.execute(wanted).all()
        return Silences(
            frozenset(one.fingerprint for one in found if one.fingerprint),
            frozenset(one.rule for one in found if one.rule),
        )

    def add(self, alert: Alert) -> None:
        # What is over has to be written first: of a fingerprint one alert is open.
        self._session.flush()
        row = tables.Alert(agency_id=PLATFORM, rule_id=alert.rule_id, **_columns(alert))
        self._session.add(row)
        self._session.flush()
        # Ids rise with time: the row's own, which lists are sorted by.
        alert.id = row.id
        self._rows[row.id] = row

    def update(self, alert: Alert) -> None:
        row = self._rows[alert.id]
        for name, value in _columns(alert).items():
            setattr(row, name, value)

    def remove(self, alert: Alert) -> None:
        self._session.delete(self._rows.pop(alert.id))

    def tell(self, alert: Alert) -> None:
        description = self._descriptions.get(alert.rule_id, "") if alert.rule_id else ""
        alert_delivery.tell(self._session, self._settings, alert, description)


def as_rule(row: tables.AlertRule) -> Rule:
    """A stored rule as the extension knows it."""
    return Rule(
        name=row.name,
        metric=row.metric,
        comparison=row.comparison,  # type: ignore[arg-type]  # the database checks it
        threshold=row.threshold,
        resolve_threshold=row.resolve_threshold,
        for_s=row.for_s,
        severity=row.severity,  # type: ignore[arg-type]  # so does it this
        resolve_for_s=row.resolve_for_s,
        window_s=row.window_s,
        minimum_count=row.minimum_count,
        labels=row.labels,
        description=row.description,
        enabled=row.enabled,
        id=row.id,
    )


def _columns(alert: Alert) -> dict[str, object]:
    return {name: getattr(alert, name) for name in _SHARED}


def _as_alert(row: tables.Alert) -> Alert:
    shared = {name: getattr(row, name) for name in _SHARED}
    shared["seen_at"] = row.seen_at or row.started_at
    return Alert(id=row.id, rule_id=row.rule_id, **shared)


class _ReadOnce(Store):
    """Reads a slot once in a second: in one turn several measures want the same ones, and unpacking is most of its cost."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self._held: dict[int, tuple[float, list[Slot]]] = {}

    def read(self, starts: Sequence[int]) -> dict[int, list[Slot]] | None:
        now = time.monotonic()
        self._held = {start: held for start, held in self._held.items() if now - held[0] < _HELD_S}
        found = super().read([start for start in starts if start not in self._held])
        if found is None:
            return None
        self._held |= {start: (now, slots) for start, slots in found.items()}
        return {start: self._held[start][1] for start in starts}


@lru_cache(maxsize=1)
def _reader(process_id: int, runtime: Runtime) -> Reader:  # noqa: ARG001  one for each process
    return MonitoringReader(Recorder(_ReadOnce(runtime.redis)))
