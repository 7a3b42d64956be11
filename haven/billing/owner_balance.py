"""What has been collected for an owner, what was taken off it, and what is his: all from the ledger."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from haven.billing import ledger
from haven.billing.days import AgencyDay
from haven.db.session import tenant_of
from haven.errors import NotFound
from haven.portfolio.models import Owner


@dataclass(frozen=True, slots=True)
class OwnerBalance:
    """``opening_balance + collected - management_fee - expenses - payouts = closing_balance``.

    Below nought a balance is what the owner owes. ``rent_collected`` is that part of ``collected`` of which the fee
    is reckoned.
    """

    opening_balance: Decimal
    collected: Decimal
    rent_collected: Decimal
    management_fee: Decimal
    expenses: Decimal
    payouts: Decimal
    closing_balance: Decimal


# A reversal counts as what it reverses, in the days in which it happened.
_BALANCE: Final = text(
    """
    WITH event AS MATERIALIZED (
      SELECT t.id, coalesce(r.kind, t.kind) AS kind, t.at < :begins AS is_before, sum(e.credit - e.debit) AS net
        FROM ledger_account a
        JOIN ledger_entry e ON e.agency_id = a.agency_id AND e.account_id = a.id
        JOIN ledger_transaction t ON t.agency_id = e.agency_id AND t.id = e.transaction_id
        LEFT JOIN ledger_transaction r ON r.agency_id = t.agency_id AND r.id = t.reverses_id
       WHERE a.agency_id = :agency_id AND a.code = 'OWNER_PAYABLE' AND a.owner_id = :owner_id AND t.at < :ends
       GROUP BY t.id, r.kind, t.kind, t.at
    )
    SELECT coalesce(sum(net) FILTER (WHERE is_before), 0),
           coalesce(sum(net) FILTER (WHERE kind = 'COLLECTED' AND NOT is_before), 0),
           (SELECT coalesce(sum(e.debit - e.credit), 0)
              FROM event JOIN ledger_entry e ON e.agency_id = :agency_id AND e.transaction_id = event.id
              JOIN ledger_account a ON a.agency_id = e.agency_id AND a.id = e.account_id
             WHERE event.kind = 'COLLECTED' AND NOT is_before AND a.code = 'RENT_TO_OWNERS'),
           coalesce(-sum(net) FILTER (WHERE kind = 'MANAGEMENT_FEE' AND NOT is_before), 0),
           coalesce(-sum(net) FILTER (WHERE kind = 'EXPENSE' AND NOT is_before), 0),
           coalesce(-sum(net) FILTER (WHERE kind = 'PAYOUT' AND NOT is_before), 0),
           coalesce(sum(net), 0)
      FROM event
    """
)


def owner_balance(
    session: Session, owner_id: uuid.UUID, day: AgencyDay, first: dt.date, last: dt.date
) -> OwnerBalance:
    """The owner's balance over the days from ``first`` to ``last``, both inclusive, where the agency is.

    Raises:
        NotFound: there is no such owner in this agency.
    """
    agency_id = tenant_of(session).agency_id
    is_there = select(Owner.id).where(Owner.agency_id == agency_id, Owner.id == owner_id)
    if session.execute(is_there).first() is None:
        raise NotFound(f"There is no owner {owner_id}.")
    values = {
        "agency_id": agency_id,
        "owner_id": owner_id,
        "begins": day.begins(first),
        "ends": day.ends(last),
    }
    sums = session.execute(_BALANCE, values).one()
    return OwnerBalance(*(ledger.NOUGHT + one for one in sums))
