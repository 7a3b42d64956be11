"""Telling M-Pesa where to send what is paid to a paybill (C2B), and asking to be given its list (Pull)."""

from __future__ import annotations

from typing import Final, Literal

from haven.payments.mpesa.answers import Fault, read_registration
from haven.payments.mpesa.client import Answer, CallFailed, MpesaClient
from haven.payments.phones import msisdn

C2B_PATH: Final = "/mpesa/c2b/v2/registerurl"
PULL_PATH: Final = "/pulltransactions/v1/register"


def register_c2b(
    client: MpesaClient,
    shortcode: str,
    confirmation_url: str,
    validation_url: str,
    when_unanswered: Literal["Completed", "Cancelled"] = "Completed",
) -> bool:
    """Register the two addresses of a shortcode; False where M-Pesa has some already, and keeps those.

    In production an address is taken once. ``when_unanswered`` is what becomes of a payment whose validation is not
    answered in eight seconds.

    Raises:
        MpesaError: M-Pesa did not take them.
    """
    body: dict[str, str | int] = {
        "ShortCode": shortcode,
        "ResponseType": when_unanswered,
        "ConfirmationURL": confirmation_url,
        "ValidationURL": validation_url,
    }
    return _outcome(client.call(C2B_PATH, body))


def register_pull(client: MpesaClient, shortcode: str, nominated_number: str, callback_url: str) -> bool:
    """Ask for the list of a shortcode's transactions; False where M-Pesa gives it already.

    Args:
        nominated_number: the phone that is named with the shortcode at M-Pesa.

    Raises:
        MpesaError: M-Pesa refused it.
    """
    body: dict[str, str | int] = {
        "ShortCode": shortcode,
        "RequestType": "Pull",
        "NominatedNumber": msisdn(nominated_number),
        "CallBackURL": callback_url,
    }
    return _outcome(client.call(PULL_PATH, body))


def _outcome(answer: Answer) -> bool:
    read = read_registration(answer.status, answer.headers, answer.body)
    if isinstance(read, Fault):
        raise CallFailed(read.code, read.message)
    return read
