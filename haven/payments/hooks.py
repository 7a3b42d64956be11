"""Where M-Pesa calls back. The address holds a secret of 256 bits; what comes is stored raw before anything reads it."""

from __future__ import annotations

from typing import Final

import structlog
from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError

from haven.api.deadlines import body_within
from haven.api.encoding import json_response
from haven.api.guard import current_session
from haven.errors import HavenError, NotFound
from haven.payments import service

log = structlog.get_logger(__name__)
blueprint = Blueprint("hooks", __name__)

_ACCEPTED: Final = {"ResultCode": 0, "ResultDesc": "Accepted"}
_BODY_TIMEOUT_S: Final = 5.0
"""M-Pesa sends its few hundred bytes at once."""
_KEPT_HEADERS: Final = ("Content-Type", "Businessshortcode", "User-Agent", "X-Forwarded-For", "X-Request-Id")


@blueprint.post("/stk/<string:token>")
def stk(token: str) -> Response:
    """The outcome of a push. Stored and committed first; then applied at once, or, failing that, by the sweeper.

    A token that is none of ours is an address that is not there: 404, and nothing is stored. A body that is far
    too long is a 413; of one that does not come in whole in time what came is kept, to be rejected.
    """
    body = body_within(_BODY_TIMEOUT_S)
    session = current_session()
    headers = {name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers}
    inbox_id = service.store_callback(
        session, token=token, body=body, headers=headers, address=request.remote_addr
    )
    session.commit()
    if inbox_id is None:
        log.warning("callback_with_unknown_token", address=request.remote_addr)
        raise NotFound("There is no such address.")
    try:
        outcome = service.apply_callback(session, inbox_id)
        session.commit()
        log.info("callback_applied", inbox_id=str(inbox_id), outcome=outcome)
    except (SQLAlchemyError, HavenError):
        session.rollback()
        log.exception("callback_kept_for_later", inbox_id=str(inbox_id))
    return json_response(_ACCEPTED)
