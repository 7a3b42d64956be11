"""Where M-Pesa calls back. The address holds a secret of 256 bits; what comes is stored raw before anything reads it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

import structlog
from flask import Blueprint, Response, request

from haven.api.encoding import json_response
from haven.api.guard import current_session, runtime
from haven.payments import service

log = structlog.get_logger(__name__)
blueprint = Blueprint("hooks", __name__)

_ACCEPTED: Final = {"ResultCode": 0, "ResultDesc": "Accepted"}
_KEPT_HEADERS: Final = ("Content-Type", "Businessshortcode", "User-Agent", "X-Forwarded-For", "X-Request-Id")


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was kept; ``is_refused``: it is not to be applied."""

    id: uuid.UUID
    is_refused: bool


@blueprint.post("/stk/<string:token>")
def stk(token: str) -> Response:
    """The outcome of a push."""
    return _stored_and_applied(token, "STK")


@blueprint.post("/c2b/confirmation/<string:token>")
def confirmation(token: str) -> Response:
    """Money has come to the paybill."""
    return _stored_and_applied(token, "C2B_CONFIRMATION")


@blueprint.post("/c2b/validation/<string:token>")
def validation(token: str) -> Response:
    """May money come to the paybill? Answered well within the eight seconds M-Pesa waits; a failure of ours says yes."""
    body = request.get_data()
    session = current_session()
    code = service.ACCEPTED
    try:
        stored = _store(token, body, "C2B_VALIDATION")
        if stored is not None and not stored.is_refused:
            code = service.validate_payment(session, stored.id)
            session.commit()
    except Exception:
        session.rollback()
        log.exception("validation_failed")
    words = "Accepted" if code == service.ACCEPTED else "Rejected"
    return json_response({"ResultCode": code, "ResultDesc": words})


def _stored_and_applied(token: str, kind: service.CallbackKind) -> Response:
    """Stored and committed first; then applied at once, or, failing that, by the sweeper.

    A token that is none of ours gets the same answer: it tells a stranger nothing, and M-Pesa has no use for another.
    """
    session = current_session()
    stored = _store(token, request.get_data(), kind)
    if stored is None or stored.is_refused:
        return json_response(_ACCEPTED)
    try:
        outcome = service.apply_callback(session, stored.id)
        session.commit()
        log.info("callback_applied", inbox_id=str(stored.id), outcome=outcome)
    except Exception:
        session.rollback()
        log.exception("callback_kept_for_later", inbox_id=str(stored.id))
    return json_response(_ACCEPTED)


def _store(token: str, body: bytes, kind: service.CallbackKind) -> _Stored | None:
    """Keep what came, and commit; None where the token is none of ours."""
    session = current_session()
    headers = {name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers}
    refused = service.refusal(runtime().settings, request.remote_addr)
    inbox_id = service.store_callback(
        session,
        token=token,
        body=body,
        headers=headers,
        address=request.remote_addr,
        kind=kind,
        refused=refused,
    )
    session.commit()
    if inbox_id is None:
        log.warning("callback_with_unknown_token", address=request.remote_addr, kind=kind)
        return None
    return _Stored(inbox_id, is_refused=refused is not None)
