"""Which stored answers a write to each table clears.

A tag is named after the table that the answer was computed from, so a list depends on the tags of the tables it reads
(``Listing.tables``), and a test finds a list that reads one which is not here. What a cascading key removes is named with its
parent. Who reads from more than this (a dashboard, a report) adds its tables.
"""

from __future__ import annotations

from typing import Final

CLEARS: Final[dict[str, tuple[str, ...]]] = {
    "agency": ("agency",),
    "owner": ("owner",),
    "property": ("property",),
    "unit": ("unit",),
    "tenant": ("tenant",),
    "lease": ("lease",),
    "invoice": ("invoice", "invoice_line"),
    "invoice_line": ("invoice_line",),
    "credit_note": ("credit_note",),
    "credit_note_line": ("credit_note_line",),
    "disbursement": ("disbursement",),
    "payment": ("payment",),
    "allocation": ("allocation",),
    "unmatched_receipt": ("unmatched_receipt",),
    "ledger_entry": ("ledger_entry",),
}
"""Table → the tags that a write to it clears."""

TAGS: Final = tuple(sorted({tag for tags in CLEARS.values() for tag in tags}))
