"""What is said in English."""

from __future__ import annotations

from typing import Final

from haven.notifications.words import Language, Mail, Words

_WORDS: Final = {
    "PAYMENT_COMPLETED": Words(
        tenant_subject="Payment received: {amount} for {place}",
        tenant_body=(
            "Dear {tenant},\n\nWe have received {amount} for {place}. Thank you.\n\n{details}\n\n{agency}\n"
        ),
        tenant_sms="{agency}: {amount} received for {place}. Receipt {receipt_number}. Thank you.",
        agency_subject="{tenant} paid {amount} for {place}",
        agency_body="{tenant} has paid {amount} for {place}.\n\n{details}\n",
        details=("receipt_number", "method", "reference"),
    ),
    "PAYMENT_FAILED": Words(
        tenant_subject="Payment not completed: {amount} for {place}",
        tenant_body=(
            "Dear {tenant},\n\nYour payment of {amount} for {place} did not go through.\n\n{reason}\n\n{agency}\n"
        ),
        tenant_sms="{agency}: your payment of {amount} for {place} did not go through. {reason}",
        agency_subject="{tenant} could not pay {amount} for {place}",
        agency_body=(
            "A payment of {amount} by {tenant} for {place} did not go through. {staff_reason}\n\n{details}\n"
        ),
        details=("failure_code", "payment_id"),
    ),
    "PAYMENT_NEEDS_REVIEW": Words(
        tenant_subject="Your payment is being checked: {amount} for {place}",
        tenant_body=(
            "Dear {tenant},\n\nYour payment of {amount} for {place} is not settled yet. We are checking it with M-PESA."
            " Please do not pay again before you hear from us.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: your payment of {amount} for {place} is being checked. Please do not pay again yet.",
        agency_subject="A payment needs a decision: {amount} of {tenant}",
        agency_body=(
            "A payment of {amount} by {tenant} for {place} needs a person's decision. {staff_reason}\n\n{details}\n"
        ),
        details=("failure_code", "payment_id"),
    ),
    "INVOICE_ISSUED": Words(
        tenant_subject="Invoice {number}: {total} for {place}",
        tenant_body=(
            "Dear {tenant},\n\nYour invoice for {place} is ready.\n\n{details}\n\n"
            "Please pay by the due date. Thank you.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: invoice {number} of {total} for {place} is due on {due_at}.",
        details=("number", "total", "due_at"),
    ),
    "RENT_DUE": Words(
        tenant_subject="Reminder: {balance} for {place} is due on {due_at}",
        tenant_body=(
            "Dear {tenant},\n\nThis is a friendly reminder that {balance} for {place} is due on {due_at}."
            "\n\n{details}\n\nIf you have paid already, please disregard this message.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: reminder, {balance} for {place} is due on {due_at}. Thank you.",
        details=("number", "balance", "due_at"),
    ),
    "RENT_OVERDUE": Words(
        tenant_subject="Overdue: {balance} for {place}",
        tenant_body=(
            "Dear {tenant},\n\n{balance} for {place} was due on {due_at} and has not reached us."
            "\n\n{details}\n\nPlease pay, or talk to us if you cannot. If you have paid already, please disregard this"
            " message.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: {balance} for {place} was due on {due_at}. Please pay, or talk to us.",
        details=("number", "balance", "due_at"),
    ),
}

_MAILS: Final = {
    "export_ready": Mail(
        "Your export is ready: {name}",
        "Your export {name} is ready: {rows} rows, {size}.\n\nDownload it here:\n{url}\n\nThe link works until"
        " {expires_at}. Whoever has it can download the file, so do not pass it on.\n",
    ),
    "report_ready": Mail(
        "Report: {title}, {period}",
        "The report {title} for {period} is ready.\n\nDownload it here:\n{url}\n\nThe link works until {expires_at}."
        " Whoever has it can download the file, so do not pass it on.\n",
    ),
    "webhook_disabled": Mail(
        "A webhook was switched off: {url}",
        "The webhook {url} has taken no event since {since}, so Haven sends it no more.\n\nLast error: {error}\n\n"
        "Once it works again, set its status to ACTIVE; the events it missed are in its delivery log and can be sent"
        " again from there.\n",
    ),
    "alert_firing": Mail(
        "{severity}: {rule}",
        "{description}.\n\nRule: {rule}\nOf: {labels}\nValue: {value}\nThreshold: {threshold}\nSince: {since}\n"
        "Alert: {alert_id}\n\nWhat to do is in docs/alerting.md. To take it on, or to silence it:\n{url}\n",
    ),
    "alert_resolved": Mail(
        "Over: {rule}",
        "This is over: {description}.\n\nRule: {rule}\nOf: {labels}\nValue: {value}\nThreshold: {threshold}\n"
        "From: {since}\nUntil: {until}\nAlert: {alert_id}\n\n{url}\n",
    ),
}

ENGLISH: Final = Language(
    words=_WORDS,
    mails=_MAILS,
    labels={
        "receipt_number": "Receipt",
        "method": "Paid by",
        "reference": "Reference",
        "failure_code": "Code",
        "payment_id": "Payment",
        "number": "Invoice",
        "total": "Amount",
        "balance": "To pay",
        "due_at": "Due",
    },
    methods={},
    months=tuple(
        "January February March April May June July August September October November December".split()
    ),
    reasons=None,
)
