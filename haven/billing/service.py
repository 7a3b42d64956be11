"""What the rest of Haven may ask of billing: invoices, the month's run, balances, the ledger, allocation.

``create``, ``update`` and ``remove`` are those of an invoice; everything takes a session whose tenant is set,
and commits nothing (but for ``run_period``, whose batches are transactions of their own).
"""

from haven.billing.allocation import Share, allocate_payment, release_payment
from haven.billing.balances import balance_of_lease, balance_of_tenant, lease_balance, tenant_balance
from haven.billing.invoices import (
    LINE_KINDS,
    MAX_LINES,
    UNPAID,
    create,
    issue,
    mark_overdue,
    remove,
    update,
    void,
)
from haven.billing.ledger import (
    AccountTotal,
    matched_posting,
    mirror_payment,
    payment_posting,
    post,
    suspense_posting,
    trial_balance,
)
from haven.billing.locks import LockedLease, lock_lease
from haven.billing.numbers import invoice_number, receipt_number, take
from haven.billing.proration import due_date, prorated, stay
from haven.billing.runs import RunContext, RunResult, request_run, run_period

__all__ = [
    "LINE_KINDS",
    "MAX_LINES",
    "UNPAID",
    "AccountTotal",
    "LockedLease",
    "RunContext",
    "RunResult",
    "Share",
    "allocate_payment",
    "balance_of_lease",
    "balance_of_tenant",
    "create",
    "due_date",
    "invoice_number",
    "issue",
    "lease_balance",
    "lock_lease",
    "mark_overdue",
    "matched_posting",
    "mirror_payment",
    "payment_posting",
    "post",
    "prorated",
    "receipt_number",
    "release_payment",
    "remove",
    "request_run",
    "run_period",
    "stay",
    "suspense_posting",
    "take",
    "tenant_balance",
    "trial_balance",
    "update",
    "void",
]
