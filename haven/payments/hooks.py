"""Where M-Pesa calls back. The address holds a secret of 256 bits; what comes is stored raw before anything reads it."""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, request

from haven.api.deadlines import body_within
from haven.api.encoding import json_response
from haven.api.guard import current_session, runtime
from haven.errors import NotFound
from haven.payments import service
from haven.payments.callback_path import ACCEPTED, BODY_TIMEOUT_S
from haven.payments.taking import KEPT_HEADERS, apply_at_once, keep

log = structlog.get_logger(__name__)
blueprint = Blueprint("hooks", __name__)


@blueprint.post("/stk/<string:token>")
def stk(token: str) -> Response:
    """The outcome of a push; most are taken before they come here (``callback_path``)."""
    return _stored_and_applied(token, "STK")


@blueprint.post("/c2b/confirmation/<string:token>")
def confirmation(token: str) -> Response:
    """Money has come to the paybill."""
    return _stored_and_applied(token, "C2B_CONFIRMATION")


@blueprint.post("/c2b/validation/<string:token>")
def validation(token: str) -> Response:
    """May money come to the paybill? Answered well within the eight seconds M-Pesa waits; a failure of ours says yes."""
    session = current_session()
    body = body_within(BODY_TIMEOUT_S)
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
    kept, is_refused = _store(token, body_within(BODY_TIMEOUT_S), kind)
    if not is_refused:
        apply_at_once(current_session(), kept)
    return Response(ACCEPTED, content_type="application/json")


def _store(token: str, body: bytes, kind: service.CallbackKind) -> tuple[service.KeptCallback, bool]:
    """Keep what came, and commit; and whether it is refused, so not to be applied.

    Raises:
        NotFound: the token is none of ours.
    """
    kept, is_refused = keep(
        current_session(),
        runtime().settings,
        token=token,
        body=body,
        headers={name: request.headers[name] for name in KEPT_HEADERS if name in request.headers},
        address=request.remote_addr,
        kind=kind,
    )
    if kept is None:
        log.warning("callback_with_unknown_token", address=request.remote_addr, kind=kind)
        raise NotFound("There is no such address.")
    return kept, is_refused
