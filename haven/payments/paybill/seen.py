"""A sum of money that M-Pesa says it moved to the paybill, whichever way it says so."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from haven.payments.mpesa.answers import PulledTransaction
from haven.payments.mpesa.messages import C2bNotice
from haven.payments.mpesa.receipts import is_odd_receipt
from haven.payments.paybill.payers import Payer, payer_of

PULL_ZONE_DOUBT: Final = dt.timedelta(hours=3)
"""Whether a pulled time is UTC or Nairobi's is documented nowhere."""
_NO_TRANSACTION: Final = "0000000"


@dataclass(frozen=True, slots=True)
class Seen:
    """``amount`` in shillings, ``paid_at`` true to ``doubt``, ``account`` as the payer typed it."""

    source: Literal["C2B", "PULL"]
    receipt: str
    amount: Decimal
    paid_at: dt.datetime
    account: str
    payer: Payer = field(repr=False)
    payer_name: str = field(default="", repr=False)
    inbox_id: uuid.UUID | None = None
    doubt: dt.timedelta = dt.timedelta(0)

    @property
    def is_money(self) -> bool:
        """Whether anything moved: M-Pesa writes a receipt that ends in seven noughts where nothing did."""
        return self.amount > 0 and not self.receipt.endswith(_NO_TRANSACTION)

    def evidence(self, **more: Any) -> dict[str, Any]:
        """What is kept as evidence: no phone, no hash of one, no name."""
        return {
            "receipt": self.receipt,
            "amount": str(self.amount),
            "account": self.account,
            "payer": self.payer.shown,
            "paid_at": self.paid_at.isoformat(),
            "is_odd_receipt": is_odd_receipt(self.receipt, None if self.doubt else self.paid_at),
            **({} if self.inbox_id is None else {"inbox_id": str(self.inbox_id)}),
            **more,
        }


def seen_in_notice(notice: C2bNotice, inbox_id: uuid.UUID, now: dt.datetime) -> Seen:
    """What a C2B confirmation says."""
    return Seen(
        source="C2B",
        receipt=notice.receipt,
        amount=notice.amount,
        paid_at=min(notice.paid_at or now, now),
        account=notice.account,
        payer=payer_of(notice.phone or notice.phone_hash or notice.phone_shown),
        payer_name=notice.payer_name,
        inbox_id=inbox_id,
    )


def seen_in_list(row: PulledTransaction, now: dt.datetime) -> Seen:
    """What a row of Pull says. A time to come is Nairobi's, three hours ahead of the UTC that it is written as."""
    paid_at = row.paid_at or now
    if paid_at > now:
        paid_at = min(paid_at - PULL_ZONE_DOUBT, now)
    return Seen(
        source="PULL",
        receipt=row.receipt,
        amount=row.amount,
        paid_at=paid_at,
        account=row.account,
        payer=payer_of(row.payer),
        doubt=PULL_ZONE_DOUBT,
    )
