"""Asking a phone for rent (STK push), first step: what is about to be done is checked and written down.

The other two, ringing and writing down the answer, are in ``haven.payments.ringing``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import and_, exists, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.billing.models import Invoice
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid
from haven.identity.models import Agency
from haven.leasing.models import Lease
from haven.payments import funnel
from haven.payments.models import MpesaAttempt, Payment
from haven.payments.mpesa.client import (
    MAX_AMOUNT,
    account_reference,
)
from haven.payments.phones import InvalidPhone, normalise_phone
from haven.payments.queries import next_query
from haven.payments.statuses import OPEN_ATTEMPT
from haven.portfolio.models import Unit

if TYPE_CHECKING:
    pass

log = structlog.get_logger(__name__)

SAME_AMOUNT_WAIT: Final = dt.timedelta(minutes=2)
"""M-Pesa refuses the same amount from the same payer within this time (its result code 17)."""
OPEN_REQUEST_WAIT_S: Final = 60
"""Seconds to leave a phone alone that has a request open (Daraja: at least a minute)."""


@dataclass(frozen=True, slots=True)
class Push:
    """A request for money that is written down and about to be sent."""

    agency_id: uuid.UUID
    actor: str
    payment_id: uuid.UUID
    attempt_id: uuid.UUID
    phone: str
    amount: Decimal
    reference: str
    description: str
    token: str = field(repr=False)

    def callback_url(self, public_url: str) -> str:
        """Where M-Pesa says what became of it; the token in it is the only secret of the callback."""
        return f"{public_url.rstrip('/')}/api/v1/hooks/stk/{self.token}"


def start_push(
    session: Session,
    *,
    phone: str,
    amount: Decimal,
    lease_id: uuid.UUID | None = None,
    invoice_id: uuid.UUID | None = None,
    now: dt.datetime | None = None,
) -> Push:
    """A payment, PENDING, and the attempt behind it. The caller commits, and only then sends the push.

    Args:
        phone: any Kenyan mobile form.
        amount: whole shillings, 1 to 250,000.
        lease_id, invoice_id: exactly one of them; the invoice is paid first, then the lease's oldest.

    Raises:
        Invalid: phone or amount cannot be, or there is no such lease or invoice.
        Conflict: nothing can be owed, the phone has a request open, or the same amount went to it two minutes
        ago or less;
            ``retry_after_s`` says when to try again.
    """
    now = now or dt.datetime.now(dt.UTC)
    payer, amount = _payer(phone), _whole_shillings(amount)
    target = _target(session, lease_id, invoice_id)
    _check_phone_is_free(session, payer, amount, now)
    agency_id, payment_id, attempt_id = tenant_of(session).agency_id, new_id(), new_id()
    token = new_token(agency_id)
    session.execute(
        insert(Payment).values(
            agency_id=agency_id,
            id=payment_id,
            lease_id=target.lease_id,
            tenant_id=target.tenant_id,
            invoice_id=invoice_id,
            amount=amount,
            currency=target.currency,
            method="MPESA",
            status="PENDING",
            phone=payer,
        )
    )
    inserted = session.execute(
        insert(MpesaAttempt)
        .values(
            agency_id=agency_id,
            id=attempt_id,
            payment_id=payment_id,
            phone=payer,
            amount=amount,
            account_reference=target.reference,
            token_hash=token_hash(token),
            created_at=now,
            next_query_at=next_query(now, now),
        )
        .on_conflict_do_nothing(
            index_elements=["agency_id", "phone"],
            index_where=text("state IN ('SENDING', 'ACCEPTED', 'UNKNOWN')"),
        )
        .returning(MpesaAttempt.id)
    ).scalar_one_or_none()
    # Two requests at once both find the phone free; the unique index lets one of them through.
    if inserted is None:
        raise _open_request()
    funnel.count(session, funnel.ASKED)
    return Push(
        agency_id=agency_id,
        actor=tenant_of(session).actor,
        payment_id=payment_id,
        attempt_id=attempt_id,
        phone=payer,
        amount=amount,
        reference=target.reference,
        description=target.description,
        token=token,
    )


def new_token(agency_id: uuid.UUID) -> str:
    """The secret of a callback address: whose it is, then 256 random bits, all in lower-case hex.

    Hex cannot spell a word that M-Pesa refuses in an address.
    """
    return agency_id.hex + secrets.token_hex(32)


def token_hash(token: str) -> bytes:
    """What is stored of a token: found by an index, so no comparison takes a time that tells anything."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Target:
    """What is to be paid for."""

    lease_id: uuid.UUID
    tenant_id: uuid.UUID
    currency: str
    reference: str
    description: str


