"""SMS by a gateway that speaks as Africa's Talking does.

https://developers.africastalking.com/docs/sms/sending/bulk: a form with the key in a header; one answer for each recipient.
Another gateway is another function with these arguments and exceptions.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from config import Settings
from haven.notifications.outcomes import (
    Message,
    NotReached,
    NotTaken,
    OptedOut,
    Sent,
    Undeliverable,
    Unknown,
)

_PATH: Final = "/version1/messaging"
_TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
_TAKEN: Final = (100, 101, 102)
"""Processed, sent, queued."""
_BLACKLISTED: Final = 406
_HELD: Final = 401
"""The gateway keeps it back, and may send it yet."""
_FOR_GOOD: Final = {
    403: "the number is not valid",
    404: "the number cannot have SMS",
    409: "the number takes no such messages (do not disturb)",
    502: "the network rejected it",
}
_FOR_NOW: Final = {
    402: "SMS_SENDER_ID is not registered",
    405: "the account has too little money",
    407: "there is no route to the number",
    500: "the gateway failed",
    501: "the network's gateway failed",
}
_SAID_OF_ALL: Final = {"InvalidSenderId": 402, "InsufficientBalance": 405}
"""What the gateway says instead of recipients, where the whole request was refused."""


def send_sms(settings: Settings, message: Message) -> Sent:
    """Send one SMS.

    Raises:
        NotTaken, OptedOut, Undeliverable, Unknown: as ``channels`` says. A gateway that was told and did not answer is
            Unknown: it knows no key by which it would send the same only once.
    """
    if not settings.sms_url:
        raise Undeliverable("No SMS gateway is set up: this message was not sent.")
    form = {"username": settings.sms_username, "to": message.recipient, "message": message.body}
    if settings.sms_sender_id:
        form["from"] = settings.sms_sender_id
    headers = {"apiKey": settings.sms_api_key, "Accept": "application/json"}
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False) as client:
            answer = client.post(settings.sms_url + _PATH, data=form, headers=headers)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise NotReached(f"The SMS gateway cannot be reached ({type(error).__name__}).") from None
    except httpx.HTTPError as error:
        raise Unknown(
            f"The SMS gateway was told and did not answer ({type(error).__name__}): it may have sent it."
        ) from None
    return _read(answer)


def other_side(settings: Settings) -> str | None:
    """The gateway as its circuit is named; None where there is none."""
    return f"sms gateway {urlsplit(settings.sms_url).netloc}" if settings.sms_url else None


def _read(answer: httpx.Response) -> Sent:
    if answer.status_code in (401, 403):
        raise NotTaken(f"The SMS gateway refuses SMS_USERNAME and SMS_API_KEY ({answer.status_code}).")
    if answer.status_code == 503:
        raise NotReached("The SMS gateway is not available (503).")
    if answer.status_code >= 500:
        raise Unknown(f"The SMS gateway failed ({answer.status_code}): it may have sent it.")
    if answer.status_code == 429:
        raise NotTaken("The SMS gateway has been asked too often (429).")
    if answer.status_code >= 300:
        raise Undeliverable(f"The SMS gateway refused the message ({answer.status_code}).")
    return _read_recipient(_data(answer))


def _data(answer: httpx.Response) -> dict[str, Any]:
    try:
        data = answer.json()["SMSMessageData"]
        recipients = data.get("Recipients") or []
        if not recipients:
            return {"code": _SAID_OF_ALL[data["Message"]], "id": None}
        return {"code": int(recipients[0]["statusCode"]), "id": recipients[0].get("messageId")}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise Unknown("The SMS gateway gave an answer that cannot be read: it may have sent it.") from None


def _read_recipient(said: dict[str, Any]) -> Sent:
    code = said["code"]
    if code in _TAKEN:
        return Sent(said["id"])
    if code == _BLACKLISTED:
        raise OptedOut("The person has opted out of SMS at the network (406).")
    if code in _FOR_GOOD:
        raise Undeliverable(f"The SMS was refused: {_FOR_GOOD[code]} ({code}).")
    if code in _FOR_NOW:
        raise NotTaken(f"The SMS was not taken: {_FOR_NOW[code]} ({code}).")
    words = "keeps the message back" if code == _HELD else "gave a code that Haven does not know"
    raise Unknown(f"The SMS gateway {words} ({code}): it may send it.")
