"""What an agency looks after: owners, their properties, and the units in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final

from haven.demo import places
from haven.demo.binary import Ids
from haven.demo.names import mailbox, person
from haven.demo.people import Numbers
from haven.demo.plan import AgencyPlan, Row, hexed, shillings, stamps
from haven.demo.tenancies import Lease, Owner, Tenancies, Unit

_ROLES: Final = {7: "DRAFT", 23: "OUT_OF_SERVICE", 31: "RESERVED", 11: "VACANT", 47: "VACANT"}
"""What becomes of each 60 units that are not let, by their place among the 60."""
_CYCLE: Final = 60
_STEP_MS: Final = 900
_BANKS: Final = (
    "KCB Bank",
    "Equity Bank",
    "Co-operative Bank",
    "NCBA",
    "Absa Bank Kenya",
    "Family Bank",
    "I&M Bank",
)

Rows = dict[str, list[Row]]


class Portfolio:
    """Builds an agency's portfolio: ``leases`` for the figures, ``rows`` by table for COPY."""

    def __init__(self, plan: AgencyPlan) -> None:
        self.plan = plan
        self.owners: list[Owner] = []
        self.rows: Rows = {table: [] for table in ("owner", "property", "unit")}
        self._rng = Random(f"{plan.seed}/{plan.number}/portfolio")
        self._numbers = Numbers(self._rng)
        self._ids = Ids(self._rng)
        self._clock = plan.joined_at()
        self._tenancies = Tenancies(plan, self._numbers)
        self._codes: dict[str, int] = {}
        self._unit_count = 0
        self._build()

    def _build(self) -> None:
        estates = self._estates()
        while not self._is_full():
            self._add_property(next(estates))
        self.rows |= {"tenant": self._tenancies.tenant_rows, "lease": self._tenancies.lease_rows()}

    @property
    def leases(self) -> list[Lease]:
        """The leases of all units."""
        return self._tenancies.leases

    def _is_full(self) -> bool:
        if self.plan.size.invoices is not None:
            return not self._tenancies.has_invoices_left
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

    # Owners and properties

    def _add_owner(self) -> Owner:
        created, name = self._tick(), person(self._rng)
        owner_id = self._ids.at(created)
        phone = self._numbers.phone()
        owner = Owner(owner_id, self._rng.choice((5_00, 6_00, 7_50, 8_00, 8_00, 10_00)))
        self.owners.append(owner)
        self.rows["owner"].append(
            (
                self.plan.agency,
                hexed(owner_id),
                name,
                mailbox(name, len(self.owners)),
                phone,
                self._numbers.tax_pin(),
                json.dumps(self._payout(name, phone)),
                shillings(owner.fee_percent),
                *stamps(created),
            )
        )
        return owner

    def _payout(self, name: str, phone: str) -> dict[str, Any]:
        if self._rng.random() < 0.3:
            return {"method": "MPESA", "phone": phone}
        account = f"{self._rng.randrange(10**9, 10**10)}"
        return {
            "method": "BANK",
            "bank": self._rng.choice(_BANKS),
            "account_name": name,
            "account_number": account,
        }

    def _owner(self) -> Owner:
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
            (
                self.plan.agency,
                hexed(building),
                name,
                f"{estate.code}-{serial:02d}",
                kind,
                address,
                estate.name,
                estate.county,
                f"{latitude:.6f}",
                f"{longitude:.6f}",
                "ACTIVE",
                hexed(owner.id),
                *stamps(created),
            )
        )
        self._add_units(building, owner, estate, kind, f"{estate.code}{serial:02d}")

    # Units

    def _add_units(self, building: bytes, owner: Owner, estate: places.Estate, kind: str, code: str) -> None:
        for position in range(self._rng.randint(*self.plan.size.units_per_property)):
            if self._is_full():
                return
            unit = self._new_unit(building, owner, estate, kind, position, code)
            self._tenancies.let(unit, _ROLES.get(self._unit_count % _CYCLE))
            self._unit_count += 1
            self.rows["unit"].append(self._unit_row(unit))

    def _new_unit(
        self, building: bytes, owner: Owner, estate: places.Estate, kind: str, position: int, code: str
    ) -> Unit:
        is_shop = kind == "COMMERCIAL" or (kind == "MIXED" and position < 4)
        bedrooms = None if is_shop else self._bedrooms(kind)
        label = _label("COMMERCIAL" if is_shop else kind, position)
        rent = self._rent(estate, bedrooms)
        created = self._tick()
        return Unit(
            id=self._ids.at(created),
            property_id=building,
            owner=owner,
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

    def _unit_row(self, unit: Unit) -> Row:
        bedrooms = None if unit.bedrooms is None else str(unit.bedrooms)
        return (
            *(self.plan.agency, hexed(unit.id), hexed(unit.property_id), unit.label, bedrooms),
            *(shillings(unit.rent), shillings(unit.deposit), unit.status, unit.reference),
            *stamps(unit.created_at),
        )


def _label(kind: str, position: int) -> str:
    if kind == "COMMERCIAL":
        return f"Shop {position + 1}"
    if kind == "HOUSE":
        return f"House {position + 1}"
    block, door = divmod(position, 12)
    return f"{'ABCDEFGH'[block]}{door + 1}"
