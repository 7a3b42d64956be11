"""Where the SMS gateway posts its delivery reports. The address holds a secret of 256 bits."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

import structlog
from flask import Blueprint, Response

from haven.api.deadlines import body_within
from haven.api.encoding import json_response
from haven.api.guard import runtime
from haven.errors import NotFound
from haven.notifications import delivery_reports

log = structlog.get_logger(__name__)
blueprint = Blueprint("sms_hooks", __name__)
_BODY_TIMEOUT_S: Final = 5.0
_ID_LONGEST: Final = 200


@blueprint.post("/<string:token>")
def delivery_report(token: str) -> Response:
    """One report. Whatever is in it, and whatever fails here, the gateway is told that it was heard.

    A token that is none of ours is an address that is not there: 404.
    """
    settings = runtime().settings
    if not delivery_reports.is_token(settings.secret_key, token):
        raise NotFound("There is nothing here.")
    form = parse_qs(body_within(_BODY_TIMEOUT_S).decode(errors="replace"))
    provider_id, status, reason = (_first(form, name) for name in ("id", "status", "failureReason"))
    outcome = "without an id"
    try:
        if provider_id:
            outcome = delivery_reports.note(runtime().engine, provider_id, status, reason)
        if outcome == "unknown" and delivery_reports.keep(runtime().engine, provider_id, status, reason):
            outcome = "kept for a minute"
    except Exception:
        log.exception("sms_report_lost", provider_id=provider_id)
    log.info("sms_report", provider_id=provider_id, status=status[:_ID_LONGEST], outcome=outcome)
    return json_response({"outcome": "heard"})


def _first(form: dict[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0].replace("\x00", "")[:_ID_LONGEST]
