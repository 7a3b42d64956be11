"""Who rents what, from when to when, and for which months he is billed."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from haven.demo.binary import Ids, text
from haven.demo.calendar import DAY_MS, HOUR_MS, Month, date_of, instant, midnight
from haven.demo.names import firm, mailbox, person
from haven.demo.people import Numbers
from haven.demo.plan import EXTRA_INVOICES, AgencyPlan, Row, hexed, shillings, stamps

BILLING_DAY: Final = 1

_NEW_LEASE_AGE: Final = 3
_STEP_MS: Final = 900
_REASONS: Final = (
    "Moved to another town",
    "Bought a home",
    "Rent in arrears",
    "Needed more room",
    "Job transfer",
)
_LATE_FEES: Final = (("NONE", 0), ("NONE", 0), ("FLAT", 500_00), ("FLAT", 1_000_00), ("PERCENT", 5_00))


@dataclass(slots=True, eq=False)
class Owner:
    """Who owns properties; the management fee in hundredths of a per cent, and the ledger account of what is his."""

    id: bytes
    fee_percent: int
    payable: bytes = b""


@dataclass(slots=True, eq=False)
class Unit:
    """A unit, with what its rents are reckoned from. Money in cents."""

    id: bytes
    property_id: bytes
    owner: Owner
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


class Tenancies:
    """Lets units: ``leases`` for the figures, rows of tenants and leases for COPY."""

    def __init__(self, plan: AgencyPlan, numbers: Numbers) -> None:
        self.leases: list[Lease] = []
        self.tenant_rows: list[Row] = []
        self._plan = plan
        self._numbers = numbers
        self._rng = Random(f"{plan.seed}/{plan.number}/tenancies")
        self._ids = Ids(self._rng)
        self._months = plan.months()
        self._clock = plan.joined_at() + HOUR_MS
        self._invoices_left = None if plan.size.invoices is None else plan.size.invoices - EXTRA_INVOICES

    @property
    def has_invoices_left(self) -> bool:
        """Whether more leases are needed for the invoices that were asked for; yes where no number was."""
        return self._invoices_left is None or self._invoices_left > 0

    def _tick(self) -> int:
        self._clock += _STEP_MS
        return self._clock

    def let(self, unit: Unit, role: str | None) -> None:
        """Decide who lives in a unit; ``role`` for one that is not let: DRAFT, or the status it has."""
        if role == "DRAFT":
            self._draft(unit)
        elif role is not None:
            unit.status = role
        else:
            self._tenancies(unit)

    def _draft(self, unit: Unit) -> None:
        """A lease that waits to be activated, on a vacant unit: it begins today."""
        drawn_up_at = self._plan.now_ms - DAY_MS + len(self.leases)
        self._add_lease(unit, self._plan.today, None, "DRAFT", drawn_up_at, is_new=True)

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
        start = min(month.first + self._rng.randrange(16), self._plan.today - _NEW_LEASE_AGE)
        months = [later for later in self._months if later.last >= start]
        if self._invoices_left is not None:
            months = months[: self._invoices_left]
        if not months:
            return
        signed_at = midnight(start - self._rng.randrange(2, 9)) + self._rng.randrange(8, 17) * HOUR_MS
        is_over = months[-1] is not self._months[-1]
        end = months[-1].last if is_over else self._ends()
        status = "ENDED" if is_over else "ACTIVE"
        self._bill(self._add_lease(unit, start, end, status, signed_at, is_new=True), months)

    def _standing_tenancy(self, unit: Unit) -> None:
        start = self._before()
        lease = self._add_lease(unit, start, self._ends(), "ACTIVE", self._tick(), is_new=False)
        self._bill(lease, self._months)

    def _ends(self) -> int | None:
        """The last day of a lease that runs still: none for most; some end within the next two months."""
        if self._rng.random() < 0.55:
            return None
        soonest = 3 if self._rng.random() < 0.2 else 60
        return self._plan.today + self._rng.randrange(soonest, soonest + 55 if soonest == 3 else 420)

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
        self.tenant_rows.append(self._tenant_row(lease, name, phone))
        return lease

    def _tenant_row(self, lease: Lease, name: str, phone: str) -> Row:
        status = {"ACTIVE": "ACTIVE", "DRAFT": "PROSPECT"}.get(lease.status, "FORMER")
        is_firm = lease.unit.bedrooms is None
        return (
            *(self._plan.agency, hexed(lease.tenant_id), name, mailbox(name, len(self.leases)), phone),
            *(None if is_firm else self._numbers.national_id(), status, None),
            *stamps(lease.created_at, lease.created_at),
        )

    def lease_rows(self) -> list[Row]:
        """The rows of the leases, as they stand at the end."""
        return [self._lease_row(lease) for lease in self.leases]

    def _lease_row(self, lease: Lease) -> Row:
        activated = None if lease.status == "DRAFT" else instant(lease.created_at + HOUR_MS)
        ended_at = midnight(lease.end) + 9 * HOUR_MS if lease.end is not None else None
        is_terminated = lease.status == "TERMINATED"
        is_over = lease.status in ("ENDED", "TERMINATED")
        kind, fee = lease.late_fee
        return (
            *(self._plan.agency, hexed(lease.id), hexed(lease.unit.id), hexed(lease.tenant_id)),
            *(
                date_of(lease.start).isoformat(),
                None if lease.end is None else date_of(lease.end).isoformat(),
            ),
            *(shillings(lease.rent), shillings(lease.deposit), str(BILLING_DAY), str(lease.grace_days)),
            *(kind, shillings(fee), lease.status, activated),
            *(instant(ended_at) if is_terminated and ended_at else None, lease.reason),
            *stamps(lease.created_at, ended_at if is_over else None),
        )
