"""Telling people and programs of alerts: by mail, by webhook, and as Slack wants it. Each is a job of its own.

The jobs are written in the transaction that changes the alert, once for each state, and are tried again for a day. The
addresses are settings and are in no job and no log: that of Slack is a secret by itself.
"""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping
from typing import Any, Final

import httpx
import orjson
import structlog
from sqlalchemy.orm import Session

from config import Settings
from extensions.alerting import Alert
from extensions.circuit_breaker.breaker import CircuitOpen
from haven.db.base import new_id
from haven.notifications.queueing import queue_mail
from haven.operations import outbound
from haven.operations.jobs import JobContext, submit
from haven.operations.webhooks import DeliveryFailed, sign

log = structlog.get_logger(__name__)
SEND: Final = "alert_send"
EVENT: Final = "alert.firing"
"""The list of events is fixed (docs/webhooks.md): that an alert is over is told by the same one, with another ``state``."""
WEBHOOK: Final = "webhook"
SLACK: Final = "slack"
_TEST: Final = "A test of alerting, asked for by a person. There is nothing to do."
_TEMPLATES: Final = {"FIRING": "alert_firing", "RESOLVED": "alert_resolved"}
_COLOURS: Final = {"CRITICAL": "#c0392b", "WARNING": "#d68910"}
_OVER: Final = "#1e8449"


def tell(session: Session, settings: Settings, alert: Alert, description: str) -> int:
    """Queue what is to be sent of an alert that fires or is over, in the caller's transaction. How many jobs and mails.

    Asked twice for the same state of an alert it queues once, as long as the first is not sent.
    """
    told = 0
    if settings.alert_emails:
        told += queue_mail(
            session,
            template=_TEMPLATES[alert.state],
            recipients=settings.alert_emails,
            values=_words(settings, alert, description),
            about_id=alert.id,
        )
    payload = _payload(alert, description)
    message_id = f"alert_{alert.id.hex}_{alert.state.lower()}"
    for channel, url in _addresses(settings).items():
        if url:
            arguments = {"channel": channel, "message_id": message_id, "payload": payload}
            submit(session, SEND, arguments, unique_key=f"{message_id}/{channel}")
            told += 1
    return told


def tell_test(session: Session, settings: Settings) -> int:
    """Queue an alert that is none, on every way there is. How many jobs and mails."""
    now = dt.datetime.now(dt.UTC)
    alert = Alert(
        rule="test", rule_id=None, metric="test", severity="WARNING", comparison="ABOVE", threshold=0.0, labels={},
        fingerprint="test", value=1.0, started_at=now, seen_at=now, state="FIRING", fired_at=now, id=new_id(),
    )  # fmt: skip
    return tell(session, settings, alert, _TEST)


def send(context: JobContext, channel: str, message_id: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Tell one channel.

    Raises:
        DeliveryFailed: it did not take it: the job runs again later.
    """
    settings = context.runtime.settings
    url = _addresses(settings).get(channel, "")
    if not url:
        return {"outcome": "no address is set for it any more"}
    if channel == SLACK:
        body, headers = orjson.dumps(_slack(payload)), {"Content-Type": "application/json"}
    else:
        body, headers = _webhook(settings, message_id, payload)
    status, error = _post(context, channel, url, body, headers)
    if error is not None:
        log.warning("alert_not_sent", channel=channel, message=message_id, why=error)
        raise DeliveryFailed(error)
    return {"outcome": f"delivered with {status}"}


def _addresses(settings: Settings) -> dict[str, str]:
    return {WEBHOOK: settings.alert_webhook_url, SLACK: settings.alert_slack_url}


def _post(
    context: JobContext, channel: str, url: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int | None, str | None]:
    """The status that was answered, and what is wrong, where something is; never the address."""
    is_private_fine = context.runtime.settings.webhook_private_addresses
    try:
        circuit = context.runtime.breakers[f"alerts by {channel}"]
        with circuit.calling(lambda error: isinstance(error, httpx.TransportError)) as call:
            status = outbound.post(
                url, body, {"User-Agent": "Haven", **headers}, may_be_private=is_private_fine
            )
            if status >= 500:
                call.fail()
    except outbound.Refused as refused:
        return None, str(refused)
    except CircuitOpen as refused:
        return None, f"not called: it does not answer; left alone for another {refused.retry_after_s} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, type(error).__name__
    return status, None if 200 <= status < 300 else f"answered {status}"


def _webhook(settings: Settings, message_id: str, payload: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """As Standard Webhooks has it; the same id at each try, by which a receiver knows one it has had."""
    at = int(dt.datetime.now(dt.UTC).timestamp())
    happened = payload["resolved_at"] or payload["fired_at"]
    body = orjson.dumps({"type": EVENT, "timestamp": happened, "data": dict(payload)})
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
    }
    if settings.alert_webhook_secret:
        headers["webhook-signature"] = sign(settings.alert_webhook_secret, message_id, at, body)
    return body, headers


def _slack(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A message for an incoming webhook of Slack's."""
    is_over = payload["state"] == "RESOLVED"
    word = "Over" if is_over else payload["severity"].capitalize()
    lines = [
        payload["description"],
        f"Value {payload['value']:.4g}, threshold {payload['threshold']:.4g}, since {payload['started_at']}",
        _labels_text(payload["labels"]),
    ]
    return {
        "text": _escaped(f"{word}: {payload['rule']}"),
        "attachments": [
            {
                "color": _OVER if is_over else _COLOURS[payload["severity"]],
                "text": _escaped("\n".join(line for line in lines if line)),
                "fallback": _escaped(f"{word}: {payload['rule']}"),
            }
        ],
    }


def _payload(alert: Alert, description: str) -> dict[str, Any]:
    """An alert as programs are told of it: JSON values."""
    return {
        "alert_id": str(alert.id),
        "rule": alert.rule,
        "description": description,
        "metric": alert.metric,
        "severity": alert.severity,
        "state": alert.state,
        "labels": dict(alert.labels),
        "fingerprint": alert.fingerprint,
        "value": alert.value,
        "threshold": alert.threshold,
        "started_at": _time(alert.started_at),
        "fired_at": _time(alert.fired_at),
        "resolved_at": _time(alert.resolved_at),
    }


def _words(settings: Settings, alert: Alert, description: str) -> dict[str, str]:
    """The same for people."""
    return {
        "severity": alert.severity,
        "rule": alert.rule,
        "description": description or alert.rule,
        "labels": _labels_text(alert.labels) or "–",
        "value": f"{alert.value:.4g}",
        "threshold": f"{alert.threshold:.4g}",
        "since": _minute(alert.started_at),
        "until": _minute(alert.resolved_at or alert.seen_at),
        "alert_id": str(alert.id),
        "url": f"{settings.public_url}/ops",
    }


def _labels_text(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {labels[name]}" for name in sorted(labels))


def _escaped(text: str) -> str:
    """Slack's three characters."""
    return html.escape(text, quote=False)


def _time(at: dt.datetime | None) -> str | None:
    return None if at is None else at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _minute(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
