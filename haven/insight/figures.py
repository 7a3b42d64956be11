"""The figures of a month: who lives where, what was invoiced and collected, what is owed and for how long.

The words are those of docs/dashboard.md. What has been voided, credited or reversed by now is left out of the month it
belonged to, so the figures of a past month are what is known of it today.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.errors import NotFound
from haven.insight.periods import Month, month_of
from haven.insight.queries import query

FIGURES: Final = query("figures")
_NOUGHT: Final = Decimal("0.00")
_CLOCK_SLACK: Final = dt.timedelta(hours=1)


def stats(
    session: Session, month: str | None, property_id: uuid.UUID | None, now: dt.datetime
) -> dict[str, Any]:
    """The dashboard's figures, as ``schemas.Stats`` describes them: two statements.

    Args:
        month: ``YYYY-MM`` where the agency is; the running one where it is None.
        property_id: of one property alone.

    Raises:
        NotFound: there is no such property in this agency.
        Invalid: the month has not begun yet.
    """
    day = billing.agency_day(session, now)
    period = month_of(day, month)
    row = session.execute(FIGURES, parameters(tenant_of(session).agency_id, period, property_id)).one()
    if property_id is not None and not row.properties:
        raise NotFound(f"There is no property {property_id}.")
    return {
        "period": {"month": f"{period.first:%Y-%m}", "from": period.first, "to": period.last},
        "as_of": period.as_of,
        "timezone": day.zone.key,
        "currency": day.currency,
        **_occupancy(row),
        **_money(row, period),
    }


def parameters(agency_id: uuid.UUID, month: Month, property_id: uuid.UUID | None) -> dict[str, Any]:
    """What ``figures.sql`` is asked with."""
    return {
        "agency_id": agency_id,
        "property_id": property_id,
        "first": month.first,
        "last": month.last,
        "on": month.as_of,
        "begins": month.begins,
        "ends": month.ends,
        # The moment itself would be one bound too many: what falls on it is of the next month.
        "midnights": list(month.midnights[:-1]),
        "is_over": month.is_over,
        "later_id": _first_id(month.ends - _CLOCK_SLACK),
    }


def _occupancy(row: Any) -> dict[str, Any]:
    return {
        "properties": row.properties,
        "units": row.units,
        "occupied": row.occupied,
        "vacant": row.lettable - row.occupied,
        "occupancy_rate": per_cent(Decimal(row.occupied), Decimal(row.lettable)),
        "active_leases": int(row.active_leases),
        "expiring_leases": {
            f"within_{days}_days": int(getattr(row, f"ends_in_{days}")) for days in (30, 60, 90)
        },
    }


def _money(row: Any, month: Month) -> dict[str, Any]:
    by_day = _by_day(row.received, month)
    collected = sum((one["amount"] for one in by_day), _NOUGHT)
    late = [_NOUGHT + getattr(row, name) for name in ("days_1_to_30", "days_31_to_60", "days_61_to_90")]
    oldest = _NOUGHT + row.over_90_days
    return {
        "invoiced": _NOUGHT + row.invoiced,
        "collected": collected,
        "collection_rate": per_cent(row.paid, row.demanded),
        "collected_to_invoiced": per_cent(collected, row.invoiced),
        "arrears": sum(late, oldest),
        "arrears_ageing": {
            "current": _NOUGHT + row.not_yet_due,
            "days_1_to_30": late[0],
            "days_31_to_60": late[1],
            "days_61_to_90": late[2],
            "over_90_days": oldest,
            "credits": _NOUGHT + row.credits,
        },
        "payments_by_day": by_day,
    }


def _by_day(received: Sequence[tuple[int, int, str]], month: Month) -> list[dict[str, Any]]:
    """A row for each day up to the one that the figures are of, without a gap."""
    found = {number: (count, Decimal(amount)) for number, count, amount in received}
    # A provider's clock may be ahead of midnight: what it tells of is not lost from the sum.
    last = max([(month.as_of - month.first).days + 1, *found])
    rows = []
    for number in range(1, last + 1):
        count, amount = found.get(number, (0, _NOUGHT))
        rows.append({"date": month.day(number), "count": count, "amount": amount})
    return rows


def per_cent(part: Decimal, whole: Decimal) -> float | None:
    """``part`` of ``whole`` in per cent, to two decimals, half up; None where there is no whole."""
    if whole == 0:
        return None
    return float((100 * part / whole).quantize(Decimal("0.01"), ROUND_HALF_UP))


def _first_id(moment: dt.datetime) -> uuid.UUID:
    """The least UUIDv7 of a moment: its first 48 bits are milliseconds."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)
