"""What the network says became of an SMS: the gateway's delivery reports, as Africa's Talking posts them.

https://developers.africastalking.com/docs/sms/notifications: a form with ``id`` (of the message, as it was answered when it was
sent), ``status`` and, of one that failed, ``failureReason``. It may come twice, late, or never.
"""

from __future__ import annotations

import datetime as dt
import hmac
from typing import Final

from sqlalchemy import Engine, func, text
from sqlalchemy.orm import Session

from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.notifications.models import Notification, SmsHandover
from haven.notifications.opt_outs import opt_out
from haven.operations.jobs import submit

PATH: Final = "/api/v1/hooks/sms"
_ARRIVED: Final = "Success"
_LOST: Final = ("Rejected", "Failed", "AbsentSubscriber", "Expired")
"""For good; ``Sent``, ``Submitted`` and ``Buffered`` are on their way."""
_BLACKLISTED: Final = "UserInBlacklist"
EARLY: Final = "sms_report"
"""The kind of the job that a report waits in which names no message of ours."""
_EARLY_WAITS: Final = dt.timedelta(seconds=60)
"""Longer than the gateway's answer takes to be written down: by then the message is there, or is none of ours."""
_LONGEST: Final = 60


def token(secret_key: str) -> str:
    """What the address ends with: 256 bits that nobody without SECRET_KEY can guess, in lower-case hexadecimal."""
    return hmac.digest(secret_key.encode(), b"haven sms delivery reports", "sha256").hex()


def is_token(secret_key: str, given: str) -> bool:
    return hmac.compare_digest(token(secret_key).encode(), given.encode())


def note(engine: Engine, provider_id: str, status: str, reason: str) -> str:
    """Write a report down; what came of it: ``delivered``, ``failed``, ``on its way``, ``known`` or ``unknown``.

    Told twice, or in another order, it is the same: who has it, has it.
    """
    found = _handover(engine, provider_id)
    if found is None:
        return "unknown"
    if status != _ARRIVED and status not in _LOST:
        return "on its way"
    with tenant_session(engine, found.agency_id, "sms") as session:
        one = session.get(Notification, (found.agency_id, found.notification_id), with_for_update=True)
        # One that was sent again has another id by now, of which this report says nothing.
        if one is None or one.provider_id != provider_id or one.delivered_at is not None:
            return "known"
        if status == _ARRIVED:
            one.status, one.last_error, one.delivered_at = "SENT", None, func.now()
            return "delivered"
        if one.status == "FAILED":
            return "known"
        why = f": {reason[:_LONGEST]}" if reason else ""
        one.status, one.last_error = "FAILED", f"The network did not deliver it ({status}{why})."
        if reason == _BLACKLISTED:
            opt_out(session, one)
    return "failed"


def keep(engine: Engine, provider_id: str, status: str, reason: str) -> bool:
    """Have a report whose message is ``unknown`` looked at once more in a minute; whether it is kept for that.

    The network can be faster than we write down what the gateway called the message. One on its way says nothing; one told
    twice is kept once.
    """
    if status != _ARRIVED and status not in _LOST:
        return False
    with tenant_session(engine, PLATFORM, "sms") as session:
        submit(
            session,
            EARLY,
            {"provider_id": provider_id, "status": status, "reason": reason},
            unique_key=f"{provider_id} {status}",
            run_after=dt.datetime.now(dt.UTC) + _EARLY_WAITS,
        )
    return True


def hand_over(session: Session, one: Notification, provider_id: str) -> None:
    """Remember whose message the gateway's id is, so that its report finds it."""
    session.merge(
        SmsHandover(provider_id=provider_id, agency_id=one.agency_id, notification_id=one.id), load=True
    )


def _handover(engine: Engine, provider_id: str) -> SmsHandover | None:
    with tenant_session(engine, PLATFORM, "sms") as session:
        session.execute(text("SELECT set_config('haven.sms_id', :id, true)"), {"id": provider_id})
        return session.get(SmsHandover, provider_id)
