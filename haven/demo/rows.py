"""Turns an agency's figures into rows of the six large tables, in binary COPY format.

These loops run some eleven million times in a large load: they join fields that are made already and call as little
as can be.
"""

from __future__ import annotations

from random import Random
from typing import Final

from haven.demo import binary
from haven.demo.binary import NULL, Amounts, Ids, Texts, integer
from haven.demo.figures import Allocation, Figures, Invoice, Payment, Undoing
from haven.demo.portfolio import AgencyPlan
from haven.demo.tables import COLUMNS, Block

_CLEARING: Final = {"MPESA": "MPESA_CLEARING", "CASH": "CASH", "BANK": "BANK", "CARD": "BANK", "CHEQUE": "BANK"}
_INCOME: Final = {
    "RENT": "RENT_INCOME",
    "DEPOSIT": "DEPOSITS_HELD",
    "UTILITY": "UTILITY_INCOME",
    "LATE_FEE": "LATE_FEE_INCOME",
    "OTHER": "OTHER_INCOME",
    "CREDIT": "OTHER_INCOME",
}
Side = tuple[bytes, int, int]
"""Account, debit, credit: one entry."""


class FigureRows:
    """The rows of an agency's figures; ``accounts`` are the ids of the agency's own ledger accounts by code."""

    def __init__(self, plan: AgencyPlan, figures: Figures, accounts: dict[str, bytes]) -> None:
        self.blocks: list[Block] = []
        self.invoice_count = 0
        self.receipt_count = 0
        self._plan = plan
        self._figures = figures
        self._accounts = accounts
        self._ids = Ids(Random(f"{plan.seed}/{plan.number}/rows"))  # noqa: S311
        self._amounts = Amounts()
        self._texts = Texts()
        self._line_head = self.head("invoice_line")
        self._write_invoices()
        self._write_payments()
        self._write_allocations()
        Journal(self, plan, figures)

    def head(self, table: str) -> bytes:
        """What each row of a table begins with: the number of its columns, and the agency."""
        return binary.row(len(COLUMNS[table])) + self._plan.id

    def add(self, table: str, fields: list[bytes]) -> None:
        """Keep the rows of a table: their fields one after the other, the head of each row first."""
        width = len(COLUMNS[table])
        self.blocks.append(Block(table, len(fields) // width, b"".join((binary.HEADER, *fields, binary.TRAILER))))

    def _status(self, invoice: Invoice) -> str:
        if invoice.forced_status is not None:
            return invoice.forced_status
        if invoice.paid == invoice.total:
            return "PAID"
        if invoice.due < self._plan.today:
            return "OVERDUE"
        return "PARTIALLY_PAID" if invoice.paid else "OPEN"

    def _write_invoices(self) -> None:
        head, amounts, texts = self.head("invoice"), self._amounts, self._texts
        fields: list[bytes] = []
        lines: list[bytes] = []
        number = 0
        for invoice in self._figures.invoices:
            at = binary.instant(invoice.at)
            is_draft = invoice.forced_status == "DRAFT"
            number += not is_draft
            invoice.number = number
            invoice.id = self._ids.at(invoice.at)
            fields += (
                head,
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
            self._write_lines(invoice, lines)
        self.invoice_count = number
        self.add("invoice", fields)
        self.add("invoice_line", lines)

    def _write_lines(self, invoice: Invoice, fields: list[bytes]) -> None:
        head, texts, position = self._line_head, self._texts, 0
        for kind, description, cents in invoice.lines:
            position += 1
            fields += (
                head,
                self._ids.at(invoice.at),
                invoice.id,
                integer(4, position),
                texts[kind],
                texts[description],
                self._amounts[cents],
            )

    def _write_payments(self) -> None:
        head, amounts, texts = self.head("payment"), self._amounts, self._texts
        fields: list[bytes] = []
        receipt = 0
        for payment in self._figures.payments:
            at = binary.instant(payment.at)
            changed = at if payment.changed == payment.at else binary.instant(payment.changed)
            is_failed, is_reversed = payment.status == "FAILED", payment.status == "REVERSED"
            receipt += not is_failed
            payment.receipt = receipt
            payment.id = self._ids.at(payment.at)
            fields += (
                head,
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
                texts["Sent twice by the tenant"] if is_reversed else NULL,
                at,
                changed,
            )
        self.receipt_count = receipt
        self.add("payment", fields)

    def _write_allocations(self) -> None:
        head = self.head("allocation")
        fields: list[bytes] = []
        for allocation in self._figures.allocations:
            fields += (
                head,
                self._ids.at(allocation.at),
                allocation.payment.id,
                allocation.invoice.id,
                self._amounts[allocation.amount],
                binary.instant(allocation.at),
            )
        self.add("allocation", fields)


class Journal:
    """The ledger of the figures: one transaction for each event of money, in order of time."""

    def __init__(self, rows: FigureRows, plan: AgencyPlan, figures: Figures) -> None:
        self._rows = rows
        self._accounts = rows._accounts
        self._amounts = rows._amounts
        self._texts = rows._texts
        self._head = rows.head("ledger_transaction")
        self._entry_head = rows.head("ledger_entry")
        rng = Random(f"{plan.seed}/{plan.number}/journal")  # noqa: S311
        self._ids, self._entry_ids = Ids(rng), Ids(rng)
        self._transactions: list[bytes] = []
        self._entries: list[bytes] = []
        self._posted: dict[int, tuple[bytes, list[Side]]] = {}
        self._undone = {id(undoing.of) for undoing in figures.undoings}
        self._post_all(figures)

    def _post_all(self, figures: Figures) -> None:
        events: list[Invoice | Payment | Allocation | Undoing] = [
            *(invoice for invoice in figures.invoices if invoice.forced_status != "DRAFT"),
            *(payment for payment in figures.payments if payment.status != "FAILED"),
            *(allocation for allocation in figures.allocations if allocation.is_credit),
            *figures.undoings,
        ]
        events.sort(key=lambda event: event.at)
        for event in events:
            if isinstance(event, Payment):
                self._post_payment(event)
            elif isinstance(event, Invoice):
                self._post_invoice(event)
            elif isinstance(event, Allocation):
                self._post_credit(event)
            else:
                self._post_undoing(event)
        for stray in figures.strays:
            sides = self._moved("MPESA_CLEARING", "SUSPENSE", stray.amount)
            self._post(stray.at, "UNMATCHED", f"Unmatched receipt {stray.receipt}", NULL, NULL, NULL, sides)
        self._rows.add("ledger_transaction", self._transactions)
        self._rows.add("ledger_entry", self._entries)

    def _moved(self, debit: str, credit: str, cents: int) -> list[Side]:
        return [(self._accounts[debit], cents, 0), (self._accounts[credit], 0, cents)]

    def _post_invoice(self, invoice: Invoice) -> None:
        accounts = self._accounts
        sides = [(invoice.lease.receivable, invoice.total, 0)]
        for kind, _, cents in invoice.lines:
            account = accounts[_INCOME[kind]]
            sides.append((account, 0, cents) if cents > 0 else (account, -cents, 0))
        text = f"Invoice INV-{invoice.number:06d}"
        transaction = self._post(invoice.at, "INVOICE", text, invoice.id, NULL, NULL, sides)
        if id(invoice) in self._undone:
            self._posted[id(invoice)] = (transaction, sides)

    def _post_payment(self, payment: Payment) -> None:
        rest = payment.amount - payment.applied
        sides = [(self._accounts[_CLEARING[payment.method]], payment.amount, 0)]
        if payment.applied:
            sides.append((payment.lease.receivable, 0, payment.applied))
        if rest:
            sides.append((payment.lease.credit, 0, rest))
        text = f"Payment RCT-{payment.receipt:06d}"
        transaction = self._post(payment.at, "PAYMENT", text, NULL, payment.id, NULL, sides)
        if id(payment) in self._undone:
            self._posted[id(payment)] = (transaction, sides)

    def _post_credit(self, allocation: Allocation) -> None:
        lease = allocation.invoice.lease
        sides = [(lease.credit, allocation.amount, 0), (lease.receivable, 0, allocation.amount)]
        text = f"Credit applied to INV-{allocation.invoice.number:06d}"
        ids = (allocation.invoice.id, allocation.payment.id)
        self._post(allocation.at, "CREDIT_APPLIED", text, *ids, NULL, sides)

    def _post_undoing(self, undoing: Undoing) -> None:
        reversed_id, sides = self._posted[id(undoing.of)]
        opposite = [(account, credit, debit) for account, debit, credit in sides]
        if isinstance(undoing.of, Invoice):
            text = f"Void of INV-{undoing.of.number:06d}"
            self._post(undoing.at, "INVOICE_VOID", text, undoing.of.id, NULL, reversed_id, opposite)
        else:
            text = f"Reversal of RCT-{undoing.of.receipt:06d}"
            self._post(undoing.at, "REVERSAL", text, NULL, undoing.of.id, reversed_id, opposite)

    def _post(
        self, at: int, kind: str, text: str, invoice: bytes, payment: bytes, reverses: bytes, sides: list[Side]
    ) -> bytes:
        transaction, time = self._ids.at(at), binary.instant(at)
        self._transactions += (
            self._head,
            transaction,
            time,
            time,
            self._texts[kind],
            binary.text(text),
            invoice,
            payment,
            reverses,
        )
        head, amounts, new_id = self._entry_head, self._amounts, self._entry_ids.at
        for account, debit, credit in sides:
            self._entries += (head, new_id(at), transaction, account, amounts[debit], amounts[credit])
        return transaction
