"""Money that M-Pesa tells of as a payment to the paybill: by a C2B confirmation, or as a row of its own list.

The one place that the walk of all money calls for it, whatever the service behind it is called.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal

from sqlalchemy.orm import Session

IS_THERE: Final = find_spec("haven.payments.paybill") is not None
"""Whether Haven listens to the paybill."""


def money_seen(
    session: Session,
    source: Literal["C2B", "PULL"],
    receipt: str,
    amount: Decimal,
    account: str,
    phone: str,
    paid_at: dt.datetime,
) -> Any:
    """Book what was seen, unless it is booked."""
    paybill = "haven.payments.paybill"
    payer = import_module(f"{paybill}.payers").payer_of(phone)
    seen = import_module(f"{paybill}.seen").Seen(source, receipt, amount, paid_at, account, payer)
    return import_module(f"{paybill}.witness").witness(session, seen, dt.datetime.now(dt.UTC))
