"""What was collected for the owners of a demo: a share of each invoice that was paid, by owner and month in the ledger.

Haven posts it with each payment; here one posting for each owner and month stands for them, at the moment of the
month's last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from haven.demo.calendar import date_of, local_day
from haven.demo.figures import Invoice
from haven.demo.tenancies import Owner


@dataclass(slots=True, eq=False)
class Share:
    """What has been collected of one invoice for the owner of its unit, and the fee on its rent. Cents."""

    invoice: Invoice
    rent: int
    other: int
    fee: int

    @property
    def owner(self) -> Owner:
        return self.invoice.lease.unit.owner


@dataclass(slots=True, eq=False)
class Collected:
    """What was collected for one owner in one month; ``at`` is when the last of it came. Cents."""

    owner: Owner
    at: int
    rent: int = 0
    other: int = 0
    fee: int = 0


def shares(invoices: Iterable[Invoice]) -> Iterator[Share]:
    """The share of each invoice of which something is paid: rent first, other charges next, deposits last.

    As ``haven.billing.owner_shares`` says it; the fee is rounded half up.
    """
    for invoice in invoices:
        if not invoice.paid:
            continue
        rent = deposit = 0
        for kind, _, cents in invoice.lines:
            if kind == "RENT":
                rent += cents
            elif kind == "DEPOSIT":
                deposit += cents
        income = min(invoice.paid, max(invoice.total - deposit, 0))
        rent = min(income, rent)
        fee = (rent * invoice.lease.unit.owner.fee_percent + 5_000) // 10_000
        yield Share(invoice, rent, income - rent, fee)


def by_month(collected: Iterable[Share]) -> list[Collected]:
    """The shares of each owner in each month of Nairobi, in no order of time."""
    month_of_day: dict[int, int] = {}
    sums: dict[tuple[Owner, int], Collected] = {}
    for share in collected:
        at = share.invoice.changed
        day = local_day(at)
        month = month_of_day.get(day)
        if month is None:
            date = date_of(day)
            month = month_of_day[day] = date.year * 12 + date.month
        key = (share.owner, month)
        of_month = sums.get(key)
        if of_month is None:
            of_month = sums[key] = Collected(share.owner, at)
        of_month.at = max(of_month.at, at)
        of_month.rent += share.rent
        of_month.other += share.other
        of_month.fee += share.fee
    return list(sums.values())
