"""Jobs about money: the month's rent, asking M-Pesa, applying what it sent. None does anything twice."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

from haven.billing import service as billing
from haven.payments import service as payments

if TYPE_CHECKING:
    from haven.operations.jobs import JobContext


def rent_run(context: JobContext, period: str) -> dict[str, Any]:
    """Bill every active lease for the month ``2026-11``; started again, it goes on where it stopped."""
    result = billing.run_period(context, period)
    return {"period": result.period, "invoices": result.invoices, "total": str(result.total)}


def late_fees(context: JobContext) -> dict[str, Any]:
    """Charge every late fee that is due; started again, it charges what is left."""
    result = billing.charge_late_fees(context)
    return {"invoices": result.invoices, "total": str(result.total)}


def mpesa_query(context: JobContext, attempt_id: str) -> dict[str, Any]:
    """Ask M-Pesa what became of a push, and act on the answer."""
    return {"outcome": payments.ask(context, uuid.UUID(attempt_id))}


def mpesa_apply(context: JobContext, inbox_id: str) -> dict[str, Any]:
    """Act on a callback that has been stored."""
    with context.session() as session:
        outcome = payments.apply_callback(session, uuid.UUID(inbox_id))
    return {"outcome": outcome}


def mpesa_pull(context: JobContext, kind: Literal["RECENT", "NIGHTLY"]) -> dict[str, Any]:
    """Compare the books with M-Pesa's own list of what was paid."""
    return payments.pull(context, kind)
