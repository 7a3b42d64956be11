"""Makes all rows of one agency but its people who sign in. Runs in a process of its own in a large load."""

from __future__ import annotations

import gc
from random import Random
from typing import Final

from haven.billing.ledger import ACCOUNT_KINDS
from haven.demo.binary import Ids
from haven.demo.calendar import instant
from haven.demo.figures import Figures
from haven.demo.plan import AgencyPlan, Row, hexed, shillings
from haven.demo.portfolio import Portfolio
from haven.demo.rows import FigureRows
from haven.demo.tables import Block, text_block

_OF_LEASES: Final = ("TENANT_RECEIVABLE", "TENANT_CREDIT")
_OF_OWNERS: Final = "OWNER_PAYABLE"


def agency_blocks(plan: AgencyPlan) -> list[Block]:
    """The rows of an agency, table by table in the order of their foreign keys."""
    portfolio = Portfolio(plan)
    own, account_rows = _accounts(plan, portfolio)
    figures = Figures(plan, portfolio.leases)
    written = FigureRows(plan, figures, own)
    counters: list[Row] = [
        (plan.agency, "INVOICE", str(written.invoice_count)),
        (plan.agency, "RECEIPT", str(written.receipt_count)),
    ]
    texts: dict[str, list[Row]] = {
        **portfolio.rows,
        "counter": counters,
        "ledger_account": account_rows,
        "unmatched_receipt": _strays(plan, figures),
    }
    return [text_block(table, rows) for table, rows in texts.items()] + written.blocks


def agency_blocks_alone(plan: AgencyPlan) -> list[Block]:
    """``agency_blocks`` for a process that does nothing else: without the garbage collector, a third quicker."""
    gc.disable()
    return agency_blocks(plan)


def _accounts(plan: AgencyPlan, portfolio: Portfolio) -> tuple[dict[str, bytes], list[Row]]:
    """The agency's ledger accounts: its own by code, and two for each lease, one for each owner."""
    ids = Ids(Random(f"{plan.seed}/{plan.number}/accounts"))
    at = plan.joined_at()
    own: dict[str, bytes] = {}
    rows: list[Row] = []
    for code, kind in ACCOUNT_KINDS.items():
        if code == _OF_OWNERS or code in _OF_LEASES:
            continue
        own[code] = ids.at(at)
        rows.append((plan.agency, hexed(own[code]), code, kind, None, None))
    kind = ACCOUNT_KINDS[_OF_OWNERS]
    for owner in portfolio.owners:
        owner.payable = ids.at(at)
        rows.append((plan.agency, hexed(owner.payable), _OF_OWNERS, kind, None, hexed(owner.id)))
    for lease in portfolio.leases:
        if lease.months:
            lease.receivable, lease.credit = ids.at(lease.created_at), ids.at(lease.created_at)
            for code, account in zip(_OF_LEASES, (lease.receivable, lease.credit), strict=True):
                rows.append((plan.agency, hexed(account), code, ACCOUNT_KINDS[code], hexed(lease.id), None))
    return own, rows


def _strays(plan: AgencyPlan, figures: Figures) -> list[Row]:
    ids = Ids(Random(f"{plan.seed}/{plan.number}/strays"))
    return [
        (
            *(
                plan.agency,
                hexed(ids.at(stray.at)),
                stray.receipt,
                shillings(stray.amount),
                instant(stray.at),
            ),
            *(stray.typed, stray.payer, instant(stray.at)),
        )
        for stray in figures.strays
    ]
