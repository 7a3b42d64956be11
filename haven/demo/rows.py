"""Turns an agency's figures into rows of the seven large tables, in binary COPY format.

These loops run some eleven million times in a large load: they join fields that are made already and call as little
as can be.
"""

from __future__ import annotations

from operator import attrgetter
from random import Random
from typing import Final

from haven.billing.ledger import CLEARING_OF_METHOD, INCOME_OF_LINE
from haven.demo import binary
from haven.demo.binary import NULL, Amounts, Ids, Texts, integer
from haven.demo.figures import Allocation, Figures, Invoice, Payment, Undoing
from haven.demo.owners import Collected, Share, by_month, shares
from haven.demo.plan import AgencyPlan
from haven.demo.tables import COLUMNS, Block

_LONG: Final = 20_000
_WHY_REVERSED: Final = "Sent twice by the tenant"
Side = tuple[bytes, int, int]
"""Account, debit, credit: one entry."""


class Sheet:
    """Collects the rows of one table: fields one after the other, the head of each row first."""

    def __init__(self, table: str, agency: bytes) -> None:
        self.head = binary.row(len(COLUMNS[table])) + agency
        self.fields: list[bytes] = []
        self._table = table
        self._chunks = [binary.HEADER]
        self._rows = 0

    def fold(self) -> None:
        """Join what was collected once it is long: a small working set stays in the processor's cache."""
        if len(self.fields) > _LONG:
            self._join()

    def block(self) -> Block:
        """All rows, ready to COPY."""
        self._join()
        return Block(self._table, self._rows, b"".join((*self._chunks, binary.TRAILER)))

    def _join(self) -> None:
        self._rows += len(self.fields) // len(COLUMNS[self._table])
        self._chunks.append(b"".join(self.fields))
        self.fields.clear()


