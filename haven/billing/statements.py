"""A tenant's statement, read from the ledger: what stands on it and what it adds up to cannot differ.

The balance is that of the receivables of all his leases less his credit. Money that moves between the two (credit
that pays an invoice) changes nothing that is owed, and is no line. A deposit that goes back is a line that releases
what was held and pays it out: the balance stays.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from haven.billing import ledger
from haven.billing.days import AgencyDay
from haven.db.session import tenant_of
from haven.errors import Invalid, NotFound
from haven.leasing.models import Tenant

MAX_LINES: Final = 2000


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One event. ``debit``: owed more, or paid out; ``credit``: owed less, or released; ``balance``: after it."""

    at: dt.datetime
    date: dt.date
    kind: str
    description: str
    lease_id: uuid.UUID
    invoice_id: uuid.UUID | None
    payment_id: uuid.UUID | None
    debit: Decimal
    credit: Decimal
    balance: Decimal


@dataclass(frozen=True, slots=True)
class TenantStatement:
    """What was owed before, what happened in order, and what is owed after; below nought: credit."""

    opening_balance: Decimal
    lines: Sequence[StatementLine]
    closing_balance: Decimal


_STATEMENT: Final = """
    WITH account AS (
      SELECT a.id, a.lease_id FROM lease l JOIN ledger_account a ON a.agency_id = l.agency_id AND a.lease_id = l.id
       WHERE l.agency_id = :agency_id AND l.tenant_id = :tenant_id
         AND a.code IN ('TENANT_RECEIVABLE', 'TENANT_CREDIT')
    ), moved AS (
      SELECT e.transaction_id, account.lease_id, sum(e.debit - e.credit) AS net
        FROM account JOIN ledger_entry e ON e.agency_id = :agency_id AND e.account_id = account.id
       GROUP BY e.transaction_id, account.lease_id HAVING sum(e.debit - e.credit) <> 0
    )
    {asked}
"""
_OPENING: Final = text(
    _STATEMENT.format(
        asked="""
    SELECT coalesce(sum(m.net), 0) FROM moved m
      JOIN ledger_transaction t ON t.agency_id = :agency_id AND t.id = m.transaction_id
     WHERE t.at < :begins
    """
    )
)
_LINES: Final = text(
    _STATEMENT.format(
        asked="""
    SELECT t.at, t.id,
           CASE WHEN t.kind = 'INVOICE' AND i.late_fee_of IS NOT NULL THEN 'LATE_FEE'
                WHEN t.kind = 'INVOICE_VOID' THEN 'VOID'
                WHEN t.kind IN ('PAYMENT', 'MATCHED') AND p.method = 'DEPOSIT' THEN 'DEPOSIT_USED'
                WHEN t.kind = 'MATCHED' THEN 'PAYMENT'
                WHEN t.kind IN ('INVOICE', 'CREDIT_NOTE', 'PAYMENT', 'REVERSAL') THEN t.kind
                ELSE 'OTHER' END AS kind,
           t.description, m.lease_id, t.invoice_id, t.payment_id,
           greatest(m.net, 0) AS debit, greatest(-m.net, 0) AS credit
      FROM moved m
      JOIN ledger_transaction t ON t.agency_id = :agency_id AND t.id = m.transaction_id
      LEFT JOIN invoice i ON i.agency_id = :agency_id AND i.id = t.invoice_id
      LEFT JOIN payment p ON p.agency_id = :agency_id AND p.id = t.payment_id
     WHERE t.at >= :begins AND t.at < :ends
    UNION ALL
    SELECT t.at, t.id, CASE WHEN t.reverses_id IS NULL THEN 'DEPOSIT_REFUND' ELSE 'REVERSAL' END, t.description,
           d.lease_id, NULL, NULL, d.amount, d.amount
      FROM lease l
      JOIN disbursement d ON d.agency_id = l.agency_id AND d.lease_id = l.id
      JOIN ledger_transaction t ON t.agency_id = d.agency_id AND t.disbursement_id = d.id
     WHERE l.agency_id = :agency_id AND l.tenant_id = :tenant_id AND t.at >= :begins AND t.at < :ends
     ORDER BY 1, 2 LIMIT :limit
    """
    )
)


def tenant_statement(
    session: Session,
    tenant_id: uuid.UUID,
    day: AgencyDay,
    first: dt.date,
    last: dt.date,
    most: int = MAX_LINES,
) -> TenantStatement:
    """The statement of the days from ``first`` to ``last``, both inclusive, where the agency is: three statements.

    Raises:
        NotFound: there is no such tenant in this agency.
        Invalid: there are more than ``most`` lines in these days.
    """
    agency_id = tenant_of(session).agency_id
    is_there = select(Tenant.id).where(Tenant.agency_id == agency_id, Tenant.id == tenant_id)
    if session.execute(is_there).first() is None:
        raise NotFound(f"There is no tenant {tenant_id}.")
    values = {
        "agency_id": agency_id,
        "tenant_id": tenant_id,
        "begins": day.begins(first),
        "ends": day.ends(last),
    }
    opening = ledger.NOUGHT + session.execute(_OPENING, values).scalar_one()
    rows = session.execute(_LINES, {**values, "limit": most + 1}).all()
    if len(rows) > most:
        raise Invalid.field(
            "from",
            f"these days have more than {most} lines: ask for fewer, or export invoices and payments"
            f" (POST /api/v1/exports/payments with the filter tenant_id={tenant_id})",
        )
    lines = list(_running(rows, opening, day))
    return TenantStatement(opening, lines, lines[-1].balance if lines else opening)


def _running(rows: Sequence[Any], opening: Decimal, day: AgencyDay) -> Iterator[StatementLine]:
    balance = opening
    for row in rows:
        balance += row.debit - row.credit
        yield StatementLine(
            row.at,
            row.at.astimezone(day.zone).date(),
            row.kind,
            row.description,
            row.lease_id,
            row.invoice_id,
            row.payment_id,
            ledger.NOUGHT + row.debit,
            ledger.NOUGHT + row.credit,
            balance,
        )
