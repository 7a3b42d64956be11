"""Settling a deposit when its lease is over: it pays arrears, is retained for a reason, or goes back.

What pays arrears is a payment by DEPOSIT, whose money is held already: it is allocated, receipted and reversed as
any other. What is retained is charged first, by an invoice that says what for. What goes back is a disbursement.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from haven.billing import disbursements, ledger, numbers
from haven.billing.allocation import UNPAID, allocate_payment
from haven.billing.days import agency_day
from haven.billing.deposit_held import Deposit, deposit_of
from haven.billing.issuing import Charge, Line, issue_charges, tell_issued
from haven.billing.locks import LockedLease, lock_lease
from haven.billing.models import Invoice
from haven.billing.owner_shares import owner_postings
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import Conflict, Fault, Invalid, NotFound
from haven.leasing.models import Lease
from haven.payments.models import Payment

_OVER: Final = ("ENDED", "TERMINATED")


def apply_to_arrears(
    session: Session, lease_id: uuid.UUID, amount: Decimal | None = None, now: dt.datetime | None = None
) -> uuid.UUID:
    """Let the deposit pay what the lease owes, the oldest first; the payment's id.

    Args:
        amount: None: as much as is held and owed.

    Raises:
        NotFound: there is no such lease in this agency.
        Conflict: the lease is not over, nothing is held or owed, or the amount is more than that.
    """
    now = now or dt.datetime.now(dt.UTC)
    lease = lock_lease(session, lease_id, now)
    held = _held(session, lease)
    owed = _owed(session, lease)
    if owed == 0:
        raise Conflict("Nothing is owed on the lease.")
    paying = min(held, owed) if amount is None else amount
    _check_at_most(paying, owed, "is owed")
    _check_at_most(paying, held, "of the deposit is held")
    return _pay_by_deposit(session, lease, paying, None, now)


def retain(
    session: Session, lease_id: uuid.UUID, amount: Decimal, reason: str, now: dt.datetime | None = None
) -> uuid.UUID:
    """Keep some of the deposit for what the tenant has to make good; the id of the invoice that charges it.

    Raises:
        NotFound: there is no such lease in this agency.
        Conflict: the lease is not over, or the amount is more than is held.
        Invalid: no reason is given.
    """
    now = now or dt.datetime.now(dt.UTC)
    if not reason.strip():
        raise Invalid.field("reason", "must say why")
    lease = lock_lease(session, lease_id, now)
    _check_at_most(amount, _held(session, lease), "of the deposit is held")
    line = Line("OTHER", f"Kept from the deposit: {reason.strip()}", amount)
    charge = Charge(lease.id, lease.tenant_id, lease.today, lease.today, lease.today, [line])
    issue_charges(session, [charge], agency_day(session, now), now)
    _pay_by_deposit(session, lease, amount, charge.invoice_id, now)
    tell_issued(session, [charge.invoice_id])
    return charge.invoice_id


def refund(
    session: Session, lease_id: uuid.UUID, body: Mapping[str, Any], now: dt.datetime | None = None
) -> uuid.UUID:
    """Record that the deposit, or some of it, has gone back to the tenant; the disbursement's id.

    Args:
        body: ``method``; if wanted ``amount`` (all that is held), ``reference``, ``paid_at`` (now).

    Raises:
        NotFound: there is no such lease in this agency.
        Conflict: the lease is not over, or the amount is more than is held.
        Invalid: a value breaks a rule.
    """
    now = now or dt.datetime.now(dt.UTC)
    lease = lock_lease(session, lease_id, now)
    held = _held(session, lease)
    amount = held if body.get("amount") is None else body["amount"]
    _check_at_most(amount, held, "of the deposit is held")
    paid = {**body, "amount": amount}
    return disbursements.record(session, "DEPOSIT_REFUND", paid, now, lease_id=lease.id)


def deposit(session: Session, lease_id: uuid.UUID) -> Deposit:
    """The deposit of a lease.

    Raises:
        NotFound: there is no such lease in this agency.
    """
    is_there = select(Lease.id).where(Lease.agency_id == tenant_of(session).agency_id, Lease.id == lease_id)
    if session.execute(is_there).first() is None:
        raise NotFound(f"There is no lease {lease_id}.")
    return deposit_of(session, lease_id)


def _held(session: Session, lease: LockedLease) -> Decimal:
    """What is held of the deposit of a lease that is over; more than nought."""
    if lease.status not in _OVER:
        raise Conflict(f"The lease is {lease.status}: its deposit is settled once it has been terminated.")
    held = deposit_of(session, lease.id).held
    if held == 0:
        raise Conflict("No deposit is held for the lease.")
    return held


def _owed(session: Session, lease: LockedLease) -> Decimal:
    return session.execute(
        select(func.coalesce(func.sum(Invoice.balance), ledger.NOUGHT)).where(
            Invoice.agency_id == tenant_of(session).agency_id,
            Invoice.lease_id == lease.id,
            Invoice.status.in_(UNPAID),
        )
    ).scalar_one()


def _check_at_most(amount: Decimal, most: Decimal, words: str) -> None:
    if amount <= 0 or amount != round(amount, 2):
        raise Invalid.field("amount", "must be above 0.00, with at most two decimals")
    if amount > most:
        detail = f"{most:.2f} {words}, not {amount:.2f}."
        raise Conflict(detail, faults=(Fault("/amount", detail),))


def _pay_by_deposit(
    session: Session, lease: LockedLease, amount: Decimal, invoice_id: uuid.UUID | None, now: dt.datetime
) -> uuid.UUID:
    """A completed payment whose money is the deposit. No money has come in, so no webhook tells of it."""
    payment_id, number = new_id(), numbers.take(session, "RECEIPT")
    session.add(
        Payment(
            agency_id=tenant_of(session).agency_id,
            id=payment_id,
            lease_id=lease.id,
            tenant_id=lease.tenant_id,
            invoice_id=invoice_id,
            amount=amount,
            currency=lease.currency,
            method="DEPOSIT",
            status="COMPLETED",
            paid_at=now,
            receipt_number=number,
        )
    )
    session.flush()
    shares = allocate_payment(session, lease, payment_id, invoice_id)
    allocated = sum((share.amount for share in shares), ledger.NOUGHT)
    name = f"DEPOSIT payment {numbers.receipt_number(number)}"
    posting = ledger.payment_posting(payment_id, lease.id, name, now, "DEPOSIT", amount, allocated)
    ledger.post(session, [posting, *owner_postings(session, {s.invoice_id for s in shares}, now)])
    return payment_id
