"""Money that leaves: payouts to owners, expenses paid for them, deposits given back. Haven records it, and posts it.

Nothing recorded is changed or removed: what was wrong is reversed, with a reason.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from haven.billing import ledger
from haven.billing.models import Disbursement, LedgerAccount, LedgerEntry
from haven.db.base import new_id
from haven.db.rows import locked
from haven.db.session import tenant_of
from haven.errors import Conflict, Fault, Invalid, NotFound
from haven.identity.models import Agency
from haven.portfolio.models import Owner

METHODS: Final = ("MPESA", "CASH", "BANK", "CARD", "CHEQUE")
Kind = Literal["DEPOSIT_REFUND", "PAYOUT", "EXPENSE"]
_WORDS: Final = {"DEPOSIT_REFUND": "Deposit refunded", "PAYOUT": "Paid out", "EXPENSE": "Expense"}
_CLOCK_SKEW: Final = dt.timedelta(minutes=5)


def pay_out(
    session: Session, owner_id: uuid.UUID, body: Mapping[str, Any], now: dt.datetime | None = None
) -> uuid.UUID:
    """Record money paid to an owner: Dr owner payable, Cr the account it left.

    Args:
        body: ``amount``, ``method``; if wanted ``reference``, ``description``, ``paid_at`` (now).

    Raises:
        NotFound: there is no such owner in this agency.
        Conflict: it is more than is his.
        Invalid: a value breaks a rule.
    """
    _lock_owner(session, owner_id)
    payable = owner_payable(session, owner_id)
    if body["amount"] > payable:
        detail = f"{payable:.2f} is the owner's, not {body['amount']:.2f}."
        raise Conflict(detail, faults=(Fault("/amount", detail),))
    return record(session, "PAYOUT", body, now, owner_id=owner_id)


def spend(
    session: Session, owner_id: uuid.UUID, body: Mapping[str, Any], now: dt.datetime | None = None
) -> uuid.UUID:
    """Record what the agency has paid for an owner, a repair or a rate: Dr owner payable, Cr the account it left.

    It may be more than is his: he then owes it.

    Args:
        body: as for ``pay_out``; ``description`` says what for.
    """
    _lock_owner(session, owner_id)
    return record(session, "EXPENSE", body, now, owner_id=owner_id)


def reverse(
    session: Session,
    disbursement_id: uuid.UUID,
    reason: str,
    version: int | None = None,
    now: dt.datetime | None = None,
) -> None:
    """Undo what was recorded by mistake, or came back: the ledger has its opposite.

    Raises:
        NotFound, VersionMismatch: see ``haven.db.rows.locked``.
        Conflict: it is reversed already.
        Invalid: no reason is given.
    """
    now = now or dt.datetime.now(dt.UTC)
    if not reason.strip():
        raise Invalid.field("reason", "must say why")
    row = locked(session, Disbursement, disbursement_id, version)
    if row.status == "REVERSED":
        raise Conflict("It is already reversed.")
    row.status = "REVERSED"
    row.reversed_at = now
    row.reversal_reason = reason.strip()
    session.flush()
    ledger.mirror_disbursement(
        session, disbursement_id, now, f"{_WORDS[row.kind]}, reversed: {reason.strip()}"
    )


def record(
    session: Session,
    kind: Kind,
    body: Mapping[str, Any],
    now: dt.datetime | None,
    *,
    lease_id: uuid.UUID | None = None,
    owner_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Write and post one disbursement, of a locked lease or owner; its id. Whether it may be is the caller's to say.

    Raises:
        Invalid: the amount, the method or the time breaks a rule.
    """
    now = now or dt.datetime.now(dt.UTC)
    amount, method = body["amount"], body["method"]
    if amount <= 0 or amount != round(amount, 2):
        raise Invalid.field("amount", "must be above 0.00, with at most two decimals")
    if method not in METHODS:
        raise Invalid.field("method", f"must be one of {', '.join(METHODS)}")
    paid_at = _paid_at(body.get("paid_at"), now)
    agency_id, row_id = tenant_of(session).agency_id, new_id()
    currency = session.execute(select(Agency.currency).where(Agency.id == agency_id)).scalar_one()
    description = body.get("description") or _WORDS[kind]
    session.add(
        Disbursement(
            agency_id=agency_id,
            id=row_id,
            kind=kind,
            lease_id=lease_id,
            owner_id=owner_id,
            amount=amount,
            currency=currency,
            method=method,
            reference=body.get("reference"),
            description=description,
            paid_at=paid_at,
        )
    )
    session.flush()
    debited = ledger.DEPOSITS_HELD if kind == "DEPOSIT_REFUND" else ledger.OWNER_PAYABLE
    entries = (
        ledger.Entry(debited, debit=amount, owner_id=owner_id),
        ledger.Entry(ledger.CLEARING_OF_METHOD[method], credit=amount),
    )
    words = f"{_WORDS[kind]} by {method}" + ("" if description == _WORDS[kind] else f": {description}")
    ledger.post(session, [ledger.Posting(kind, paid_at, words, entries, disbursement_id=row_id)])
    return row_id


def owner_payable(session: Session, owner_id: uuid.UUID) -> Decimal:
    """What is the owner's, by the ledger; below nought: what he owes."""
    agency_id = tenant_of(session).agency_id
    return session.execute(
        select(func.coalesce(func.sum(LedgerEntry.credit - LedgerEntry.debit), ledger.NOUGHT))
        .join(
            LedgerAccount,
            (LedgerAccount.agency_id == LedgerEntry.agency_id) & (LedgerAccount.id == LedgerEntry.account_id),
        )
        .where(
            LedgerAccount.agency_id == agency_id,
            LedgerAccount.code == ledger.OWNER_PAYABLE,
            LedgerAccount.owner_id == owner_id,
        )
    ).scalar_one()


def _lock_owner(session: Session, owner_id: uuid.UUID) -> None:
    """Payouts of one owner take turns; foreign keys that point at him may still be checked."""
    found = session.execute(
        select(Owner.id)
        .where(Owner.agency_id == tenant_of(session).agency_id, Owner.id == owner_id)
        .with_for_update(key_share=True)
    ).first()
    if found is None:
        raise NotFound(f"There is no owner {owner_id}.")


def _paid_at(given: dt.datetime | None, now: dt.datetime) -> dt.datetime:
    if given is None:
        return now
    if given.tzinfo is None:
        raise Invalid.field("paid_at", "must have a time zone")
    if given > now + _CLOCK_SKEW:
        raise Invalid.field("paid_at", "must not be in the future")
    return min(given, now)
