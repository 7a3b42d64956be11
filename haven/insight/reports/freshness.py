"""Whether an agency's rows are still what a finished report was computed from.

The cache's generations say so: random tokens in Redis that a writer replaces around its commit, so that equal tokens mean
equal rows, and a Redis that was flushed or is away means: not known (``extensions/caching/generations.py``). Reports are
handed out again only where it is known.
"""

from __future__ import annotations

import uuid
from typing import Final

from extensions.caching.cache import Cache
from extensions.caching.link import Unavailable

TABLES: Final = (
    "agency", "owner", "property", "unit", "tenant", "lease", "invoice", "invoice_line", "credit_note", "credit_note_line",
    "disbursement", "payment", "allocation", "unmatched_receipt", "ledger_entry",
)  # fmt: skip
"""What reports read, as tags. Accounts and transactions of the ledger, and owners' shares, come with entries."""


def generation(cache: Cache, agency_id: uuid.UUID) -> str | None:
    """What the agency's rows are at; None while that is not certain. To be read before the rows are."""
    if not cache.rules.is_on or not cache.debts.are_none():
        return None
    try:
        return cache.generations.read(str(agency_id), TABLES)[0]
    except Unavailable:
        return None
