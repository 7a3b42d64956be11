"""What the rest of Haven may ask of payments.

``create``, ``update`` and ``reverse`` are those of payments a person records, ``create_many`` and ``plan_changes`` of
many at once; ``start_push`` and ``send_push`` ask a phone for money, and ``record_answer`` writes down what came of it; ``store_callback``,
``apply_callback`` and ``replay_callback`` take what M-Pesa sends; ``start_registration`` and ``send_registration``
tell M-Pesa where to send it, ``validate_payment`` answers its question whether a payment may be made; ``match``
places money that waits; ``pull`` compares the books with M-Pesa's list; the sweeps are for the clock.
"""

from haven.payments.callbacks import Kept as KeptCallback
from haven.payments.callbacks import Kind as CallbackKind
from haven.payments.callbacks import apply as apply_callback
from haven.payments.callbacks import replay as replay_callback
from haven.payments.callbacks import store as store_callback
from haven.payments.manual import METHODS, create, plan_changes, reverse, update
from haven.payments.many import create_many
from haven.payments.paybill.addresses import send_registration, start_registration
from haven.payments.paybill.pulling import pull, submit_due_pulls
from haven.payments.paybill.unmatched import match, suggestions
from haven.payments.paybill.validation import ACCEPTED
from haven.payments.paybill.validation import validate as validate_payment
from haven.payments.queries import GIVE_UP_AFTER, QueryContext, apply_answer, ask, next_query
from haven.payments.receipt_pdf import receipt_pdf
from haven.payments.receipts import evidence, notifications, receipt, status
from haven.payments.resolving import resolve
from haven.payments.ringing import record_answer, request_payment, send_push
from haven.payments.sources import refusal
from haven.payments.statuses import PAID, WAITING
from haven.payments.stk import Push, start_push
from haven.payments.suspense import lock_all_receipts
from haven.payments.sweeps import (
    mark_overdue_invoices,
    settle_silent_pushes,
    submit_due_queries,
    submit_orphaned_callbacks,
)

__all__ = [
    "ACCEPTED",
    "GIVE_UP_AFTER",
    "METHODS",
    "PAID",
    "WAITING",
    "CallbackKind",
    "KeptCallback",
    "Push",
    "QueryContext",
    "apply_answer",
    "apply_callback",
    "ask",
    "create",
    "create_many",
    "evidence",
    "lock_all_receipts",
    "mark_overdue_invoices",
    "match",
    "next_query",
    "notifications",
    "plan_changes",
    "pull",
    "receipt",
    "receipt_pdf",
    "record_answer",
    "refusal",
    "replay_callback",
    "request_payment",
    "resolve",
    "reverse",
    "send_push",
    "send_registration",
    "settle_silent_pushes",
    "start_push",
    "start_registration",
    "status",
    "store_callback",
    "submit_due_pulls",
    "submit_due_queries",
    "submit_orphaned_callbacks",
    "suggestions",
    "update",
    "validate_payment",
]
