"""``/monitoring/alerts``: alerts, silences and rules."""

from __future__ import annotations

import uuid
from typing import Any, Final

from flask import Response
from marshmallow import fields

from extensions.alerting.rules import SEVERITIES
from haven.api.bodies import body
from haven.api.encoding import json_response
from haven.api.fields import choice
from haven.api.guard import current_session, requires
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import API, Resource, list_answer, list_doc, page_schema, problems, register
from haven.operations import alert_schemas as schemas
from haven.operations import alert_service as service
from haven.operations.models import Alert, AlertRule, AlertSilence
from haven.operations.monitoring_routes import monitoring

_SILENCES_AT: Final = "/monitoring/alerts/silences"
ALERTS: Final = Listing(
    "alert",
    Alert.id,
    service.ALERT_COLUMNS,
    filters={
        "state": Filter(Alert.state, choice(*schemas.STATES)),
        "rule": Filter(Alert.rule, fields.String()),
        "severity": Filter(Alert.severity, choice(*SEVERITIES)),
        "fingerprint": Filter(Alert.fingerprint, fields.String()),
    },
)
SILENCES: Final = Listing(
    "silence",
    AlertSilence.id,
    {name: getattr(AlertSilence, name) for name in service.SILENCE_COLUMNS},
    filters={"ends_at": Filter(AlertSilence.ends_at, fields.AwareDateTime(), ordered=True)},
)
RULES: Final = Resource(
    "alert rule",
    "/monitoring/alerts/rules",
    "alert_rules",
    schemas.AlertRuleRow,
    Listing(
        "alert rule",
        AlertRule.id,
        {name: getattr(AlertRule, name) for name in service.RULE_COLUMNS},
        filters={
            "name": Filter(AlertRule.name, fields.String()),
            "metric": Filter(AlertRule.metric, fields.String()),
        },
        default_sort="created_at",
    ),
    schemas.AlertRuleBody,
    patch=schemas.AlertRuleChangeBody,
    create=service.create_rule,
    update=service.update_rule,
    delete=service.delete_rule,
)
register(monitoring, RULES)


@monitoring.route("/monitoring/alerts", methods=["GET"])
@requires("alerts:read")
@monitoring.response(200, page_schema(schemas.AlertRow))
@monitoring.doc(summary="List alerts: what fires, and what did", **list_doc(ALERTS))
def list_alerts() -> Response:
    return list_answer(ALERTS)


@monitoring.route("/monitoring/alerts/<uuid:alert_id>", methods=["GET"])
@requires("alerts:read")
@monitoring.response(200, schemas.AlertRow)
@monitoring.doc(summary="Read one alert", responses=problems(404))
def read_alert(alert_id: uuid.UUID) -> Response:
    return json_response(ALERTS.one(current_session(), alert_id))


@monitoring.route("/monitoring/alerts/<uuid:alert_id>/acknowledge", methods=["POST"])
@requires("alerts:write")
@idempotent
@monitoring.response(200, schemas.AlertRow)
@monitoring.doc(
    summary="Say that one looks after an alert that fires", responses=problems(400, 404, 409, 415, 422)
)
@body(schemas.AcknowledgeBody, optional=True)
def acknowledge_alert(values: dict[str, Any], alert_id: uuid.UUID) -> Response:
    service.acknowledge(current_session(), alert_id, values["note"])
    current_session().flush()
    return json_response(ALERTS.one(current_session(), alert_id))


@monitoring.route(_SILENCES_AT, methods=["GET"])
@requires("alerts:read")
@monitoring.response(200, page_schema(schemas.SilenceRow))
@monitoring.doc(summary="List silences; `ends_at__gte` now: those that hold", **list_doc(SILENCES))
def list_silences() -> Response:
    return list_answer(SILENCES)


@monitoring.route(_SILENCES_AT, methods=["POST"])
@requires("alerts:write")
@idempotent
@monitoring.response(201, schemas.SilenceRow)
@monitoring.doc(
    summary="Send nothing of an alert, or of a rule, for a while", responses=problems(400, 409, 415, 422)
)
@body(schemas.SilenceBody)
def create_silence(values: dict[str, Any]) -> Response:
    silence_id = service.silence(current_session(), **values)
    row = SILENCES.one(current_session(), silence_id)
    return json_response(row, 201, {"Location": f"{API}{_SILENCES_AT}/{silence_id}"})


@monitoring.route(f"{_SILENCES_AT}/<uuid:silence_id>", methods=["GET"])
@requires("alerts:read")
@monitoring.response(200, schemas.SilenceRow)
@monitoring.doc(summary="Read one silence", responses=problems(404))
def read_silence(silence_id: uuid.UUID) -> Response:
    return json_response(SILENCES.one(current_session(), silence_id))


@monitoring.route(f"{_SILENCES_AT}/<uuid:silence_id>", methods=["DELETE"])
@requires("alerts:write")
@monitoring.response(204, description="Ended")
@monitoring.doc(summary="End a silence before its time", responses=problems(404))
def delete_silence(silence_id: uuid.UUID) -> Response:
    service.end_silence(current_session(), silence_id)
    return Response(status=204)
