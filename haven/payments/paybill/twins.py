"""The push that a C2B confirmation or a pulled row belongs to.

M-Pesa tells of a payment by push twice, with the same receipt: in the push's callback and as a payment to the paybill.
The two come in any order, or only one of them. The second telling must find the payment of the first.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.payments.models import MpesaAttempt, Payment
from haven.payments.paybill.accounts import stripped
from haven.payments.paybill.seen import Seen
from haven.payments.statuses import OPEN_ATTEMPT, PAID

PROMPT_LASTS: Final = dt.timedelta(minutes=15)
"""A prompt is answered or gone after about a minute; money that moved this long after a push has another cause."""
CLOCKS_DIFFER: Final = dt.timedelta(minutes=2)
_STAMP_IS_CUT: Final = dt.timedelta(seconds=2)
"""M-Pesa's times have no fractions of a second."""
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Twin:
    """A push that waits for this money, or was paid and lacks the receipt."""

    attempt_id: uuid.UUID
    lease_id: uuid.UUID


def find_twin(session: Session, seen: Seen) -> Twin | None:
    """The push of the same amount and account by the same payer, of about the same time; None where none is certain.

    Whether it still is one must be asked again (``lacks_receipt``) once it is locked.
    """
    agency_id = tenant_of(session).agency_id
    account = stripped(seen.account)
    query = (
        select(MpesaAttempt, Payment.lease_id, Payment.status)
        .join(
            Payment, (Payment.agency_id == MpesaAttempt.agency_id) & (Payment.id == MpesaAttempt.payment_id)
        )
        .where(
            MpesaAttempt.agency_id == agency_id,
            MpesaAttempt.amount == seen.amount,
            MpesaAttempt.created_at >= seen.paid_at - PROMPT_LASTS - seen.doubt,
            MpesaAttempt.created_at <= seen.paid_at + CLOCKS_DIFFER + seen.doubt,
            # A push that was refused rang no phone.
            MpesaAttempt.state != "REJECTED",
            Payment.reference.is_(None),
        )
        .order_by(MpesaAttempt.created_at.desc())
        .limit(_MOST)
    )
    if account:
        query = query.where(MpesaAttempt.account_reference == account)
    rows = session.execute(query).all()
    found = sorted((row for row in rows if seen.payer.may_be(row.MpesaAttempt.phone)), key=_nearness(seen))
    waiting = [row for row in found if _waits(row)]
    for candidates in (waiting, found):
        if _is_certain(candidates, seen):
            return Twin(candidates[0].MpesaAttempt.id, candidates[0].lease_id)
    if len(waiting) == 1 and account:
        return Twin(waiting[0].MpesaAttempt.id, waiting[0].lease_id)
    return None


def lacks_receipt(attempt: MpesaAttempt, payment: Payment) -> bool:
    """Whether a locked push can still be the one that money of a new receipt was paid for."""
    return payment.reference is None and attempt.state != "REJECTED"


def _waits(row: Any) -> bool:
    """Whether the push has not been decided, or was paid (a query said so) and no receipt is known."""
    return row.MpesaAttempt.state in OPEN_ATTEMPT or row.status in PAID


def _is_certain(rows: Sequence[Any], seen: Seen) -> bool:
    """Whether they are all of one phone, and the payer is its owner. Of its pushes the nearest in time is meant."""
    phones = {row.MpesaAttempt.phone for row in rows}
    return len(phones) == 1 and seen.payer.is_owner_of(phones.pop())


def _nearness(seen: Seen) -> Callable[[Any], tuple[bool, dt.timedelta]]:
    """Sorts a push that this money can follow before one that it cannot, then the nearer before the farther.

    Where the time is in doubt, one that is known to be paid comes first: it has a receipt, which may be this one.
    """

    def nearness(row: Any) -> tuple[bool, dt.timedelta]:
        created_at = row.MpesaAttempt.created_at
        is_second = row.status not in PAID if seen.doubt else created_at > seen.paid_at + _STAMP_IS_CUT
        return is_second, abs(created_at - seen.paid_at)

    return nearness
