"""Where M-Pesa calls back. The address holds a secret of 256 bits; what comes is stored raw before anything reads it."""

from __future__ import annotations

from typing import Final

import structlog
from flask import Blueprint, Response, request

from haven.api.deadlines import body_within
from haven.api.encoding import json_response
from haven.api.guard import current_session, runtime
from haven.db.session import tell_along
from haven.errors import NotFound
from haven.payments import service

log = structlog.get_logger(__name__)
blueprint = Blueprint("hooks", __name__)

_ACCEPTED: Final = {"ResultCode": 0, "ResultDesc": "Accepted"}
_BODY_TIMEOUT_S: Final = 5.0
"""M-Pesa sends its few hundred bytes at once."""
_KEPT_HEADERS: Final = ("Content-Type", "Businessshortcode", "User-Agent", "X-Forwarded-For", "X-Request-Id")


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
    session = current_session()
    body = body_within(_BODY_TIMEOUT_S)
    code = service.ACCEPTED
    try:
        kept, is_refused = _store(token, body, "C2B_VALIDATION")
        if not is_refused:
            code = service.validate_payment(session, kept.id)
            session.commit()
    except NotFound:
        raise
    except Exception:
        session.rollback()
        log.exception("validation_failed")
    words = "Accepted" if code == service.ACCEPTED else "Rejected"
    return json_response({"ResultCode": code, "ResultDesc": words})


def _stored_and_applied(token: str, kind: service.CallbackKind) -> Response:
    """Stored and committed first; then applied at once, or, failing that, by the sweeper.

    A token that is none of ours is an address that is not there: 404, and nothing is stored. A body that is far
    too long is a 413; of one that does not come in whole in time what came is kept, to be rejected.
    """
    session = current_session()
    kept, is_refused = _store(token, body_within(_BODY_TIMEOUT_S), kind)
    if is_refused:
        return json_response(_ACCEPTED)
    try:
        outcome = service.apply_callback(session, kept)
        session.commit()
        log.info("callback_applied", inbox_id=str(kept.id), outcome=outcome)
    except Exception:
        session.rollback()
        log.exception("callback_kept_for_later", inbox_id=str(kept.id))
    return json_response(_ACCEPTED)


def _store(token: str, body: bytes, kind: service.CallbackKind) -> tuple[service.KeptCallback, bool]:
    """Keep what came, and commit; and whether it is refused, so not to be applied.

    Raises:
        NotFound: the token is none of ours.
    """
    session = current_session()
    tell_along(session)
    headers = {name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers}
    refused = service.refusal(runtime().settings, request.remote_addr)
    kept = service.store_callback(
        session,
        token=token,
        body=body,
        headers=headers,
        address=request.remote_addr,
        kind=kind,
        refused=refused,
    )
    session.commit()
    if kept is None:
        log.warning("callback_with_unknown_token", address=request.remote_addr, kind=kind)
        raise NotFound("There is no such address.")
    return kept, refused is not None
