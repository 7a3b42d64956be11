"""What the rest of Haven may ask of billing: invoices, runs, credit notes, deposits, owners, the ledger.

``create``, ``update`` and ``remove`` are those of an invoice; everything takes a session whose tenant is set,
and commits nothing (but for ``run_period`` and ``charge_late_fees``, whose batches are transactions of their own).
"""

from haven.billing.allocation import (
    Completion,
    Share,
    allocate_payment,
    allocate_payments,
    complete_payment,
    release_payment,
)
from haven.billing.balances import balance_of_lease, balance_of_tenant, lease_balance, tenant_balance
from haven.billing.credit_notes import credit
from haven.billing.days import AgencyDay, agency_day
from haven.billing.deposit_held import Deposit, deposit_held_of_lease
from haven.billing.deposits import apply_to_arrears, deposit, refund, retain
from haven.billing.disbursements import pay_out, spend
from haven.billing.disbursements import reverse as reverse_disbursement
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
from haven.billing.late_fees import LateFees, charge_late_fees, request_late_fees
from haven.billing.ledger import (
    AccountTotal,
    Posting,
    matched_posting,
    mirror_payment,
    payment_posting,
    post,
    suspense_posting,
    trial_balance,
)
from haven.billing.locks import LEASE_COLUMNS, LockedLease, lock_lease, lock_leases
from haven.billing.numbers import credit_note_number, invoice_number, receipt_number, take
from haven.billing.owner_balance import OwnerBalance, owner_balance
from haven.billing.owner_shares import owner_postings
from haven.billing.proration import due_date, prorated, stay
from haven.billing.runs import RunContext, RunResult, request_run, run_period
from haven.billing.statements import MAX_LINES as STATEMENT_LINES
from haven.billing.statements import TenantStatement, tenant_statement
from haven.billing.verify import Finding, report, request_nightly, verify

__all__ = [
    "LEASE_COLUMNS",
    "LINE_KINDS",
    "MAX_LINES",
    "STATEMENT_LINES",
    "UNPAID",
    "AccountTotal",
    "AgencyDay",
    "Completion",
    "Deposit",
    "Finding",
    "LateFees",
    "LockedLease",
    "OwnerBalance",
    "Posting",
    "RunContext",
    "RunResult",
    "Share",
    "TenantStatement",
    "agency_day",
    "allocate_payment",
    "allocate_payments",
    "apply_to_arrears",
    "balance_of_lease",
    "balance_of_tenant",
    "charge_late_fees",
    "complete_payment",
    "create",
    "credit",
    "credit_note_number",
    "deposit",
    "deposit_held_of_lease",
    "due_date",
    "invoice_number",
    "issue",
    "lease_balance",
    "lock_lease",
    "lock_leases",
    "mark_overdue",
    "matched_posting",
    "mirror_payment",
    "owner_balance",
    "owner_postings",
    "pay_out",
    "payment_posting",
    "post",
    "prorated",
    "receipt_number",
    "refund",
    "release_payment",
    "remove",
    "report",
    "request_late_fees",
    "request_nightly",
    "request_run",
    "retain",
    "reverse_disbursement",
    "run_period",
    "spend",
    "stay",
    "suspense_posting",
    "take",
    "tenant_balance",
    "tenant_statement",
    "trial_balance",
    "update",
    "verify",
    "void",
]
