"""What the rest of Haven may ask of payments.

``create``, ``update`` and ``reverse`` are those of payments a person records; ``start_push`` and
``send_push`` ask a phone for money; ``store_callback``, ``apply_callback`` and ``replay_callback`` take what
M-Pesa sends; the sweeps are for the clock.
"""

from haven.payments.callbacks import apply as apply_callback
from haven.payments.callbacks import replay as replay_callback
from haven.payments.callbacks import store as store_callback
from haven.payments.manual import METHODS, create, reverse, update
from haven.payments.queries import GIVE_UP_AFTER, QueryContext, apply_answer, ask, next_query
from haven.payments.receipt_pdf import receipt_pdf
from haven.payments.receipts import evidence, notifications, receipt, status
from haven.payments.ringing import request_payment, send_push
from haven.payments.statuses import PAID, WAITING
from haven.payments.stk import Push, start_push
from haven.payments.sweeps import (
    mark_overdue_invoices,
    settle_silent_pushes,
    submit_due_queries,
    submit_orphaned_callbacks,
)

__all__ = [
    "GIVE_UP_AFTER",
    "METHODS",
    "PAID",
    "WAITING",
    "Push",
    "QueryContext",
    "apply_answer",
    "apply_callback",
    "ask",
    "create",
    "evidence",
    "mark_overdue_invoices",
    "next_query",
    "notifications",
    "receipt",
    "receipt_pdf",
    "replay_callback",
    "request_payment",
    "reverse",
    "send_push",
    "settle_silent_pushes",
    "start_push",
    "status",
    "store_callback",
    "submit_due_queries",
    "submit_orphaned_callbacks",
    "update",
]
