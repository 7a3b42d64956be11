"""The reports once more: every row of the agency is read, and each formula is a loop one can check by eye.

Nothing here is shared with what it checks: days are told by ``zoneinfo``, not by moments in SQL; sums by Python.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy import text

from haven.db.session import tenant_session
from tests.insight.slow_figures import NOUGHT, Books, books_of

CENT = Decimal("0.01")
TABLES = (
    "invoice_line",
    "credit_note_line",
    "ledger_transaction",
    "ledger_entry",
    "ledger_account",
    "owner",
    "tenant",
)


@dataclass
class More:
    """The rest of the agency's rows, by table."""

    books: Books
    rows: dict[str, list[Any]]

    def of(self, table: str, **columns: Any) -> list[Any]:
        return [
            one
            for one in self.rows[table]
            if all(getattr(one, key) == value for key, value in columns.items())
        ]


def all_of(engine, agency_id, property_id=None) -> More:
    with tenant_session(engine, agency_id) as session:
        rows = {table: list(session.execute(text(f"SELECT * FROM {table}")).all()) for table in TABLES}
    return More(books_of(engine, agency_id, property_id), rows)


def add(amounts) -> Decimal:
    return sum(amounts, NOUGHT)


def sums_by() -> defaultdict[Any, Decimal]:
    return defaultdict(lambda: NOUGHT)


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def rate(part, whole):
    return float((Decimal(part) * 100 / Decimal(whole)).quantize(CENT, ROUND_HALF_UP)) if whole else None


def standing(books):
    return [one for one in books.invoices if one.status not in ("DRAFT", "VOID")]


def open_balance(books, invoice, on):
    """What of an invoice is open at the end of a day."""
    paid = (
        one for one in books.allocations if one.invoice_id == invoice.id and books.date(one.created_at) <= on
    )
    return invoice.total - invoice.credited - add(one.amount for one in paid)


def owed(books, on):
    """Invoice → what is open of it at the end of a day."""
    return {
        one.id: (one, open_balance(books, one, on))
        for one in standing(books)
        if books.date(one.issued_at) <= on
    }


def credit(books, on):
    received = [one for one in books.payments if one.status == "COMPLETED" and books.date(one.paid_at) <= on]
    ids = {one.id for one in received}
    spent = [one for one in books.allocations if one.payment_id in ids and books.date(one.created_at) <= on]
    return add(one.amount for one in received) - add(one.amount for one in spent)


def slow_arrears(books, on):
    late = [(on - one.due_at).days for one, _ in owed(books, on).values()]
    open_ = [amount for _, amount in owed(books, on).values()]

    def between(least, most):
        return add(amount for days, amount in zip(late, open_, strict=True) if least <= days <= most)

    return {
        "not_yet_due": between(-(10**6), 0),
        "days_1_to_30": between(1, 30),
        "days_31_to_60": between(31, 60),
        "days_61_to_90": between(61, 90),
        "over_90_days": between(91, 10**6),
        "arrears": between(1, 10**6),
        "credit": credit(books, on),
    }


def in_force(lease, on):
    return (
        lease.status != "DRAFT"
        and lease.start_date <= on
        and (lease.end_date is None or lease.end_date >= on)
    )


def slow_rent_roll(books, on):
    """Unit, tenant's id and rent of each line, and what all leases owe."""
    lines = []
    for unit in books.units:
        leases = [one for one in books.leases if one.unit_id == unit.id and in_force(one, on)]
        lines += [(unit.label, one.rent_amount, one.start_date) for one in leases] or [
            (unit.label, None, None)
        ]
    balances = owed(books, on).values()
    return {
        "lines": sorted(lines, key=str),
        "rent": add(rent for _, rent, _ in lines if rent is not None),
        "owed": add(amount for _, amount in balances),
        "arrears": add(amount for one, amount in balances if one.due_at < on),
        "credit": credit(books, on),
    }


def slow_collections(books, first, last, as_of):
    def within(moment):
        return first <= books.date(moment) <= as_of

    received = [
        one
        for one in books.payments
        if one.status == "COMPLETED" and one.method != "DEPOSIT" and within(one.paid_at)
    ]
    due = [one for one in standing(books) if first <= one.due_at <= last]
    demanded = add(one.total - one.credited for one in due)
    paid = demanded - add(open_balance(books, one, as_of) for one in due)
    invoices = {one.id: one for one in books.invoices}
    allocated = [one for one in books.allocations if one.invoice_id in invoices and within(one.created_at)]
    weight = add(one.amount for one in allocated)
    weighted = add(
        one.amount * (books.date(one.created_at) - invoices[one.invoice_id].due_at).days for one in allocated
    )
    methods, days = sums_by(), sums_by()
    for one in received:
        methods[one.method] += one.amount
        days[books.date(one.paid_at)] += one.amount
    return {
        "collected": add(one.amount for one in received),
        "payments": len(received),
        "due": demanded,
        "due_and_paid": paid,
        "collection_rate": rate(paid, demanded),
        "invoiced": add(one.total - one.credited for one in standing(books) if within(one.issued_at)),
        "days_to_collect": float((weighted / weight).quantize(Decimal("0.1"), ROUND_HALF_UP)) if weight else None,
        "deposits_used": add(
            one.amount for one in books.payments
            if one.method == "DEPOSIT" and one.status == "COMPLETED" and within(one.paid_at)
        ),
        "reversed": add(
            one.amount for one in books.payments
            if one.method != "DEPOSIT" and one.status == "REVERSED" and within(one.paid_at)
        ),
        "methods": dict(methods),
        "days": dict(days),
    }  # fmt: skip


