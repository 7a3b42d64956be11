"""Makes all rows of one agency but its people who sign in. Runs in a process of its own in a large load."""

from __future__ import annotations

import gc
from random import Random
from typing import Final

from haven.demo.binary import Ids
from haven.demo.calendar import instant
from haven.demo.figures import Figures
from haven.demo.portfolio import AgencyPlan, Portfolio, hexed, shillings
from haven.demo.rows import FigureRows
from haven.demo.tables import Block, text_block

_OWN_ACCOUNTS: Final = {
    "MPESA_CLEARING": "ASSET",
    "BANK": "ASSET",
    "CASH": "ASSET",
    "DEPOSITS_HELD": "LIABILITY",
    "SUSPENSE": "LIABILITY",
    "RENT_INCOME": "INCOME",
    "UTILITY_INCOME": "INCOME",
    "LATE_FEE_INCOME": "INCOME",
    "OTHER_INCOME": "INCOME",
    "MANAGEMENT_FEE_INCOME": "INCOME",
}

TextRows = list[tuple[str | None, ...]]


def agency_blocks(plan: AgencyPlan) -> list[Block]:
    """The rows of an agency, table by table in the order of their foreign keys."""
    portfolio = Portfolio(plan)
    own, account_rows = _accounts(plan, portfolio)
    figures = Figures(plan, portfolio)
    written = FigureRows(plan, figures, own)
    counters = [
        (plan.agency, "INVOICE", str(written.invoice_count)),
        (plan.agency, "RECEIPT", str(written.receipt_count)),
    ]
    texts: dict[str, TextRows] = {
        **portfolio.rows,
        "lease": portfolio.lease_rows(),
        "counter": counters,
        "ledger_account": account_rows,
        "unmatched_receipt": _strays(plan, figures),
    }
    return [text_block(table, rows) for table, rows in texts.items()] + written.blocks


def agency_blocks_alone(plan: AgencyPlan) -> list[Block]:
    """``agency_blocks`` for a process that does nothing else: without the garbage collector, a third quicker."""
    gc.disable()
    return agency_blocks(plan)


def _accounts(plan: AgencyPlan, portfolio: Portfolio) -> tuple[dict[str, bytes], TextRows]:
    """The agency's ledger accounts: its own by code, and two for each lease, one for each owner."""
    ids = Ids(Random(f"{plan.seed}/{plan.number}/accounts"))  # noqa: S311
    at = plan.joined_at()
    own: dict[str, bytes] = {}
    rows: TextRows = []
    for code, kind in _OWN_ACCOUNTS.items():
        own[code] = ids.at(at)
        rows.append((plan.agency, hexed(own[code]), code, kind, None, None))
    for owner in portfolio.owners:
        rows.append((plan.agency, hexed(ids.at(at)), "OWNER_PAYABLE", "LIABILITY", None, hexed(owner)))
    for lease in portfolio.leases:
        if lease.months:
            lease.receivable, lease.credit = ids.at(lease.created_at), ids.at(lease.created_at)
            for code, kind, account in (
                ("TENANT_RECEIVABLE", "ASSET", lease.receivable),
                ("TENANT_CREDIT", "LIABILITY", lease.credit),
            ):
                rows.append((plan.agency, hexed(account), code, kind, hexed(lease.id), None))
    return own, rows


def _strays(plan: AgencyPlan, figures: Figures) -> TextRows:
    ids = Ids(Random(f"{plan.seed}/{plan.number}/strays"))  # noqa: S311
    return [
        (
            *(plan.agency, hexed(ids.at(stray.at)), stray.receipt, shillings(stray.amount), instant(stray.at)),
            *(stray.typed, stray.payer, instant(stray.at)),
        )
        for stray in figures.strays
    ]