class FigureRows:
    """The rows of an agency's figures; ``accounts`` are the ids of the agency's own ledger accounts by code."""

    def __init__(self, plan: AgencyPlan, figures: Figures, accounts: dict[str, bytes]) -> None:
        self.blocks: list[Block] = []
        self.invoice_count = 0
        self.receipt_count = 0
        self._plan = plan
        self._figures = figures
        self._accounts = accounts
        self._ids = Ids(Random(f"{plan.seed}/{plan.number}/rows"))
        self._amounts = Amounts()
        self._texts = Texts()
        self._lines = self.sheet("invoice_line")
        self._write_invoices()
        self._write_payments()
        self._write_allocations()
        passed_on = list(shares(figures.invoices))
        self._write_shares(passed_on)
        Journal(self, plan, figures, by_month(passed_on))

    def sheet(self, table: str) -> Sheet:
        """An empty sheet of a table for the agency."""
        return Sheet(table, self._plan.id)

    def _status(self, invoice: Invoice) -> str:
        if invoice.forced_status is not None:
            return invoice.forced_status
        if invoice.paid == invoice.total:
            return "PAID"
        if invoice.due < self._plan.today:
            return "OVERDUE"
        return "PARTIALLY_PAID" if invoice.paid else "OPEN"

    def _write_invoices(self) -> None:
        sheet, amounts, texts = self.sheet("invoice"), self._amounts, self._texts
        number = 0
        for invoice in self._figures.invoices:
            at = binary.instant(invoice.at)
            is_draft = invoice.forced_status == "DRAFT"
            number += not is_draft
            invoice.number = number
            invoice.id = self._ids.at(invoice.at)
            sheet.fields += (
                sheet.head,
                invoice.id,
                invoice.lease.id,
                invoice.lease.tenant_id,
                NULL if is_draft else integer(4, number),
                integer(4, invoice.first),
                integer(4, invoice.last),
                NULL if is_draft else at,
                integer(4, invoice.due),
                amounts[invoice.total],
                amounts[invoice.paid],
                texts[self._status(invoice)],
                NULL if invoice.run is None else integer(4, invoice.run),
                at,
                at if invoice.changed == invoice.at else binary.instant(invoice.changed),
            )
            sheet.fold()
            self._write_lines(invoice)
        self.invoice_count = number
        self.blocks += (sheet.block(), self._lines.block())

    def _write_lines(self, invoice: Invoice) -> None:
        sheet, texts = self._lines, self._texts
        for position, (kind, description, cents) in enumerate(invoice.lines, 1):
            sheet.fields += (
                sheet.head,
                self._ids.at(invoice.at),
                invoice.id,
                integer(4, position),
                texts[kind],
                texts[description],
                self._amounts[cents],
            )
        sheet.fold()

    def _write_payments(self) -> None:
        sheet, amounts, texts = self.sheet("payment"), self._amounts, self._texts
        receipt = 0
        for payment in self._figures.payments:
            at = binary.instant(payment.at)
            changed = at if payment.changed == payment.at else binary.instant(payment.changed)
            is_failed, is_reversed = payment.failure is not None, payment.status == "REVERSED"
            receipt += not is_failed
            payment.receipt = receipt
            payment.id = self._ids.at(payment.at)
            sheet.fields += (
                sheet.head,
                payment.id,
                payment.lease.id,
                payment.lease.tenant_id,
                payment.invoice.id if payment.invoice else NULL,
                amounts[payment.amount],
                texts[payment.method],
                texts[payment.status],
                NULL if is_failed else at,
                NULL if payment.reference is None else binary.text(payment.reference),
                payment.lease.phone if payment.method == "MPESA" else NULL,
                texts[payment.failure[0]] if payment.failure else NULL,
                texts[payment.failure[1]] if payment.failure else NULL,
                amounts[payment.allocated],
                NULL if is_failed else integer(4, receipt),
                changed if is_reversed else NULL,
                texts[_WHY_REVERSED] if is_reversed else NULL,
                at,
                changed,
            )
            sheet.fold()
        self.receipt_count = receipt
        self.blocks.append(sheet.block())

    def _write_allocations(self) -> None:
        sheet = self.sheet("allocation")
        for allocation in self._figures.allocations:
            sheet.fields += (
                sheet.head,
                self._ids.at(allocation.at),
                allocation.payment.id,
                allocation.invoice.id,
                self._amounts[allocation.amount],
                binary.instant(allocation.at),
            )
            sheet.fold()
        self.blocks.append(sheet.block())

    def _write_shares(self, passed_on: list[Share]) -> None:
        sheet, amounts = self.sheet("owner_share"), self._amounts
        for share in passed_on:
            owner = share.owner
            sheet.fields += (
                sheet.head,
                self._ids.at(share.invoice.at),
                share.invoice.id,
                owner.id,
                amounts[owner.fee_percent],
                amounts[share.rent],
                amounts[share.other],
                amounts[share.fee],
            )
            sheet.fold()
        self.blocks.append(sheet.block())


