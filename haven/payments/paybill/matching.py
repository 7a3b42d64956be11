"""Which lease money paid to the paybill is for: by the account that was typed, by the payer, by what is owed.

The first of them that says anything decides, or the money waits for a person: a weaker sign never overrules a
stronger one, and of two leases that fit equally none is taken.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.billing.models import Invoice
from haven.db.session import tenant_of
from haven.leasing.models import Lease, Tenant
from haven.payments.mpesa.eat import EAT
from haven.payments.paybill.accounts import folded, stripped
from haven.payments.paybill.payers import Payer, payer_of
from haven.payments.paybill.seen import Seen
from haven.portfolio.models import Unit

MatchedBy = Literal["ACCOUNT", "PAYER", "BALANCE"]
_MOST: Final = 50


@dataclass(frozen=True, slots=True)
class Place:
    """The lease that money is for, and what said so."""

    lease_id: uuid.UUID
    matched_by: MatchedBy


@dataclass(frozen=True, slots=True)
class Candidate:
    """A lease that may be meant; ``owed`` is the sum of its open balances, ``phone`` its tenant's (E.164)."""

    id: uuid.UUID
    status: str
    start_date: dt.date
    end_date: dt.date | None
    phone: str | None
    owed: Decimal

    def runs_on(self, day: dt.date) -> bool:
        return self.start_date <= day and (self.end_date is None or day <= self.end_date)


def place(session: Session, account: str, payer: Payer, amount: Decimal, at: dt.datetime) -> Place | None:
    """The lease that the money is for; None where nothing says it, or two things say different ones.

    At most three statements, each by an index led by the agency, but for the last: what is owed by whom.
    """
    units = _units(session, account)
    if units:
        leases = _leases(session, Lease.unit_id.in_(units))
        found = (
            _of_unit(leases, payer, at)
            if len(units) == 1
            else _only([one for one in leases if payer.is_owner_of(one.phone)])
        )
        return None if found is None else Place(found.id, "ACCOUNT")
    # Payers type their phone where the account belongs.
    for named in (payer_of(account), payer):
        leases = _leases_of_payer(session, named)
        if leases:
            found = _of_payer(leases, amount)
            return None if found is None else Place(found.id, "PAYER")
    lease_id = _only_one_that_owes(session, amount)
    return None if lease_id is None else Place(lease_id, "BALANCE")


def place_of(session: Session, seen: Seen) -> Place | None:
    """``place`` of money that was seen."""
    return place(session, seen.account, seen.payer, seen.amount, seen.paid_at)


def _units(session: Session, account: str) -> list[uuid.UUID]:
    """The unit that the account names, or all that it may name: exact spelling goes before look-alikes."""
    key = folded(account)
    if not key:
        return []
    rows = session.execute(
        select(Unit.id, Unit.payment_reference)
        .where(Unit.agency_id == tenant_of(session).agency_id, Unit.account_key == key)
        .limit(_MOST)
    ).all()
    exact = [row.id for row in rows if stripped(row.payment_reference) == stripped(account)]
    return exact if len(exact) == 1 else [row.id for row in rows]


def _leases_of_payer(session: Session, payer: Payer) -> list[Candidate]:
    if payer.digest is not None:
        return _leases(session, Tenant.phone_hash == payer.digest)
    if not payer.begins:
        return []
    rows = _leases(
        session,
        Tenant.phone_ending == payer.ends[-3:],
        # Not LIKE with a pattern from outside: the digits were checked, and a prefix is a range.
        func.left(Tenant.phone, len(payer.begins)) == payer.begins,
        func.right(Tenant.phone, len(payer.ends)) == payer.ends,
    )
    return [one for one in rows if one.status == "ACTIVE"]


def _leases(session: Session, *conditions: ColumnElement[bool]) -> list[Candidate]:
    """Leases that money can be for, active or not: the newest fifty."""
    agency_id = tenant_of(session).agency_id
    owed = (
        select(func.coalesce(func.sum(Invoice.balance), 0))
        .where(
            Invoice.agency_id == agency_id,
            Invoice.lease_id == Lease.id,
            Invoice.status.in_(billing.UNPAID),
        )
        .correlate(Lease)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Lease.id, Lease.status, Lease.start_date, Lease.end_date, Tenant.phone, owed)
        .join(Tenant, and_(Tenant.agency_id == Lease.agency_id, Tenant.id == Lease.tenant_id))
        .where(Lease.agency_id == agency_id, Lease.status != "DRAFT", *conditions)
        .order_by(Lease.start_date.desc(), Lease.id)
        .limit(_MOST)
    )
    return [Candidate(*row) for row in rows]


def _of_unit(leases: Sequence[Candidate], payer: Payer, at: dt.datetime) -> Candidate | None:
    """Of one unit: a lease whose tenant is just the payer, else the active one, else the one that still owes."""
    active = [one for one in leases if one.status == "ACTIVE"]
    if payer.is_exact:
        mine = [one for one in leases if payer.is_owner_of(one.phone) and (one in active or one.owed > 0)]
        if len(mine) == 1:
            return mine[0]
    if active:
        running = [one for one in active if one.runs_on(at.astimezone(EAT).date())]
        return _only(active) or _only(running)
    return _only([one for one in leases if one.owed > 0])


def _of_payer(leases: Sequence[Candidate], amount: Decimal) -> Candidate | None:
    """Of the leases of one payer: the active one, else the one that owes; of several, the one that owes just this."""
    active = [one for one in leases if one.status == "ACTIVE"]
    paying = active or [one for one in leases if one.owed > 0]
    return _only(paying) or _only([one for one in paying if one.owed == amount])


def _only(leases: Sequence[Candidate]) -> Candidate | None:
    return leases[0] if len(leases) == 1 else None


def _only_one_that_owes(session: Session, amount: Decimal) -> uuid.UUID | None:
    """The lease that owes exactly this, where no other does."""
    found = session.execute(
        select(Invoice.lease_id)
        .where(
            Invoice.agency_id == tenant_of(session).agency_id,
            Invoice.status.in_(billing.UNPAID),
        )
        .group_by(Invoice.lease_id)
        .having(func.sum(Invoice.balance) == amount)
        .limit(2)
    ).scalars()
    leases = found.all()
    return leases[0] if len(leases) == 1 else None
