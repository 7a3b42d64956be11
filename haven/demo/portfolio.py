"""What an agency looks after: owners, properties, units, and who rented what from when to when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from haven.demo import places
from haven.demo.binary import Ids, text
from haven.demo.calendar import DAY_MS, HOUR_MS, Month, date_of, instant, local_day, midnight, months_up_to
from haven.demo.names import firm, mailbox, person
from haven.demo.people import Numbers
from haven.demo.sizes import Size

BILLING_DAY: Final = 1
EXTRA_INVOICES: Final = 4
"""Invoices that ``figures`` makes by hand in each agency: open, part paid, void and draft."""

_NEW_LEASE_AGE: Final = 3
_ROLES: Final = {7: "DRAFT", 23: "OUT_OF_SERVICE", 31: "RESERVED", 11: "VACANT", 47: "VACANT"}
"""What becomes of each 60 units that are not let, by their place among the 60."""
_CYCLE: Final = 60
_STEP_MS: Final = 900
_BANKS: Final = ("KCB Bank", "Equity Bank", "Co-operative Bank", "NCBA", "Absa Bank Kenya", "Family Bank", "I&M Bank")
_REASONS: Final = ("Moved to another town", "Bought a home", "Rent in arrears", "Needed more room", "Job transfer")
_LATE_FEES: Final = (("NONE", 0), ("NONE", 0), ("FLAT", 500_00), ("FLAT", 1_000_00), ("PERCENT", 5_00))


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


@dataclass(slots=True, eq=False)
class Unit:
    """A unit, with what its rents are reckoned from. Money in cents."""

    id: bytes
    property_id: bytes
    label: str
    reference: str
    bedrooms: int | None
    rent: int
    deposit: int
    has_water_meter: bool
    created_at: int
    status: str = "VACANT"


@dataclass(slots=True, eq=False)
class Lease:
    """A tenancy, with the months it is billed for. Money in cents, days as numbers."""

    id: bytes
    unit: Unit
    tenant_id: bytes
    tenant: str
    phone: bytes
    start: int
    end: int | None
    rent: int
    deposit: int
    late_fee: tuple[str, int]
    grace_days: int
    status: str
    created_at: int
    is_new: bool
    reason: str | None = None
    months: list[Month] = field(default_factory=list)
    receivable: bytes = b""
    credit: bytes = b""


Rows = dict[str, list[tuple[str | None, ...]]]


def hexed(field_: bytes) -> str:
    """The id in a binary field, as text."""
    return field_[4:].hex()


def shillings(cents: int) -> str:
    """Cents as PostgreSQL reads an amount."""
    return f"{cents // 100}.{cents % 100:02d}"


class Portfolio:
    """Builds an agency's portfolio: ``leases`` for the figures, ``rows`` for COPY."""

    def __init__(self, plan: AgencyPlan) -> None:
        self.plan = plan
        self.leases: list[Lease] = []
        self.owners: list[bytes] = []
        self.rows: Rows = {table: [] for table in ("owner", "property", "unit", "tenant", "lease")}
        self._rng = Random(f"{plan.seed}/{plan.number}/portfolio")  # noqa: S311
        self._numbers = Numbers(self._rng)
        self._ids = Ids(self._rng)
        self._months = plan.months()
        self._clock = plan.joined_at()
        self._invoices_left = None if plan.size.invoices is None else plan.size.invoices - EXTRA_INVOICES
        self._codes: dict[str, int] = {}
        self._unit_count = 0
        self._build()

    def _build(self) -> None:
        estates = self._estates()
        while not self._is_full():
            self._add_property(next(estates))

    def _is_full(self) -> bool:
        if self._invoices_left is not None:
            return self._invoices_left <= 0
        return self._unit_count >= self.plan.size.units

    def _estates(self) -> Iterator[places.Estate]:
        """Each agency begins elsewhere; the first one at the head of the list."""
        number = self.plan.number * 5
        while True:
            yield places.ESTATES[number % len(places.ESTATES)]
            number += 1

    def _tick(self) -> int:
        self._clock += _STEP_MS
        return self._clock

    def _stamps(self, created: int, updated: int | None = None) -> tuple[str, str]:
        return instant(created), instant(updated or created)

    # Owners and properties

    def _add_owner(self) -> bytes:
        created, name = self._tick(), person(self._rng)
        owner = self._ids.at(created)
        phone = self._numbers.phone()
        fee = self._rng.choice(("5.00", "6.00", "7.50", "8.00", "8.00", "10.00"))
        self.owners.append(owner)
        self.rows["owner"].append(
            (self.plan.agency, hexed(owner), name, mailbox(name, len(self.owners)), phone, self._numbers.tax_pin())
            + (json.dumps(self._payout(name, phone)), fee, *self._stamps(created))
        )
        return owner

    def _payout(self, name: str, phone: str) -> dict[str, Any]:
        if self._rng.random() < 0.3:
            return {"method": "MPESA", "phone": phone}
        account = f"{self._rng.randrange(10**9, 10**10)}"
        return {"method": "BANK", "bank": self._rng.choice(_BANKS), "account_name": name, "account_number": account}

    def _owner(self) -> bytes:
        """A new owner, or now and then one who has another property already."""
        if self.owners and self._rng.random() < 0.25:
            return self._rng.choice(self.owners)
        return self._add_owner()

    def _add_property(self, estate: places.Estate) -> None:
        number = len(self.rows["property"])
        kind = ("APARTMENT", "APARTMENT", "MIXED", "HOUSE", "APARTMENT", "COMMERCIAL")[number % 6]
        owner, created = self._owner(), self._tick()
        building = self._ids.at(created)
        serial = self._codes[estate.code] = self._codes.get(estate.code, 0) + 1
        names = places.BUILDING_NAMES
        first = names[(number * 7 + self.plan.number * 11) % len(names)]
        name = f"{first} {self._rng.choice(places.BUILDING_KINDS[kind])}"
        address = f"{self._rng.choice(estate.streets)}, {estate.name}, {estate.town}"
        latitude = estate.latitude + self._rng.uniform(-0.006, 0.006)
        longitude = estate.longitude + self._rng.uniform(-0.006, 0.006)
        self.rows["property"].append(
            (self.plan.agency, hexed(building), name, f"{estate.code}-{serial:02d}", kind, address, estate.name)
            + (estate.county, f"{latitude:.6f}", f"{longitude:.6f}", "ACTIVE", hexed(owner), *self._stamps(created))
        )
        self._add_units(building, estate, kind, f"{estate.code}{serial:02d}")

    # Units

    def _add_units(self, building: bytes, estate: places.Estate, kind: str, code: str) -> None:
        for position in range(self._rng.randint(*self.plan.size.units_per_property)):
            if self._is_full():
                return
            unit = self._new_unit(building, estate, kind, position, code)
            self._let(unit, _ROLES.get(self._unit_count % _CYCLE))
            self._unit_count += 1
            self.rows["unit"].append(self._unit_row(unit))

    def _new_unit(self, building: bytes, estate: places.Estate, kind: str, position: int, code: str) -> Unit:
        is_shop = kind == "COMMERCIAL" or (kind == "MIXED" and position < 4)
        bedrooms = None if is_shop else self._bedrooms(kind)
        label = _label("COMMERCIAL" if is_shop else kind, position)
        rent = self._rent(estate, bedrooms)
        created = self._tick()
        return Unit(
            id=self._ids.at(created),
            property_id=building,
            label=label,
            reference=f"{code}{label.replace(' ', '').replace('House', 'H').replace('Shop', 'S')}".upper(),
            bedrooms=bedrooms,
            rent=rent,
            deposit=rent * self._rng.choice((1, 1, 1, 2)),
            has_water_meter=not is_shop and self._rng.random() < 0.3,
            created_at=created,
        )

    def _bedrooms(self, kind: str) -> int:
        choices, weights = ((3, 4, 5), (5, 4, 1)) if kind == "HOUSE" else ((0, 1, 2, 3), (2, 4, 5, 2))
        return self._rng.choices(choices, weights)[0]

    def _rent(self, estate: places.Estate, bedrooms: int | None) -> int:
        """The market's rent in cents, in steps of 500 shillings."""
        if bedrooms is None:
            base = estate.rents[2] * self._rng.choice((1.0, 1.4, 1.8, 2.5, 4.0))
        else:
            base = estate.rents[min(bedrooms, 4)] * (1.15 if bedrooms > 4 else 1.0)
        return round(base * self._rng.uniform(0.93, 1.09) / 500) * 500_00

    def _unit_row(self, unit: Unit) -> tuple[str | None, ...]:
        bedrooms = None if unit.bedrooms is None else str(unit.bedrooms)
        return (
            *(self.plan.agency, hexed(unit.id), hexed(unit.property_id), unit.label, bedrooms),
            *(shillings(unit.rent), shillings(unit.deposit), unit.status, unit.reference),
            *self._stamps(unit.created_at),
        )

    # Tenancies

    def _let(self, unit: Unit, role: str | None) -> None:
        if role == "DRAFT":
            self._draft(unit)
        elif role is not None:
            unit.status = role
        else:
            self._tenancies(unit)

    def _draft(self, unit: Unit) -> None:
        """A lease that waits to be activated, on a vacant unit: it begins today."""
        self._add_lease(unit, self.plan.today, None, "DRAFT", self._tick(), is_new=True)

    def _tenancies(self, unit: Unit) -> None:
        """Who lived there: mostly one tenant all along, sometimes one who left and perhaps another after him."""
        months = self._months
        count = len(months)
        if self._invoices_left is not None and self._invoices_left < count:
            self._past_tenancy(unit, months[: self._invoices_left])
        elif count > 4 and self._rng.random() < 0.012 * count:
            leaves = self._rng.randrange(1, count - 2)
            self._past_tenancy(unit, months[: leaves + 1])
            if self._rng.random() < 0.85:
                self._recent_tenancy(unit, months[leaves + 1])
        elif count > 3 and self._rng.random() < 0.1:
            self._recent_tenancy(unit, self._rng.choice(months[:-2]))
        else:
            self._standing_tenancy(unit)

    def _before(self) -> int:
        return self._months[0].first - self._rng.randrange(40, 1_400)

    def _past_tenancy(self, unit: Unit, months: list[Month]) -> None:
        is_cut_short = self._rng.random() < 0.3
        status = "TERMINATED" if is_cut_short else "ENDED"
        end = months[-1].last - (self._rng.randrange(12) if is_cut_short else 0)
        lease = self._add_lease(unit, self._before(), end, status, self._tick(), is_new=False)
        lease.reason = self._rng.choice(_REASONS) if is_cut_short else None
        self._bill(lease, months)

    def _recent_tenancy(self, unit: Unit, month: Month) -> None:
        start = min(month.first + self._rng.randrange(16), self.plan.today - _NEW_LEASE_AGE)
        months = [later for later in self._months if later.last >= start]
        if self._invoices_left is not None:
            months = months[: self._invoices_left]
        if not months:
            return
        signed_at = midnight(start - self._rng.randrange(2, 9)) + self._rng.randrange(8, 17) * HOUR_MS
        is_over = months[-1] is not self._months[-1]
        end = months[-1].last if is_over else self._ends(start)
        status = "ENDED" if is_over else "ACTIVE"
        self._bill(self._add_lease(unit, start, end, status, signed_at, is_new=True), months)

    def _standing_tenancy(self, unit: Unit) -> None:
        start = self._before()
        lease = self._add_lease(unit, start, self._ends(start), "ACTIVE", self._tick(), is_new=False)
        self._bill(lease, self._months)

    def _ends(self, start: int) -> int | None:
        """The last day of a lease that runs still: none for most; some end within the next two months."""
        if self._rng.random() < 0.55:
            return None
        soonest = 3 if self._rng.random() < 0.2 else 60
        return self.plan.today + self._rng.randrange(soonest, soonest + 55 if soonest == 3 else 420)

    def _bill(self, lease: Lease, months: list[Month]) -> None:
        lease.months = months
        if self._invoices_left is not None:
            self._invoices_left -= len(months)
        if lease.status == "ACTIVE":
            lease.unit.status = "OCCUPIED"

    def _add_lease(
        self, unit: Unit, start: int, end: int | None, status: str, created: int, *, is_new: bool
    ) -> Lease:
        name = firm(self._rng) if unit.bedrooms is None else person(self._rng)
        tenant, phone = self._ids.at(created), self._numbers.phone()
        # Who has lived there for long pays a little less than the market's rent.
        discount = 0 if is_new else self._rng.choice((0, 0, 0, 4, 8))
        rent = round(unit.rent * (100 - discount) / 100 / 500_00) * 500_00
        lease = Lease(
            id=self._ids.at(created + 1),
            unit=unit,
            tenant_id=tenant,
            tenant=name,
            phone=text(phone),
            start=start,
            end=end,
            rent=rent,
            deposit=unit.deposit,
            late_fee=self._rng.choice(_LATE_FEES),
            grace_days=self._rng.choice((4, 4, 4, 5, 7, 10)),
            status=status,
            created_at=created,
            is_new=is_new,
        )
        self.leases.append(lease)
        self.rows["tenant"].append(self._tenant_row(lease, name, phone))
        return lease

    def _tenant_row(self, lease: Lease, name: str, phone: str) -> tuple[str | None, ...]:
        status = {"ACTIVE": "ACTIVE", "DRAFT": "PROSPECT"}.get(lease.status, "FORMER")
        is_firm = lease.unit.bedrooms is None
        return (
            *(self.plan.agency, hexed(lease.tenant_id), name, mailbox(name, len(self.leases)), phone),
            *(None if is_firm else self._numbers.national_id(), status, None),
            *self._stamps(lease.created_at, lease.created_at),
        )

    def lease_rows(self) -> list[tuple[str | None, ...]]:
        """The rows of the leases, as they stand at the end."""
        return [self._lease_row(lease) for lease in self.leases]

    def _lease_row(self, lease: Lease) -> tuple[str | None, ...]:
        activated = None if lease.status == "DRAFT" else instant(lease.created_at + HOUR_MS)
        ended_at = midnight(lease.end) + 9 * HOUR_MS if lease.end is not None else None
        is_terminated = lease.status == "TERMINATED"
        is_over = lease.status in ("ENDED", "TERMINATED")
        kind, fee = lease.late_fee
        return (
            *(self.plan.agency, hexed(lease.id), hexed(lease.unit.id), hexed(lease.tenant_id)),
            *(date_of(lease.start).isoformat(), None if lease.end is None else date_of(lease.end).isoformat()),
            *(shillings(lease.rent), shillings(lease.deposit), str(BILLING_DAY), str(lease.grace_days)),
            *(kind, shillings(fee), lease.status, activated),
            *(instant(ended_at) if is_terminated and ended_at else None, lease.reason),
            *self._stamps(lease.created_at, ended_at if is_over else None),
        )


def _label(kind: str, position: int) -> str:
    if kind == "COMMERCIAL":
        return f"Shop {position + 1}"
    if kind == "HOUSE":
        return f"House {position + 1}"
    block, door = divmod(position, 12)
    return f"{'ABCDEFGH'[block]}{door + 1}"
