"""The words of each notification, in English.

A text has the facts of a payment in it, and ``{tenant} {agency} {property} {unit}`` where names belong: the database
puts those in as it writes the row, so that telling somebody costs no reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

LANGUAGE: Final = "en"
_PLACE: Final = "{unit}, {property}"


@dataclass(frozen=True, slots=True)
class Texts:
    """What the tenant is told by e-mail and by SMS, and the agency by e-mail."""

    tenant_subject: str
    tenant_body: str
    tenant_sms: str
    agency_subject: str
    agency_body: str


def compose(kind: str, payment: Mapping[str, Any]) -> Texts:
    """The texts about a payment.

    Args:
        kind: PAYMENT_COMPLETED, PAYMENT_FAILED or PAYMENT_NEEDS_REVIEW.
        payment: as the webhooks have it (``haven.payments.statuses.event``).
    """
    return _COMPOSERS[kind](_amount(payment), payment)


def _completed(amount: str, payment: Mapping[str, Any]) -> Texts:
    details = _lines(
        ("Receipt", payment["receipt_number"]),
        ("Paid by", payment["method"]),
        ("Reference", payment["reference"]),
    )
    return Texts(
        tenant_subject=f"Payment received: {amount} for {_PLACE}",
        tenant_body=f"Dear {{tenant}},\n\nWe have received {amount} for {_PLACE}. Thank you.\n\n{details}\n\n{{agency}}\n",
        tenant_sms=f"{{agency}}: {amount} received for {_PLACE}. Receipt {payment['receipt_number']}. Thank you.",
        agency_subject=f"{{tenant}} paid {amount} for {_PLACE}",
        agency_body=f"{{tenant}} has paid {amount} for {_PLACE}.\n\n{details}\n",
    )


def _failed(amount: str, payment: Mapping[str, Any]) -> Texts:
    reason = payment["failure_reason"] or ""
    details = _lines(("Code", payment["failure_code"]), ("Payment", payment["payment_id"]))
    return Texts(
        tenant_subject=f"Payment not completed: {amount} for {_PLACE}",
        tenant_body=(
            f"Dear {{tenant}},\n\nYour payment of {amount} for {_PLACE} did not go through.\n\n{reason}\n\n{{agency}}\n"
        ),
        tenant_sms=f"{{agency}}: your payment of {amount} for {_PLACE} did not go through. {reason}",
        agency_subject=f"{{tenant}} could not pay {amount} for {_PLACE}",
        agency_body=f"A payment of {amount} by {{tenant}} for {_PLACE} did not go through. {reason}\n\n{details}\n",
    )


def _needs_review(amount: str, payment: Mapping[str, Any]) -> Texts:
    details = _lines(("Code", payment["failure_code"]), ("Payment", payment["payment_id"]))
    wait = "We are checking it with M-PESA. Please do not pay again before you hear from us."
    return Texts(
        tenant_subject=f"Your payment is being checked: {amount} for {_PLACE}",
        tenant_body=f"Dear {{tenant}},\n\nYour payment of {amount} for {_PLACE} is not settled yet. {wait}\n\n{{agency}}\n",
        tenant_sms=f"{{agency}}: your payment of {amount} for {_PLACE} is being checked. Please do not pay again yet.",
        agency_subject=f"A payment needs a decision: {amount} of {{tenant}}",
        agency_body=(
            f"A payment of {amount} by {{tenant}} for {_PLACE} needs a person's decision."
            f" {payment['failure_reason']}\n\n{details}\n"
        ),
    )


_COMPOSERS: Final = {
    "PAYMENT_COMPLETED": _completed,
    "PAYMENT_FAILED": _failed,
    "PAYMENT_NEEDS_REVIEW": _needs_review,
}


def _amount(payment: Mapping[str, Any]) -> str:
    return f"{payment['currency']} {Decimal(payment['amount']):,.2f}"


def _lines(*facts: tuple[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in facts if value)
