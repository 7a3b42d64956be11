"""The example of docs/reports.md: what its first table says is done, and what its second one says is found."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from haven.billing import service as billing
from haven.db.session import tenant_session
from haven.insight.reports.asking import KINDS
from tests.insight.reports.test_to_the_shilling import facts
from tests.support.builders import a_lease, a_payment, a_property, a_tenant, a_unit, an_agency, an_owner

PAGE = Path(__file__).parents[3] / "docs" / "reports.md"
NOVEMBER = dt.date(2025, 11, 1), dt.date(2025, 11, 30)
MADE = dt.datetime(2025, 12, 5, 9, tzinfo=dt.UTC)


def rows_under(heading):
    """The rows of the table of docs/reports.md that has this heading, without it."""
    lines = PAGE.read_text().splitlines()
    begins = next(number for number, line in enumerate(lines) if line.startswith(heading))
    for line in lines[begins + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def noon(date):
    return dt.datetime.combine(dt.date.fromisoformat(date), dt.time(12), ZoneInfo("Africa/Nairobi"))


class Example:
    """The agency of the example, before anything happened."""

    def __init__(self, engine):
        self.engine = engine
        self.id = an_agency(engine)
        self.owner = an_owner(engine, self.id, "8.00")
        place = a_property(engine, self.id, owner_id=self.owner)
        rents = {"A1": "30000.00", "A2": "20000.00", "A3": "15000.00"}
        units = {
            name: a_unit(engine, self.id, place, label=name, rent_amount=Decimal(rent))
            for name, rent in rents.items()
        }
        starts = {"A1": dt.date(2025, 10, 1), "A2": dt.date(2025, 11, 16)}
        self.tenants = {name: a_tenant(engine, self.id) for name in starts}
        self.leases = {
            name: a_lease(
                engine, self.id, rents[name], start=start, unit_id=units[name], tenant_id=self.tenants[name]
            )
            for name, start in starts.items()
        }

    def happens(self, date, event, who, amount):
        at = noon(date)
        days = re.fullmatch(r"rent for (\S+) to (\S+)", event)
        if days:
            self._rent(who, amount, at, *(dt.date.fromisoformat(day) for day in days.groups()))
        elif event == "payment":
            self._pay(who, amount, at)
        else:
            act = {"expense": billing.spend, "payout": billing.pay_out}[event]
            body = {"amount": Decimal(amount), "method": "BANK", "description": "A lock", "paid_at": at}
            with tenant_session(self.engine, self.id) as session:
                act(session, self.owner, body, now=at)

    def _rent(self, who, amount, at, start, end):
        line = {"kind": "RENT", "description": "Rent", "amount": Decimal(amount)}
        body = {
            "lease_id": self.leases[who],
            "period_start": start,
            "period_end": end,
            "due_at": start,
            "lines": [line],
        }
        with tenant_session(self.engine, self.id) as session:
            billing.issue(session, billing.create(session, body), now=at)

    def _pay(self, who, amount, at):
        payment_id = a_payment(self.engine, self.id, self.leases[who], amount, paid_at=at)
        early = int(at.timestamp() * 1000) << 80
        with tenant_session(self.engine, self.id) as session:
            # The example was lived, not made up today: money is allocated when it comes.
            found = session.execute(
                text("SELECT id FROM allocation WHERE payment_id = :id"), {"id": payment_id}
            )
            for number, row in enumerate(found.all()):
                session.execute(
                    text("UPDATE allocation SET id = :new, created_at = :at WHERE id = :id"),
                    {"new": uuid.UUID(int=early + number), "at": at, "id": row.id},
                )


@pytest.mark.req("J5")
def test_the_example_in_the_docs_is_right(engine):
    example = Example(engine)
    for cells in rows_under("| date | event |"):
        example.happens(*cells)
    filters = {
        "owner-statement": {"owner_id": example.owner},
        "tenant-statement": {"tenant_id": example.tenants["A1"]},
    }
    found = {
        kind: facts(engine, example.id, kind, *NOVEMBER, MADE, **filters.get(kind, {})) for kind in KINDS
    }
    wanted = list(rows_under("| report | figure |"))
    assert {report for report, *_ in wanted} == set(KINDS)
    for report, figure, value, _ in wanted:
        assert Decimal(str(found[report][figure])) == Decimal(value), (report, figure)


@pytest.mark.parametrize(
    "days, column",
    [
        (0, "not_yet_due"), (1, "days_1_to_30"), (30, "days_1_to_30"), (31, "days_31_to_60"), (60, "days_31_to_60"),
        (61, "days_61_to_90"), (90, "days_61_to_90"), (91, "over_90_days"),
    ],
)  # fmt: skip
def test_what_is_owed_is_in_the_column_of_its_days_past_due(engine, days, column):
    from tests.insight.reports.test_to_the_shilling import document_of, table

    example = Example(engine)
    example.happens("2025-11-01", "rent for 2025-11-01 to 2025-11-30", "A1", "700.00")
    on = dt.date(2025, 11, 1) + dt.timedelta(days=days)
    now = dt.datetime.combine(on, dt.time(9), dt.UTC)
    totals = table(document_of(engine, example.id, "arrears", on, on, now), "leases").totals
    ages = {
        key: totals[key]
        for key in ("not_yet_due", "days_1_to_30", "days_31_to_60", "days_61_to_90", "over_90_days")
    }
    assert ages == dict.fromkeys(ages, Decimal("0.00")) | {column: Decimal("700.00")}
