"""M-Pesa: the client, the parsers of what it sends, the meaning of its codes, and a simulator of it."""

from haven.payments.mpesa.answers import PushAccepted, QueryAnswer
from haven.payments.mpesa.client import (
    MpesaClient,
    MpesaError,
    PushBusy,
    PushNotSent,
    PushRejected,
    PushUnknown,
    account_reference,
)
from haven.payments.mpesa.messages import (
    C2bNotice,
    StkCallback,
    UnreadableCallback,
    parse_c2b,
    parse_stk_callback,
)
from haven.payments.mpesa.results import Outcome, ResultCode, outcome_of, result_code

__all__ = [
    "C2bNotice",
    "MpesaClient",
    "MpesaError",
    "Outcome",
    "PushAccepted",
    "PushBusy",
    "PushNotSent",
    "PushRejected",
    "PushUnknown",
    "QueryAnswer",
    "ResultCode",
    "StkCallback",
    "UnreadableCallback",
    "account_reference",
    "outcome_of",
    "parse_c2b",
    "parse_stk_callback",
    "result_code",
]
