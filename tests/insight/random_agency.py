"""Months of an agency by chance: everything that moves its figures, at any time of them."""

from __future__ import annotations

import datetime as dt
import uuid
from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import uuid_utils
from sqlalchemy import Engine, text

from haven.billing import service as billing
from haven.db.session import tenant_session
from haven.errors import Conflict
from haven.payments import service as payments
from tests.support.builders import a_draft, a_lease, a_payment, a_property, a_unit, an_agency

KINDS = ("RENT", "RENT DEPOSIT", "UTILITY RENT", "DEPOSIT")


class RandomAgency:
    """An agency in ``zone`` whose rows are spread over the days before ``now``.

    Args:
        now: the moment that the dashboard is looked at; all that happens is before it.
        days: how far back its story goes.
    """

    def __init__(self, engine: Engine, seed: str, zone: str, now: dt.datetime, days: int = 140) -> None:
        self.engine, self.now, self.zone = engine, now, zone
        self._rng = Random(seed)
        self._begins = now - dt.timedelta(days=days)
        self.id = an_agency(engine, timezone=zone)
        self.properties = [a_property(engine, self.id) for _ in range(2)]
        self._leases = [self._lease() for _ in range(7)]
        self._invoices: list[uuid.UUID] = []
        self._payments: list[uuid.UUID] = []

    def live(self, steps: int) -> None:
        """Let so many things happen."""
        acts = (
            self._invoice,
            self._pay,
            self._pay,
            self._void,
            self._credit,
            self._reverse,
            self._use_deposit,
        )
        for _ in range(4):
            self._invoice()
        self._leave()
        for _ in range(steps):
            self._rng.choices(acts, (5, 5, 3, 1, 2, 1, 1))[0]()
        self._spread_allocations()

    def moment(self, since: dt.datetime | None = None) -> dt.datetime:
        """Some moment before now, often within a second of a midnight there, where days and months change."""
        begins = since or self._begins
        at = begins + (self.now - begins) * self._rng.random()
        if self._rng.random() < 0.4:
            there = at.astimezone(dt.UTC)
            midnight = self._midnight(there)
            at = midnight + dt.timedelta(microseconds=self._rng.choice((-1, 0, 1, 900_000)))
        return min(max(at, begins), self.now)

    def _midnight(self, at: dt.datetime) -> dt.datetime:
        zone = ZoneInfo(self.zone)
        day = at.astimezone(zone).date()
        if self._rng.random() < 0.5:
            day = day.replace(day=1)
        return dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC)

    def _amount(self) -> str:
        return f"{self._rng.randrange(1, 90_000_00) / 100:.2f}"

    def _lease(self) -> uuid.UUID:
        rng = self._rng
        start = (self._begins + dt.timedelta(days=rng.randrange(-200, 100))).date()
        end = rng.choice((None, None, start + dt.timedelta(days=rng.randrange(400))))
        status = "ACTIVE"
        if end is not None:
            status = "ACTIVE" if end >= self.now.date() else rng.choice(("ENDED", "TERMINATED"))
        if rng.random() < 0.15:
            status = "DRAFT"
        unit = rng.choice(("VACANT", "OCCUPIED", "OCCUPIED", "OUT_OF_SERVICE"))
        unit_id = a_unit(self.engine, self.id, rng.choice(self.properties), status=unit)
        return a_lease(self.engine, self.id, start=start, end=end, status=status, unit_id=unit_id)

    def _do(self, act: Any, *args: Any, **options: Any) -> Any:
        with suppress(Conflict), tenant_session(self.engine, self.id, "test") as session:
            return act(session, *args, **options)
        return None

    def _invoice(self) -> None:
        rng, at = self._rng, self.moment()
        due = at.date() + dt.timedelta(days=rng.randrange(-120, 40))
        kinds = rng.choice(KINDS).split()
        body = {
            "lease_id": rng.choice(self._leases),
            "period_start": at.date(),
            "period_end": at.date(),
            "due_at": due,
            "lines": [
                {"kind": kind, "description": "For this", "amount": Decimal(self._amount())} for kind in kinds
            ],
        }
        invoice_id = self._do(billing.create, body)
        if invoice_id is not None and rng.random() < 0.93:
            self._do(billing.issue, invoice_id, now=at)
            self._invoices.append(invoice_id)

    def _pay(self) -> None:
        method = self._rng.choice(("CASH", "BANK", "MPESA"))
        body: dict[str, Any] = {"method": method, "paid_at": self.moment()}
        if method == "MPESA":
            body["reference"] = "U" + "".join(self._rng.choices("ABCDEFGHJKLMNP0123456789", k=9))
        lease_id = self._rng.choice(self._leases)
        with suppress(Conflict):
            self._payments.append(a_payment(self.engine, self.id, lease_id, self._amount(), **body))

    def _void(self) -> None:
        self._do(billing.void, self._rng.choice(self._invoices), "by chance", now=self.moment())

    def _credit(self) -> None:
        amount = Decimal(self._rng.randrange(1, 20_000_00)) / 100
        self._do(billing.credit, self._rng.choice(self._invoices), amount, "by chance", now=self.moment())

    def _reverse(self) -> None:
        if self._payments:
            self._do(payments.reverse, self._rng.choice(self._payments), "by chance")

    def _leave(self) -> None:
        """A tenant has gone, and his deposit pays some of what he owes."""
        last_day = (self.now - dt.timedelta(days=20)).date()
        lease_id = a_lease(
            self.engine, self.id, start=self._begins.date(), end=last_day, status="TERMINATED",
            unit_id=a_unit(self.engine, self.id, self.properties[0]),
        )  # fmt: skip
        self._leases.append(lease_id)
        for kind, amount in (("DEPOSIT", "800.00"), ("RENT", "1234.56")):
            lines = [{"kind": kind, "description": "For this", "amount": Decimal(amount)}]
            invoice_id = a_draft(self.engine, self.id, lease_id, due=last_day, lines=lines)
            self._do(billing.issue, invoice_id, now=self.moment())
            if kind == "DEPOSIT":
                a_payment(self.engine, self.id, lease_id, amount, paid_at=self.moment())
            self._invoices.append(invoice_id)
        self._do(billing.apply_to_arrears, lease_id, now=self.moment())

    def _use_deposit(self) -> None:
        self._do(billing.apply_to_arrears, self._rng.choice(self._leases), now=self.moment())

    def _spread_allocations(self) -> None:
        """Let allocations be of past days, as they are in an agency that has lived them; an id is of its row's time."""
        with tenant_session(self.engine, self.id, "test") as session:
            found = session.execute(
                text(
                    "SELECT a.id, greatest(p.paid_at, i.issued_at) AS since FROM allocation a"
                    " JOIN payment p ON p.id = a.payment_id JOIN invoice i ON i.id = a.invoice_id"
                )
            ).all()
            for row in found:
                at = self.moment(row.since)
                session.execute(
                    text("UPDATE allocation SET id = :new, created_at = :at WHERE id = :id"),
                    {"new": _id_of(at), "at": at, "id": row.id},
                )


def _id_of(moment: dt.datetime) -> uuid.UUID:
    """A UUIDv7 of a moment."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | uuid_utils.uuid7().int & ((1 << 80) - 1))
