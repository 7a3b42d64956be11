"""Months of money, told lease by lease: what was billed, what came in and when, and what it paid.

Nothing here knows of rows or files. Amounts are in cents, days and instants as in ``haven.demo.calendar``. The rules
are those of the ledger: a payment pays the oldest invoice first, the rest is credit, and an invoice takes credit as
soon as it is issued.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from random import Random
from typing import Final

from haven.demo.calendar import DAY_MS, HOUR_MS, Month, date_of, midnight
from haven.demo.plan import AgencyPlan
from haven.demo.receipts import bank_reference, mpesa_receipt
from haven.demo.tenancies import Lease
from haven.payments.mpesa.results import Outcome, result_code

MPESA_LIMIT: Final = 250_000_00
"""The most that M-Pesa carries at once; larger rents come by bank."""
_PAYMENTS_PER_INVOICE: Final = 1.17
_FAILED_SHARE: Final = 0.04
_WATER_PRICE: Final = 130_00
_PACES: Final = ("PROMPT", "LATE", "PARTS", "AHEAD", "BEHIND")
_PACE_WEIGHTS: Final = (60, 18, 10, 5, 7)
_FAILURES: Final = ("1032", "1032", "1037", "1", "2001")
"""Result codes of pushes that failed: cancelled (most), no answer, no money, wrong PIN."""

Line = tuple[str, str, int]
"""Kind, description, cents."""


@dataclass(slots=True, eq=False)
class Invoice:
    """A demand for money of one lease; ``at`` is when it was issued."""

    lease: Lease
    at: int
    due: int
    first: int
    last: int
    run: int | None
    lines: list[Line]
    total: int
    changed: int
    paid: int = 0
    forced_status: str | None = None
    number: int = 0
    id: bytes = b""


@dataclass(slots=True, eq=False)
class Payment:
    """Money received, or asked for in vain; ``applied`` is what it paid when it came, ``allocated`` what it pays now."""

    lease: Lease
    at: int
    amount: int
    method: str
    invoice: Invoice | None = None
    status: str = "COMPLETED"
    applied: int = 0
    allocated: int = 0
    changed: int = 0
    reference: str | None = None
    failure: tuple[str, str] | None = None
    receipt: int = 0
    id: bytes = b""


@dataclass(slots=True, eq=False)
class Allocation:
    """Which cents of a payment pay which invoice; ``is_credit``: the payment was there before the invoice."""

    payment: Payment
    invoice: Invoice
    amount: int
    at: int
    is_credit: bool


@dataclass(slots=True, eq=False)
class Undoing:
    """An invoice voided or a payment reversed."""

    of: Invoice | Payment
    at: int


@dataclass(slots=True, eq=False)
class Stray:
    """Money that came by paybill for no account that is known."""

    at: int
    amount: int
    receipt: str
    typed: str
    payer: str


class Figures:
    """Plays the months of every lease of an agency; the result is in the lists, each in order of time."""

    def __init__(self, plan: AgencyPlan, leases: list[Lease]) -> None:
        self.invoices: list[Invoice] = []
        self.payments: list[Payment] = []
        self.allocations: list[Allocation] = []
        self.undoings: list[Undoing] = []
        self.strays: list[Stray] = []
        self._plan = plan
        self._rng = Random(f"{plan.seed}/{plan.number}/figures")
        self._open: list[Invoice] = []
        self._credits: list[Payment] = []
        self._settled: list[Lease] = []
        self._late_fee_due = 0
        self._play(leases)

    def _play(self, leases: list[Lease]) -> None:
        for number, lease in enumerate(leases):
            self._play_lease(lease, number)
        self._add_extras([lease for lease in leases if lease.status == "ACTIVE"])
        by_time = attrgetter("at")
        self.payments.sort(key=by_time)
        self._write_references()
        self._add_failures()
        self.invoices.sort(key=by_time)
        self.payments.sort(key=by_time)
        self.allocations.sort(key=by_time)

    def _play_lease(self, lease: Lease, number: int) -> None:
        self._open, self._credits, self._late_fee_due = [], [], 0
        pace = self._rng.choices(_PACES, _PACE_WEIGHTS)[0]
        for month in lease.months:
            invoice = self._bill(lease, month, number)
            if self._open:
                self._collect(lease, month, invoice, pace)
        if lease.months and not self._open and not self._credits:
            self._settled.append(lease)

    # Billing

    def _bill(self, lease: Lease, month: Month, number: int) -> Invoice:
        first = max(month.first, lease.start)
        last = month.last if lease.end is None else min(month.last, lease.end)
        is_first = lease.is_new and month is lease.months[0]
        # Leases of one run follow each other; a lease that begins within the month is billed on its first day.
        at = midnight(first) + 10 * HOUR_MS if first > month.first else month.runs_at + number * 3
        return self._issue(
            lease, at, first, (first, last), month.first, self._lines(lease, month, (first, last), is_first)
        )

    def _lines(self, lease: Lease, month: Month, days: tuple[int, int], is_first: bool) -> list[Line]:
        rent = lease.rent
        occupied = days[1] - days[0] + 1
        if occupied < month.days:
            # Half a cent goes up.
            rent = (2 * rent * occupied + month.days) // (2 * month.days)
        lines = [("RENT", self._rent_words(month, days), rent)]
        if is_first:
            lines.append(("DEPOSIT", "Deposit", lease.deposit))
        if lease.unit.has_water_meter:
            used = self._rng.randrange(3, 13)
            lines.append(("UTILITY", f"Water for {month.label}, {used} m³", used * _WATER_PRICE))
        elif lease.unit.bedrooms is None:
            lines.append(("OTHER", f"Service charge for {month.label}", lease.rent // 10))
        if self._late_fee_due:
            lines.append(("LATE_FEE", "Late fee on the invoice before", self._late_fee_due))
        elif not is_first and self._rng.random() < 0.004:
            lines.append(("CREDIT", "Repairs paid by the tenant", -self._rng.randrange(4, 16) * 100_00))
        return lines

    @staticmethod
    def _rent_words(month: Month, days: tuple[int, int]) -> str:
        part = (
            "" if days == (month.first, month.last) else f", {date_of(days[0]).day} to {date_of(days[1]).day}"
        )
        return f"Rent for {month.label}{part}"

    def _issue(
        self, lease: Lease, at: int, due: int, days: tuple[int, int], run: int | None, lines: list[Line]
    ) -> Invoice:
        total = sum(line[2] for line in lines)
        invoice = Invoice(lease, at, due, days[0], days[1], run, lines, total, at)
        self.invoices.append(invoice)
        self._apply_credit(invoice)
        if invoice.paid < total:
            self._open.append(invoice)
        return invoice

    def _apply_credit(self, invoice: Invoice) -> None:
        while self._credits and invoice.paid < invoice.total:
            payment = self._credits[0]
            self._allocate(payment, invoice, invoice.at, is_credit=True)
            if payment.allocated == payment.amount:
                self._credits.pop(0)

    def _allocate(self, payment: Payment, invoice: Invoice, at: int, *, is_credit: bool) -> int:
        amount = min(payment.amount - payment.allocated, invoice.total - invoice.paid)
        payment.allocated += amount
        invoice.paid += amount
        payment.changed = invoice.changed = at
        self.allocations.append(Allocation(payment, invoice, amount, at, is_credit))
        return amount

    # Collecting

    def _collect(self, lease: Lease, month: Month, invoice: Invoice, pace: str) -> None:
        """Let the tenant pay what he will until the next rent run; note the late fee that follows."""
        closes = min(midnight(month.last + 1) + 5 * HOUR_MS, self._plan.now_ms)
        grace_ends = midnight(invoice.due + lease.grace_days + 1)
        fee = None
        for days, amount in self._instalments(pace):
            at = self._moment(invoice.at, days, month)
            if at >= closes or amount <= 0:
                break
            if fee is None and at >= grace_ends:
                fee = self._late_fee(lease, invoice)
            self._receive(lease, at, amount)
        if fee is None and grace_ends <= self._plan.now_ms:
            fee = self._late_fee(lease, invoice)
        self._late_fee_due = fee or 0

    def _late_fee(self, lease: Lease, invoice: Invoice) -> int:
        kind, amount = lease.late_fee
        balance = invoice.total - invoice.paid
        if kind == "NONE" or balance == 0:
            return 0
        return amount if kind == "FLAT" else (balance * amount + 5_000) // 10_000

    def _moment(self, issued_at: int, days: int, month: Month) -> int:
        """Some time of that day, between seven and nine at night; at a month's end, in the days that are left."""
        left = (midnight(month.last + 1) - issued_at) // DAY_MS
        return (
            issued_at + min(days, left) * DAY_MS + days * 61_000 + self._rng.randrange(HOUR_MS, 14 * HOUR_MS)
        )

    def _instalments(self, pace: str) -> list[tuple[int, int]]:
        """Days after the invoice, and cents, of what a tenant of that pace pays."""
        rng = self._rng
        owed = sum(invoice.total - invoice.paid for invoice in self._open)
        if pace == "PARTS" or (pace in ("PROMPT", "LATE") and self._wants_more_payments()):
            return self._parts(owed, is_sure=pace != "PARTS")
        if pace == "PROMPT":
            return [(rng.randrange(5), owed)]
        if pace == "LATE":
            return [(rng.randrange(4, 20), owed)]
        if pace == "AHEAD":
            return [(rng.randrange(4), self._rounded_up(owed))]
        if rng.random() < 0.4:
            return []
        return [(rng.randrange(6, 22), owed if rng.random() < 0.6 else owed // 200_00 * 100_00)]

    def _wants_more_payments(self) -> bool:
        """Whether an exact number of payments is asked for and there are too few so far."""
        if self._plan.size.payments is None:
            return False
        return len(self.payments) < _PAYMENTS_PER_INVOICE * len(self.invoices)

    def _parts(self, owed: int, *, is_sure: bool) -> list[tuple[int, int]]:
        rng = self._rng
        first = owed * rng.choice((3, 4, 5, 6)) // 10 // 500_00 * 500_00
        day = rng.randrange(7)
        if is_sure or rng.random() < 0.75:
            return [(day, first), (day + rng.randrange(4, 14), owed - first)]
        return [(day, first)]

    def _rounded_up(self, owed: int) -> int:
        """What somebody pays who likes to be ahead: a round sum, or a month more."""
        if self._rng.random() < 0.12:
            return owed * 2
        return -(-owed // 1_000_00) * 1_000_00

    def _receive(self, lease: Lease, at: int, amount: int) -> Payment:
        payment = Payment(lease, at, amount, self._method(amount), changed=at)
        payment.invoice = self._open[0] if self._open and payment.method == "MPESA" else None
        self.payments.append(payment)
        while self._open and payment.allocated < amount:
            invoice = self._open[0]
            payment.applied += self._allocate(payment, invoice, at, is_credit=False)
            if invoice.paid == invoice.total:
                self._open.pop(0)
        if payment.allocated < amount:
            self._credits.append(payment)
        return payment

    def _method(self, amount: int) -> str:
        # M-Pesa carries whole shillings.
        if amount > MPESA_LIMIT or amount % 100:
            return "BANK"
        draw = self._rng.random()
        if draw < 0.8:
            return "MPESA"
        return "BANK" if draw < 0.94 else "CASH" if draw < 0.98 else "CHEQUE"

    # What does not happen every month

    def _add_extras(self, leases: list[Lease]) -> None:
        """Invoices made by hand in each state, a payment reversed, and money that nobody knows."""
        settled = set(map(id, self._settled))
        chosen = sorted(leases, key=lambda lease: (id(lease) not in settled, lease.is_new))
        now = self._plan.now_ms
        for number, lease in enumerate((chosen * 5)[:5]):
            # Leases with nothing open take part; where there are too few, no more than a story is lost.
            self._open, self._credits = [], []
            (self._extra_open, self._extra_part_paid, self._extra_void, self._extra_draft, self._reversal)[
                number
            ](lease, now)
        for number, typed in enumerate(("RENT", "HSE 12 NOV")):
            at = now - (number + 1) * 31 * HOUR_MS
            self.strays.append(
                Stray(at, (9_500_00, 17_000_00)[number], "", typed, "+2547*****" + str(318 + number))
            )

    def _charge(self, lease: Lease, at: int, what: str, cents: int) -> Invoice:
        day = self._plan.today
        return self._issue(lease, at, day + 11, (day, day), None, [("OTHER", what, cents)])

    def _extra_open(self, lease: Lease, now: int) -> None:
        self._charge(lease, now - 70 * HOUR_MS, "Replacement of the gate remote", 2_500_00)

    def _extra_part_paid(self, lease: Lease, now: int) -> None:
        self._charge(lease, now - 64 * HOUR_MS, "Painting after the tenant's alterations", 18_000_00)
        self._receive(lease, now - 21 * HOUR_MS, 7_000_00)

    def _extra_void(self, lease: Lease, now: int) -> None:
        invoice = self._charge(lease, now - 216 * HOUR_MS, "Replacement of the door lock", 3_500_00)
        invoice.forced_status = "VOID"
        invoice.changed = invoice.at + 1_260_000
        self.undoings.append(Undoing(invoice, invoice.changed))

    def _extra_draft(self, lease: Lease, now: int) -> None:
        self._charge(
            lease, now - 2 * HOUR_MS, "Unblocking of the kitchen drain", 1_800_00
        ).forced_status = "DRAFT"

    def _reversal(self, lease: Lease, now: int) -> None:
        payment = self._receive(lease, now - 50 * HOUR_MS, 12_000_00)
        payment.method, payment.status = "MPESA", "REVERSED"
        payment.changed = payment.at + 2 * HOUR_MS
        self.undoings.append(Undoing(payment, payment.changed))

    def _write_references(self) -> None:
        for number, payment in enumerate(self.payments, self._plan.number * 10_000_000 + 1):
            if payment.method == "MPESA":
                payment.reference = mpesa_receipt(payment.at, number)
            elif payment.method == "BANK":
                payment.reference = bank_reference(payment.at, number)
            elif payment.method == "CHEQUE":
                payment.reference = f"{number * 7 % 1_000_000:06d}"
        for number, stray in enumerate(self.strays, self._plan.number * 10_000_000 + 9_000_000):
            stray.receipt = mpesa_receipt(stray.at, number)

    def _add_failures(self) -> None:
        """Pushes that failed a few minutes before the payment that came through; they fill up the number asked for."""
        retried = [payment for payment in self.payments if payment.invoice is not None]
        wanted = self._plan.size.payments
        count = round(len(retried) * _FAILED_SHARE) if wanted is None else wanted - len(self.payments)
        for number in range(count):
            payment = retried[number * len(retried) // count]
            at = payment.at - 180_000 - number % 60 * 1_000
            code = result_code(self._rng.choice(_FAILURES))
            status = "CANCELLED" if code.outcome is Outcome.CANCELLED else "FAILED"
            failed = Payment(payment.lease, at, payment.amount, "MPESA", payment.invoice, status)
            failed.changed, failed.failure = at + 40_000, (code.code, code.words)
            self.payments.append(failed)
