"""Whether a payment to the paybill may be made: M-Pesa asks before it moves money, where that is switched on.

It waits eight seconds. Whatever goes wrong here lets the payment go on: money that came can be sorted out, money that
was turned away is lost.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.identity.models import Agency
from haven.payments.models import MpesaInbox
from haven.payments.mpesa.messages import C2bNotice, UnreadableCallback, parse_c2b
from haven.payments.paybill.matching import place_of
from haven.payments.paybill.seen import seen_in_notice

ACCEPTED: Final = "0"
UNKNOWN_ACCOUNT: Final = "C2B00012"
INVALID_AMOUNT: Final = "C2B00013"
INVALID_SHORTCODE: Final = "C2B00015"
_AT_MOST_MS: Final = 1000


def validate(session: Session, inbox_id: uuid.UUID, now: dt.datetime | None = None) -> str:
    """The code to answer a stored validation with: ``0``, or why the payment may not be made.

    Only an agency that asks for it (``c2b_reject_unknown_accounts``) has payments rejected: for an account that no
    lease could be found by, no more than by the payer, an amount of nothing, or another paybill. Books nothing.
    """
    # Each of the few statements may take this long, so that the answer is there before M-Pesa stops waiting.
    session.execute(text(f"SET LOCAL statement_timeout = {_AT_MOST_MS}"))
    agency_id = tenant_of(session).agency_id
    inbox, is_strict, shortcode = session.execute(
        select(MpesaInbox, Agency.c2b_reject_unknown_accounts, Agency.mpesa_shortcode)
        .join(Agency, Agency.id == MpesaInbox.agency_id)
        .where(MpesaInbox.agency_id == agency_id, MpesaInbox.id == inbox_id)
    ).one()
    code = _judge(session, inbox, shortcode, now or dt.datetime.now(dt.UTC)) if is_strict else ACCEPTED
    inbox.state = "APPLIED"
    inbox.outcome = "Accepted." if code == ACCEPTED else f"Rejected: {code}."
    inbox.applied_at = now or dt.datetime.now(dt.UTC)
    session.flush()
    return code


def _judge(session: Session, inbox: MpesaInbox, shortcode: str | None, now: dt.datetime) -> str:
    try:
        notice = parse_c2b(inbox.body)
    except UnreadableCallback:
        return ACCEPTED
    if _is_of_another(notice, shortcode):
        return INVALID_SHORTCODE
    if notice.amount <= 0:
        return INVALID_AMOUNT
    is_placed = place_of(session, seen_in_notice(notice, inbox.id, now)) is not None
    return ACCEPTED if is_placed else UNKNOWN_ACCOUNT


def _is_of_another(notice: C2bNotice, shortcode: str | None) -> bool:
    return bool(shortcode) and bool(notice.shortcode) and notice.shortcode != shortcode
