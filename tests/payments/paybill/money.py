"""Paying a paybill in tests: its address, what M-Pesa sends to it, and an agency that it belongs to."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import secrets
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from haven.identity.models import Agency
from haven.leasing.models import Lease, Tenant
from haven.operations.models import Alert
from haven.payments import service as payments
from haven.payments.models import C2bAddress, MpesaEvidence, MpesaInbox, Payment, UnmatchedReceipt
from haven.payments.mpesa.eat import stamp
from haven.payments.stk import new_token, token_hash
from haven.portfolio.models import Unit
from tests.payments.conftest import House

ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}
_lines = itertools.count(1000)
_receipts = itertools.count(secrets.randbelow(10**6) * 1000)


def a_receipt() -> str:
    """A receipt that no other test uses."""
    return f"UK{next(_receipts) % 10**8:08d}"


def a_line() -> str:
    """A phone that no other test of the paybill uses, whose owner pays."""
    return f"+2547{next(_lines)}5555"


def an_address(house: House, shortcode: str | None = None) -> str:
    """The token of a paybill address of the agency."""
    token = new_token(house.agency_id)
    with house.session() as session:
        session.add(C2bAddress(agency_id=house.agency_id, shortcode=shortcode, token_hash=token_hash(token)))
    return token


def a_notice(
    receipt: str | None = None,
    amount: Any = "25000.00",
    account: str = "",
    payer: Any = "",
    at: dt.datetime | None = None,
    **fields: Any,
) -> bytes:
    """The body of a C2B confirmation (or validation) as version 2 writes it; fields that are ``...`` are left out."""
    body = {
        "TransactionType": "Pay Bill",
        "TransID": receipt or a_receipt(),
        "TransTime": stamp(at or dt.datetime.now(dt.UTC)),
        "TransAmount": amount,
        "BusinessShortCode": "600100",
        "BillRefNumber": account,
        "InvoiceNumber": "",
        "OrgAccountBalance": "90000.00",
        "ThirdPartyTransID": "",
        "MSISDN": payer,
        "FirstName": "AMINA",
        "MiddleName": "",
        "LastName": "",
    } | fields
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def masked(phone: str) -> str:
    """As C2B v2 writes a payer: ``2547 ***** 126``."""
    return f"{phone[1:5]} ***** {phone[-3:]}"


def keep(house: House, token: str, body: bytes, kind: Any = "C2B_CONFIRMATION") -> Any:
    """Store a callback without applying it; what was kept."""
    with Session(house.engine) as session:
        kept = payments.store_callback(
            session, token=token, body=body, headers={}, address="196.201.212.69", kind=kind
        )
        session.commit()
    return kept


def hear(house: House, token: str, body: bytes, kind: Any = "C2B_CONFIRMATION") -> Any:
    """Store a callback and apply it; its row in the inbox."""
    kept = keep(house, token, body, kind)
    with house.session() as session:
        payments.apply_callback(session, kept)
    with house.session() as session:
        return session.get_one(MpesaInbox, (house.agency_id, kept.id))


def reference_of(house: House, lease_id: Any = None) -> str:
    """The account number of a lease's unit."""
    with house.session() as session:
        return session.execute(
            select(Unit.payment_reference)
            .join(Lease, (Lease.agency_id == Unit.agency_id) & (Lease.unit_id == Unit.id))
            .where(Lease.id == (lease_id or house.lease_id))
        ).scalar_one()


def rename(house: House, reference: str, lease_id: Any = None) -> None:
    """Give a lease's unit another account number."""
    with house.session() as session:
        unit = select(Lease.unit_id).where(Lease.id == (lease_id or house.lease_id)).scalar_subquery()
        session.execute(update(Unit).where(Unit.id == unit).values(payment_reference=reference))


def phone_of(house: House, lease_id: Any = None) -> str:
    """The phone of a lease's tenant."""
    with house.session() as session:
        return session.execute(
            select(Tenant.phone)
            .join(Lease, (Lease.agency_id == Tenant.agency_id) & (Lease.tenant_id == Tenant.id))
            .where(Lease.id == (lease_id or house.lease_id))
        ).scalar_one()


def paid(house: House) -> Any:
    """The agency's completed payments, oldest first."""
    with house.session() as session:
        return session.scalars(
            select(Payment).where(Payment.status == "COMPLETED").order_by(Payment.id)
        ).all()


def waiting(house: House) -> Any:
    """Receipts that wait for a person."""
    with house.session() as session:
        return session.scalars(
            select(UnmatchedReceipt)
            .where(UnmatchedReceipt.payment_id.is_(None))
            .order_by(UnmatchedReceipt.id)
        ).all()


def notes(house: House, payment_id: Any) -> list[MpesaEvidence]:
    """What is kept as evidence of a payment."""
    with house.session() as session:
        return session.scalars(
            select(MpesaEvidence).where(MpesaEvidence.payment_id == payment_id).order_by(MpesaEvidence.id)
        ).all()


def received(house: House) -> Any:
    """What has come into M-Pesa clearing."""
    with house.session() as session:
        return session.execute(
            text(
                "SELECT coalesce(sum(e.debit - e.credit), 0) FROM ledger_entry e"
                " JOIN ledger_account a ON a.agency_id = e.agency_id AND a.id = e.account_id"
                " WHERE a.code = 'MPESA_CLEARING'"
            )
        ).scalar_one()


def set_up(house: House, **columns: Any) -> None:
    """Change the agency."""
    with house.session() as session:
        session.execute(update(Agency).where(Agency.id == house.agency_id).values(**columns))


def alerts(house: House) -> Any:
    """What alerts are about, oldest first."""
    with house.session() as session:
        return session.scalars(select(Alert.fingerprint).order_by(Alert.id)).all()
