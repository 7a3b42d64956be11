"""Removing what has had its time."""

from __future__ import annotations

import datetime as dt
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.identity.models import IdempotencyKey, SignInSession

_ANSWERS_KEPT: Final = dt.timedelta(days=2)
_SESSIONS_KEPT: Final = dt.timedelta(days=30)


def remove_expired(session: Session, now: dt.datetime) -> int:
    """Remove stored answers past their time to live and sign-ins long over, of one agency; how many rows."""
    agency_id = tenant_of(session).agency_id
    answers = session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.agency_id == agency_id, IdempotencyKey.created_at < now - _ANSWERS_KEPT
        )
    )
    sessions = session.execute(
        delete(SignInSession).where(
            SignInSession.agency_id == agency_id, SignInSession.expires_at < now - _SESSIONS_KEPT
        )
    )
    return int(answers.rowcount + sessions.rowcount)  # type: ignore[attr-defined]