def _payer(phone: str) -> str:
    try:
        return normalise_phone(phone)
    except InvalidPhone as error:
        raise Invalid.field("phone", str(error)) from None


def _whole_shillings(amount: Decimal) -> Decimal:
    if not amount.is_finite() or amount != amount.to_integral_value() or not 1 <= amount <= MAX_AMOUNT:
        raise Invalid.field(
            "amount", f"must be whole shillings from 1 to {MAX_AMOUNT:,}, as M-Pesa takes them"
        )
    return amount


def _target(session: Session, lease_id: uuid.UUID | None, invoice_id: uuid.UUID | None) -> _Target:
    if (lease_id is None) == (invoice_id is None):
        raise Invalid.field("lease_id", "name a lease or an invoice, one of them")
    named = Lease.id == lease_id if invoice_id is None else Invoice.id == invoice_id
    of_lease = and_(Invoice.agency_id == Lease.agency_id, Invoice.lease_id == Lease.id)
    query = (
        select(
            Lease.id.label("lease_id"),
            Lease.tenant_id,
            Agency.currency,
            Unit.payment_reference,
            or_(
                Lease.status == "ACTIVE",
                exists().where(of_lease, Invoice.status.in_(billing.UNPAID)).correlate(Lease),
            ).label("may_pay"),
            *((Invoice.status, Invoice.number) if invoice_id else ()),
        )
        .join(Agency, Agency.id == Lease.agency_id)
        .join(Unit, and_(Unit.agency_id == Lease.agency_id, Unit.id == Lease.unit_id))
        .where(Lease.agency_id == tenant_of(session).agency_id, named)
    )
    if invoice_id:
        query = query.join(Invoice, of_lease)
    row = session.execute(query).one_or_none()
    if row is None:
        field = "invoice_id" if invoice_id else "lease_id"
        raise Invalid.field(field, f"there is no {field.removesuffix('_id')} with this id")
    if invoice_id and row.status not in billing.UNPAID:
        raise Conflict(f"The invoice is {row.status}: there is nothing to pay on it.")
    if not row.may_pay:
        raise Conflict("The lease is not active and owes nothing.")
    return _Target(
        row.lease_id,
        row.tenant_id,
        row.currency,
        _reference(row.payment_reference),
        billing.invoice_number(row.number) if invoice_id else "Rent",
    )


def _reference(payment_reference: str) -> str:
    try:
        return account_reference(payment_reference)
    except ValueError:
        raise Conflict(
            f"The unit's payment reference {payment_reference!r} has no letter or digit."
        ) from None


def _check_phone_is_free(session: Session, phone: str, amount: Decimal, now: dt.datetime) -> None:
    """Reads mpesa_attempt(agency_id, phone, amount, created_at) and the index of open attempts."""
    rows = session.execute(
        select(MpesaAttempt.state, MpesaAttempt.amount, MpesaAttempt.created_at).where(
            MpesaAttempt.agency_id == tenant_of(session).agency_id,
            MpesaAttempt.phone == phone,
            or_(
                MpesaAttempt.state.in_(OPEN_ATTEMPT),
                # Where no money moved, M-Pesa has nothing to call a repetition.
                and_(
                    MpesaAttempt.amount == amount,
                    MpesaAttempt.created_at > now - SAME_AMOUNT_WAIT,
                    MpesaAttempt.state.not_in(("REJECTED", "FAILED")),
                ),
            ),
        )
    ).all()
    if any(row.state in OPEN_ATTEMPT for row in rows):
        raise _open_request()
    if rows:
        free_at = max(row.created_at for row in rows) + SAME_AMOUNT_WAIT
        wait_s = max(1, int((free_at - now).total_seconds() + 0.999))
        detail = f"The same amount was asked of this phone a moment ago: M-Pesa takes it again in {wait_s} s."
        raise Conflict(detail, retry_after_s=wait_s)


def _open_request() -> Conflict:
    return Conflict(
        "This phone has a payment request open; wait for its answer.", retry_after_s=OPEN_REQUEST_WAIT_S
    )
