"""The statements of one owner and of one tenant: an opening balance, what happened in order, a closing balance. From the ledger."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.billing.days import AgencyDay
from haven.billing.owner_balance import owner_balance
from haven.billing.statements import tenant_statement
from haven.db.session import tenant_of
from haven.errors import NotFound
from haven.insight.reports.asking import Ask
from haven.insight.reports.document import Chart, Column, Document, Frame, Table, Value
from haven.insight.reports.money import NOUGHT, money, totals
from haven.insight.reports.statements import rows_of
from haven.leasing.models import Tenant
from haven.portfolio.models import Owner

_IN_OUT: Final = money(("in", "In"), ("out", "Out"), ("balance", "Balance"))
_DEBIT_CREDIT: Final = money(("debit", "Charged"), ("credit", "Paid"), ("balance", "Balance"))
_LINE: Final = [Column("date", "Date", "date"), Column("kind", "Kind"), Column("description", "Description")]


def owner_report(
    session: Session, ask: Ask, frame: Frame, values: dict[str, Any], day: AgencyDay
) -> Document:
    """What was collected for an owner, what was taken off it, and what is his: four statements.

    Raises:
        NotFound: there is no such owner in this agency.
    """
    owner_id = ask.filters["owner_id"]
    balance = owner_balance(session, owner_id, day, ask.first, frame.as_of)
    found = rows_of(session, "owner_lines", values)
    rows: list[tuple[Value, ...]] = []
    months = dict.fromkeys(_months(ask.first, frame.as_of), NOUGHT)
    left = balance.opening_balance
    for row in found:
        left += row.net
        date = row.at.astimezone(day.zone).date()
        words = row.kind.replace("_", " ").capitalize()
        rows.append((date, words, row.description, max(row.net, NOUGHT), max(-row.net, NOUGHT), left))
        if row.kind == "COLLECTED":
            months[date.replace(day=1)] += row.rent
    columns = [*_LINE, *_IN_OUT]
    sums = totals(columns, rows) | {"balance": left}
    month_columns = [Column("month", "Month"), *money(("rent", "Gross rent"))]
    month_rows: list[tuple[Value, ...]] = [(f"{month:%B %Y}", rent) for month, rent in months.items()]
    tables = [
        Table(
            "months",
            "Gross rent collected, by month",
            month_columns,
            month_rows,
            totals(month_columns, month_rows),
        ),
        Table("lines", "What happened", columns, rows, sums),
    ]
    facts: list[tuple[Column, Value]] = [
        (Column("opening_balance", "Opening balance", "money"), balance.opening_balance),
        (Column("collected", "Collected", "money"), balance.collected),
        (Column("rent_collected", "Of it rent", "money"), balance.rent_collected),
        (Column("management_fee", "Management fee", "money"), balance.management_fee),
        (Column("expenses", "Expenses", "money"), balance.expenses),
        (Column("payouts", "Paid out", "money"), balance.payouts),
        (Column("closing_balance", "Closing balance", "money"), balance.closing_balance),
    ]
    chart = Chart(
        "Gross rent collected, by month", "bars", frame.currency, [f"{month:%b %Y}" for month in months],
        [("Rent", list(months.values()))],
    )  # fmt: skip
    notes = [
        "Opening balance + collected − management fee − expenses − payouts = closing balance. The fee is a per cent of the"
        " rent collected. A reversal counts as what it reverses, on the day it happened.",
        "The gross rent by month is what a return of monthly rental income tax asks for. The tax itself is the owner's matter.",
    ]
    name = _name(session, Owner, owner_id)
    return Document(ask.kind, "Owner statement", name, frame, facts, tables, [chart], notes)


def tenant_report(session: Session, ask: Ask, frame: Frame, day: AgencyDay) -> Document:
    """What a tenant was charged and has paid, line by line: four statements.

    Raises:
        NotFound: there is no such tenant in this agency.
        Invalid: these days have more lines than a statement may.
    """
    tenant_id = ask.filters["tenant_id"]
    found = tenant_statement(session, tenant_id, day, ask.first, frame.as_of)
    columns = [*_LINE, *_DEBIT_CREDIT]
    rows: list[tuple[Value, ...]] = [
        (
            line.date,
            line.kind.replace("_", " ").capitalize(),
            line.description,
            line.debit,
            line.credit,
            line.balance,
        )
        for line in found.lines
    ]
    sums = totals(columns, rows) | {"balance": found.closing_balance}
    facts: list[tuple[Column, Value]] = [
        (Column("opening_balance", "Opening balance", "money"), found.opening_balance),
        (Column("charged", "Charged", "money"), sums["debit"]),
        (Column("paid", "Paid", "money"), sums["credit"]),
        (Column("closing_balance", "Closing balance", "money"), found.closing_balance),
    ]
    labels, balances = ["before"], [found.opening_balance]
    for line in found.lines:
        labels.append(f"{line.date:%-d %b %y}")
        balances.append(line.balance)
    chart = Chart("Balance", "lines", frame.currency, labels, [("Balance", balances)])
    notes = [
        "Opening balance + charged − paid = closing balance. Above nought the tenant owes; below, he has credit. All from the"
        " ledger, on the days it was posted.",
    ]
    tables = [Table("lines", "What happened", columns, rows, sums)]
    name = _name(session, Tenant, tenant_id)
    return Document(ask.kind, "Tenant statement", name, frame, facts, tables, [chart], notes)


def _months(first: dt.date, last: dt.date) -> list[dt.date]:
    found, month = [], first.replace(day=1)
    while month <= last:
        found.append(month)
        month = (month + dt.timedelta(days=31)).replace(day=1)
    return found


def _name(session: Session, model: type[Owner | Tenant], row_id: Any) -> str:
    query = select(model.full_name).where(model.agency_id == tenant_of(session).agency_id, model.id == row_id)
    name = session.execute(query).scalar_one_or_none()
    if name is None:
        raise NotFound(f"There is no {model.__tablename__} {row_id}.")
    return str(name)
