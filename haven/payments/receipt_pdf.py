"""The receipt of a payment as a typeset page: one PDF, made of ``receipt.typ`` and the receipt's own words.

What people have typed goes to the template as JSON and is shown as text. It is never part of the source, so a name
cannot be markup.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import typst

from haven.errors import Unavailable

_TEMPLATE: Final = Path(__file__).with_name("receipt.typ")
_LONGEST: Final = 160
"""Characters of a name or reference that are shown."""
_MOST_LINES: Final = 60
"""Invoices that have a line of their own; the rest are one line together."""
_AT_ONCE: Final = 2
_WAIT_S: Final = 5.0
_METHODS: Final = {
    "MPESA": "M-PESA",
    "CASH": "Cash",
    "BANK": "Bank transfer",
    "CARD": "Card",
    "CHEQUE": "Cheque",
}
_WORDS: Final = {
    "receipt": "Receipt",
    "amount": "Amount received",
    "invoice": "Invoice",
    "period": "For",
    "paid": "Paid",
}

# Typesetting takes a processor's whole attention: more at once would only make each slower, and the API with them.
_places = threading.BoundedSemaphore(_AT_ONCE)


def receipt_pdf(receipt: Mapping[str, Any]) -> bytes:
    """The page for what ``receipts.receipt`` gives; the same receipt is the same bytes.

    Raises:
        Unavailable: others are being made, and none was finished within five seconds.
    """
    shown = json.dumps(_shown(receipt))
    # A PDF's own date, in whole seconds since 1970.
    made_at = max(0, int(receipt["paid_at"].timestamp()))
    if not _places.acquire(timeout=_WAIT_S):
        raise Unavailable("Many receipts are being made at once.", retry_after_s=2)
    try:
        compiler = typst.Compiler(_source(), font_paths=_fonts(), sys_inputs={"receipt": shown})
        made = compiler.compile(format="pdf", timestamp=made_at)
    finally:
        _places.release()
    assert isinstance(made, bytes)
    return made


@cache
def _source() -> bytes:
    return _TEMPLATE.read_bytes()


@cache
def _fonts() -> typst.Fonts:
    """Typst's own fonts, which the page is set in, and those of the machine for letters that these do not have."""
    return typst.Fonts(include_system_fonts=True, include_embedded_fonts=True)


def _shown(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Everything on the page, in words."""
    currency = receipt["currency"]
    is_reversed = receipt["status"] == "REVERSED"
    return {
        "title": f"Receipt {receipt['number']}",
        "agency": _text(receipt["agency"]),
        "number": receipt["number"],
        "notice": "This payment was reversed: it no longer counts." if is_reversed else None,
        "amount": _money(receipt["amount"], currency),
        "paid_at": _moment(receipt["paid_at"], receipt["timezone"]),
        "facts": _facts(receipt),
        "lines": _lines(receipt["allocations"]),
        "sums": _sums(receipt),
        "words": _WORDS,
        "footer": f"Payment {receipt['payment_id']}. All amounts in {currency}.",
    }


def _facts(receipt: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("Received from", receipt["tenant"]),
        ("Property", receipt["property"]),
        ("Unit", receipt["unit"]),
        ("Paid by", _METHODS[receipt["method"]]),
        ("Reference", receipt["reference"]),
        ("Phone", receipt["phone"]),
    ]
    return [(name, _text(value)) for name, value in facts if value]


def _lines(allocations: list[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    shown, rest = allocations[:_MOST_LINES], allocations[_MOST_LINES:]
    lines = [
        (share["number"], _period(share["period_start"], share["period_end"]), _money(share["amount"]))
        for share in shown
    ]
    if rest:
        together = sum((share["amount"] for share in rest), Decimal("0.00"))
        lines.append(("…", f"and {len(rest)} more invoices", _money(together)))
    return lines


def _sums(receipt: Mapping[str, Any]) -> list[tuple[str, str]]:
    sums = []
    if receipt["unallocated"]:
        sums.append(("Kept as credit for what is billed next", _money(receipt["unallocated"])))
    balance = receipt["balance_after"]
    words = "Owed after this payment" if balance >= 0 else "In credit after this payment"
    return [*sums, (words, _money(abs(balance)))]


def _money(amount: Decimal, currency: str = "") -> str:
    return f"{currency} {amount:,.2f}".strip()


def _moment(at: dt.datetime, zone: str) -> str:
    local = at.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%B %Y, %H:%M} {local.tzname()}"


def _period(start: dt.date, end: dt.date) -> str:
    """``November 2026`` for a whole month, else both days."""
    next_day = end + dt.timedelta(days=1)
    is_month = start.day == 1 and next_day.day == 1 and (end.year, end.month) == (start.year, start.month)
    return f"{start:%B %Y}" if is_month else f"{start.day} {start:%B %Y} to {end.day} {end:%B %Y}"


def _text(value: str) -> str:
    """``value`` on one line, without control characters, cut where it is too long."""
    line = " ".join("".join(" " if unicodedata.category(one) == "Cc" else one for one in value).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