class Journal:
    """The ledger of the figures: one transaction for each event of money, in order of time."""

    def __init__(
        self, rows: FigureRows, plan: AgencyPlan, figures: Figures, collected: list[Collected]
    ) -> None:
        self._rows = rows
        self._accounts = rows._accounts
        self._amounts = rows._amounts
        self._texts = rows._texts
        self._transactions = rows.sheet("ledger_transaction")
        self._entries = rows.sheet("ledger_entry")
        rng = Random(f"{plan.seed}/{plan.number}/journal")
        self._ids, self._entry_ids = Ids(rng), Ids(rng)
        self._posted: dict[int, tuple[bytes, list[Side]]] = {}
        self._undone = {id(undoing.of) for undoing in figures.undoings}
        self._post_all(figures, collected)

    def _post_all(self, figures: Figures, collected: list[Collected]) -> None:
        events: list[Invoice | Payment | Allocation | Undoing | Collected] = [
            *(invoice for invoice in figures.invoices if invoice.forced_status != "DRAFT"),
            *(payment for payment in figures.payments if payment.failure is None),
            *(allocation for allocation in figures.allocations if allocation.is_credit),
            *figures.undoings,
            *collected,
        ]
        events.sort(key=attrgetter("at"))
        for event in events:
            if isinstance(event, Payment):
                self._post_payment(event)
            elif isinstance(event, Invoice):
                self._post_invoice(event)
            elif isinstance(event, Allocation):
                self._post_credit(event)
            elif isinstance(event, Collected):
                self._post_collected(event)
            else:
                self._post_undoing(event)
        for stray in figures.strays:
            sides = self._moved("MPESA_CLEARING", "SUSPENSE", stray.amount)
            self._post(stray.at, "UNMATCHED", f"Unmatched receipt {stray.receipt}", NULL, NULL, NULL, sides)
        self._rows.blocks += (self._transactions.block(), self._entries.block())

    def _moved(self, debit: str, credit: str, cents: int) -> list[Side]:
        return [(self._accounts[debit], cents, 0), (self._accounts[credit], 0, cents)]

    def _post_invoice(self, invoice: Invoice) -> None:
        accounts = self._accounts
        sides = [(invoice.lease.receivable, invoice.total, 0)]
        for kind, _, cents in invoice.lines:
            account = accounts[INCOME_OF_LINE[kind]]
            sides.append((account, 0, cents) if cents > 0 else (account, -cents, 0))
        text = f"INV-{invoice.number:06d} issued"
        transaction = self._post(invoice.at, "INVOICE", text, invoice.id, NULL, NULL, sides)
        if id(invoice) in self._undone:
            self._posted[id(invoice)] = (transaction, sides)

    def _post_payment(self, payment: Payment) -> None:
        rest = payment.amount - payment.applied
        sides = [(self._accounts[CLEARING_OF_METHOD[payment.method]], payment.amount, 0)]
        if payment.applied:
            sides.append((payment.lease.receivable, 0, payment.applied))
        if rest:
            sides.append((payment.lease.credit, 0, rest))
        text = f"RCT-{payment.receipt:06d} received"
        transaction = self._post(payment.at, "PAYMENT", text, NULL, payment.id, NULL, sides)
        if id(payment) in self._undone:
            self._posted[id(payment)] = (transaction, sides)

    def _post_credit(self, allocation: Allocation) -> None:
        lease = allocation.invoice.lease
        sides = [(lease.credit, allocation.amount, 0), (lease.receivable, 0, allocation.amount)]
        ids = (allocation.invoice.id, allocation.payment.id)
        self._post(allocation.at, "CREDIT_APPLIED", "Credit pays an invoice", *ids, NULL, sides)

    def _post_collected(self, month: Collected) -> None:
        accounts, payable = self._accounts, month.owner.payable
        sides = [
            (accounts["RENT_TO_OWNERS"], month.rent, 0),
            (accounts["OTHER_TO_OWNERS"], month.other, 0),
            (payable, 0, month.rent + month.other),
        ]
        fee = [(payable, month.fee, 0), (accounts["MANAGEMENT_FEE_INCOME"], 0, month.fee)]
        for kind, text, moved in (
            ("COLLECTED", "Collected in the month", sides),
            ("MANAGEMENT_FEE", "Management fee of the month", fee),
        ):
            entries = [side for side in moved if any(side[1:])]
            if entries:
                self._post(month.at, kind, text, NULL, NULL, NULL, entries)

    def _post_undoing(self, undoing: Undoing) -> None:
        reversed_id, sides = self._posted[id(undoing.of)]
        opposite = [(account, credit, debit) for account, debit, credit in sides]
        if isinstance(undoing.of, Invoice):
            text = f"INV-{undoing.of.number:06d} voided: charged by mistake"
            self._post(undoing.at, "INVOICE_VOID", text, undoing.of.id, NULL, reversed_id, opposite)
        else:
            text = f"Payment reversed: {_WHY_REVERSED}"
            self._post(undoing.at, "REVERSAL", text, NULL, undoing.of.id, reversed_id, opposite)

    def _post(
        self,
        at: int,
        kind: str,
        text: str,
        invoice: bytes,
        payment: bytes,
        reverses: bytes,
        sides: list[Side],
    ) -> bytes:
        if sum(debit - credit for _, debit, credit in sides):
            raise ValueError(f"{text} does not balance")
        transaction, time = self._ids.at(at), binary.instant(at)
        sheet = self._transactions
        sheet.fields += (
            sheet.head,
            transaction,
            time,
            time,
            self._texts[kind],
            binary.text(text),
            invoice,
            payment,
            reverses,
        )
        sheet.fold()
        sheet, amounts, new_id = self._entries, self._amounts, self._entry_ids.at
        fields, head = sheet.fields, sheet.head
        for account, debit, credit in sides:
            fields += (head, new_id(at), transaction, account, amounts[debit], amounts[credit])
        sheet.fold()
        return transaction
