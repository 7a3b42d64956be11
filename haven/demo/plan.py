"""What an agency's rows follow from, and the few words all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from haven.demo.calendar import DAY_MS, Month, instant, local_day, months_up_to
from haven.demo.sizes import Size

EXTRA_INVOICES: Final = 4
"""Invoices that ``figures`` makes by hand in each agency: open, part paid, void and draft."""

Row = tuple[str | None, ...]
"""A row as texts; None is null."""


@dataclass(frozen=True, slots=True)
class AgencyPlan:
    """All that an agency's rows follow from; the same plan gives the same rows."""

    number: int
    id: bytes
    slug: str
    seed: int
    now_ms: int
    size: Size

    @property
    def today(self) -> int:
        """The day in Nairobi."""
        return local_day(self.now_ms)

    @property
    def agency(self) -> str:
        """The agency's id as text."""
        return self.id[4:].hex()

    def months(self) -> list[Month]:
        """The months that have been billed."""
        return [month for month in months_up_to(self.today, self.size.months) if month.runs_at <= self.now_ms]

    def joined_at(self) -> int:
        """When the agency began with Haven: ten days before its first rent run."""
        return months_up_to(self.today, self.size.months)[0].runs_at - 10 * DAY_MS


def stamps(created: int, updated: int | None = None) -> tuple[str, str]:
    """``created_at`` and ``updated_at``."""
    return instant(created), instant(updated or created)


def hexed(field_: bytes) -> str:
    """The id in a binary field, as text."""
    return field_[4:].hex()


def shillings(cents: int) -> str:
    """Cents as PostgreSQL reads an amount."""
    return f"{cents // 100}.{cents % 100:02d}"
