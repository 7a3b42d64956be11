"""Months, and what a part of one costs: rent by actual days, rounded half up to the cent."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from haven.errors import Invalid

CENT: Final = Decimal("0.01")
_PERIOD: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
_FIRST_YEAR: Final = 1970


@dataclass(frozen=True, slots=True)
class Stay:
    """The days of one month that a lease covers, both inclusive."""

    first: dt.date
    last: dt.date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1


def month_of(period: str) -> dt.date:
    """The first day of a month written ``2026-11``.

    Raises:
        Invalid: it is not written so.
    """
    if not _PERIOD.fullmatch(period) or int(period[:4]) < _FIRST_YEAR:
        raise Invalid.field("period", 'must be a month such as "2026-11"')
    return dt.date(int(period[:4]), int(period[5:]), 1)


def last_day(month: dt.date) -> dt.date:
    """The last day of the month that a date is in."""
    return month.replace(day=days_in(month))


def days_in(month: dt.date) -> int:
    """How many days that month has."""
    return calendar.monthrange(month.year, month.month)[1]


def stay(month: dt.date, start: dt.date, end: dt.date | None) -> Stay | None:
    """The days of ``month`` (its first day) that a lease from ``start`` to ``end`` covers; None: none.

    Args:
        end: the lease's last day; None for a lease without end.
    """
    first = max(month, start)
    last = last_day(month) if end is None else min(last_day(month), end)
    return Stay(first, last) if first <= last else None


def prorated(rent: Decimal, month: dt.date, days: int) -> Decimal:
    """The rent of ``days`` days: monthly rent * days / days in that month, half up to the cent.

    Source: the letting trade's "actual days" method. A whole month costs exactly the rent.
    """
    return (rent * days / days_in(month)).quantize(CENT, rounding=ROUND_HALF_UP)


def due_date(month: dt.date, billing_day: int, first: dt.date) -> dt.date:
    """When rent for ``month`` is due: on the lease's billing day, but not before the first day it is for."""
    return max(month.replace(day=billing_day), first)