def slow_occupancy(more, first, last):
    books = more.books
    unit_days = let_days = 0
    potential = charged = loss = NOUGHT
    days = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    months = defaultdict(list)
    for day in days:
        months[day.year, day.month].append(day)
    homes = {one.id for one in books.units if one.status != "OUT_OF_SERVICE"}
    units = {one.id: one for one in books.leases}
    for (year, month), part in months.items():
        length = calendar.monthrange(year, month)[1]
        for unit in books.units:
            if unit.id not in homes:
                continue
            leases = [one for one in books.leases if one.unit_id == unit.id]
            let = sum(any(in_force(one, day) for one in leases) for day in part)
            unit_days += len(part)
            let_days += let
            potential += cents(unit.rent_amount * len(part) / length)
            loss += cents(unit.rent_amount * (len(part) - let) / length)
        for one in standing(books):
            if units[one.lease_id].unit_id not in homes:
                continue
            rent = add(line.amount for line in more.of("invoice_line", invoice_id=one.id, kind="RENT"))
            rent -= add(line.amount for line in more.of("credit_note_line", invoice_id=one.id, kind="RENT"))
            whole = (one.period_end - one.period_start).days + 1
            charged += cents(rent * sum(one.period_start <= day <= one.period_end for day in part) / whole)
    return {
        "unit_days": unit_days, "let_days": let_days, "physical": rate(let_days, unit_days), "potential": potential,
        "charged": charged, "vacancy_loss": loss, "economic": rate(charged, potential),
    }  # fmt: skip


def slow_financial(more, first, as_of):
    books = more.books
    before = first - dt.timedelta(days=1)
    issued = [one for one in standing(books) if first <= books.date(one.issued_at) <= as_of]
    kinds = sums_by()
    for one in issued:
        for line in more.of("invoice_line", invoice_id=one.id):
            kinds[line.kind] += line.amount
        for line in more.of("credit_note_line", invoice_id=one.id):
            kinds[line.kind] -= line.amount
    found = slow_collections(books, first, as_of, as_of)
    return {
        "opening": add(amount for _, amount in owed(books, before).values()),
        "opening_arrears": add(amount for one, amount in owed(books, before).values() if one.due_at < first),
        "invoiced": add(one.total - one.credited for one in issued),
        "rent": kinds["RENT"], "utility": kinds["UTILITY"], "late_fee": kinds["LATE_FEE"], "deposit": kinds["DEPOSIT"],
        "other": kinds["OTHER"] + kinds["CREDIT"],
        "collected": found["collected"], "deposits_used": found["deposits_used"],
        "credits_used": credit(books, before) - credit(books, as_of),
        "opening_credit": credit(books, before), "closing_credit": credit(books, as_of),
        "closing": add(amount for _, amount in owed(books, as_of).values()),
        "closing_arrears": add(amount for one, amount in owed(books, as_of).values() if one.due_at < as_of),
    }  # fmt: skip


def slow_owner(more, owner_id, first, as_of):
    """An owner's balance from every entry of his account."""
    accounts = {one.id for one in more.of("ledger_account", code="OWNER_PAYABLE", owner_id=owner_id)}
    posted = {one.id: one for one in more.rows["ledger_transaction"]}
    sums = sums_by()
    for entry in more.rows["ledger_entry"]:
        if entry.account_id not in accounts:
            continue
        one = posted[entry.transaction_id]
        kind = posted[one.reverses_id].kind if one.reverses_id else one.kind
        day, net = more.books.date(one.at), entry.credit - entry.debit
        if day < first:
            sums["opening_balance"] += net
        elif day <= as_of:
            sums[kind] += net
    found = {
        "opening_balance": sums["opening_balance"], "collected": sums["COLLECTED"], "management_fee": -sums["MANAGEMENT_FEE"],
        "expenses": -sums["EXPENSE"], "payouts": -sums["PAYOUT"],
    }  # fmt: skip
    closing = found["opening_balance"] + found["collected"]
    closing -= found["management_fee"] + found["expenses"] + found["payouts"]
    return found | {"closing_balance": closing}


def slow_tenant(more, tenant_id, first, as_of):
    """A tenant's balance from every entry of the accounts of his leases."""
    leases = {one.id for one in more.books.leases if one.tenant_id == tenant_id}
    accounts = {
        one.id for one in more.rows["ledger_account"]
        if one.code in ("TENANT_RECEIVABLE", "TENANT_CREDIT") and one.lease_id in leases
    }  # fmt: skip
    posted = {one.id: one for one in more.rows["ledger_transaction"]}
    opening = closing = NOUGHT
    for entry in more.rows["ledger_entry"]:
        if entry.account_id in accounts:
            day = more.books.date(posted[entry.transaction_id].at)
            opening += entry.debit - entry.credit if day < first else NOUGHT
            closing += entry.debit - entry.credit if day <= as_of else NOUGHT
    return {"opening_balance": opening, "closing_balance": closing}
