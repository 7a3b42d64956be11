"""The agency's own days: its date at a moment, and the moments at which its days begin."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.identity.models import Agency


@dataclass(frozen=True, slots=True)
class AgencyDay:
    """The date where the agency is, with its time zone and currency."""

    today: dt.date
    zone: ZoneInfo
    currency: str

    def begins(self, day: dt.date) -> dt.datetime:
        """The moment at which ``day`` begins there."""
        return dt.datetime.combine(day, dt.time(), self.zone)

    def ends(self, day: dt.date) -> dt.datetime:
        """The moment at which ``day`` is over there: the first of the next day."""
        return self.begins(day + dt.timedelta(days=1))


def agency_day(session: Session, now: dt.datetime) -> AgencyDay:
    """The agency's day at ``now``: one statement."""
    row = session.execute(
        select(Agency.timezone, Agency.currency).where(Agency.id == tenant_of(session).agency_id)
    ).one()
    zone = ZoneInfo(row.timezone)
    return AgencyDay(now.astimezone(zone).date(), zone, row.currency)
