"""The month of an agency that figures are of."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from haven.billing.service import AgencyDay
from haven.errors import Fault, Invalid

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Month:
    """A month where the agency is, as it is seen on a day.

    Args:
        first: its first day.
        today: the agency's.
        midnights: the moments at which its days begin, and at last the one at which it is over. In a zone with summer time
            they are not all 24 hours apart.
    """

    first: dt.date
    today: dt.date
    midnights: tuple[dt.datetime, ...]

    @property
    def last(self) -> dt.date:
        """Its last day."""
        return self.day(len(self.midnights) - 1)

    @property
    def as_of(self) -> dt.date:
        """The day that balances and occupancy are of: today, or the last day of a month that is over."""
        return min(self.today, self.last)

    @property
    def is_over(self) -> bool:
        return self.today > self.last

    @property
    def begins(self) -> dt.datetime:
        return self.midnights[0]

    @property
    def ends(self) -> dt.datetime:
        """The first moment after it."""
        return self.midnights[-1]

    def day(self, number: int) -> dt.date:
        """Its day of that number, from 1."""
        return self.first + (number - 1) * _DAY


def month_of(agency: AgencyDay, text: str | None) -> Month:
    """The month ``YYYY-MM`` where the agency is; the running one where there is no text.

    Raises:
        Invalid: it has not begun yet.
    """
    this_month = agency.today.replace(day=1)
    first = this_month if text is None else dt.date.fromisoformat(f"{text}-01")
    if first > this_month:
        fault = Fault("month", f"must not be after the running month, {this_month:%Y-%m}")
        raise Invalid(f"month: {fault.detail}", faults=(fault,))
    next_month = (first + 31 * _DAY).replace(day=1)
    days = (next_month - first).days
    midnights = tuple(agency.begins(first + number * _DAY) for number in range(days + 1))
    return Month(first, agency.today, midnights)
