"""``Idempotency-Key``: a POST sent again has the first one's answer, and no second effect.

The answer is stored in the transaction of the effect itself, so there is never one without the other. An advisory lock
that ends with the transaction keeps two of the same key apart, even when a process dies.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import Any, Final

from flask import Response, g, request
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.api.guard import answer_after_commit, current_principal, current_session, runtime
from haven.errors import Conflict, Fault, Invalid
from haven.identity.models import IdempotencyKey
from haven.identity.principals import Principal

View = Callable[..., Any]
HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
_KEPT_HEADERS = ("Location", "ETag", "Content-Type")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

PARAMETER: Final = {
    "in": "header",
    "name": HEADER,
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Sent again with the same body within a day, the request has its first answer and no second effect.",
}


def idempotent(view: View) -> View:
    """Honour ``Idempotency-Key`` on this view. Goes directly under ``requires``."""

    @wraps(view)
    def once(*args: Any, **kwargs: Any) -> Any:
        key = request.headers.get(HEADER)
        if key is None:
            return view(*args, **kwargs)
        if not _KEY.fullmatch(key):
            detail = "must have 1 to 255 printable ASCII characters and no space"
            raise Invalid(f"{HEADER} {detail}.", faults=(Fault(HEADER, detail),))
        return _once(key, lambda: view(*args, **kwargs))

    document = deepcopy(getattr(view, "_apidoc", {}))
    document.setdefault("manual_doc", {}).setdefault("parameters", []).append(PARAMETER)
    once._apidoc = document  # type: ignore[attr-defined]
    return once


def _once(key: str, act: Callable[[], Response]) -> Response:
    session, principal = current_session(), current_principal()
    request_hash = hashlib.sha256(
        b"\n".join((request.method.encode(), request.full_path.encode(), _content()))
    ).digest()
    _take_lock(session, principal, key)
    stored = _stored(session, principal, key)
    if stored is not None:
        return _replay(stored, request_hash)
    answer = act()
    if answer.status_code < 400:
        _store(session, principal, key, request_hash, answer)
    finish: Callable[[], Response] | None = g.pop("answer_after_commit", None)
    if finish is not None:
        answer_after_commit(lambda: _finish(session, principal, key, finish))
    return answer


def _content() -> bytes:
    """The body, or its digest where a view has taken it to a file."""
    digest: bytes | None = g.get("body_digest")
    return request.get_data() if digest is None else digest


def _take_lock(session: Session, principal: Principal, key: str) -> None:
    name = f"{principal.agency_id}/{principal.user_id}/{key}"
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    if not session.execute(select(func.pg_try_advisory_xact_lock(number))).scalar_one():
        raise Conflict(f"A request with this {HEADER} is still running.", retry_after_s=1)


def _stored(session: Session, principal: Principal, key: str) -> IdempotencyKey | None:
    oldest = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=runtime().settings.idempotency_ttl)
    return session.execute(
        select(IdempotencyKey).where(
            IdempotencyKey.agency_id == principal.agency_id,
            IdempotencyKey.user_id == principal.user_id,
            IdempotencyKey.key == key,
            IdempotencyKey.created_at > oldest,
        )
    ).scalar_one_or_none()


def _replay(stored: IdempotencyKey, request_hash: bytes) -> Response:
    if stored.request_hash != request_hash:
        detail = "was used for another request; a new request needs a new key"
        raise Invalid(f"This {HEADER} {detail}.", faults=(Fault(HEADER, detail),))
    return Response(stored.body, stored.status, {**(stored.headers or {}), REPLAYED: "true"})


def _store(session: Session, principal: Principal, key: str, request_hash: bytes, answer: Response) -> None:
    now = dt.datetime.now(dt.UTC)
    values = _answer(answer) | {"request_hash": request_hash, "created_at": now, "locked_until": now}
    statement = insert(IdempotencyKey).values(
        agency_id=principal.agency_id, user_id=principal.user_id, key=key, **values
    )
    # A row that is in the way is older than its time to live: ``_stored`` would have shown it otherwise.
    session.execute(
        statement.on_conflict_do_update(index_elements=["agency_id", "user_id", "key"], set_=values)
    )


def _finish(session: Session, principal: Principal, key: str, finish: Callable[[], Response]) -> Response:
    answer = finish()
    session.execute(
        update(IdempotencyKey)
        .where(
            IdempotencyKey.agency_id == principal.agency_id,
            IdempotencyKey.user_id == principal.user_id,
            IdempotencyKey.key == key,
        )
        .values(**_answer(answer))
    )
    return answer


def _answer(answer: Response) -> dict[str, Any]:
    headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    return {"status": answer.status_code, "headers": headers, "body": answer.get_data()}
