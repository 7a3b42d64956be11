"""How a message leaves Haven: by e-mail or by SMS.

A channel is one function from settings and a message to what the other side calls it; ``CHANNELS`` names them. It raises
``NotTaken`` where another try may help, ``Undeliverable`` where none will, ``Unknown`` where nobody can say whether it went.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from config import Settings
from haven.notifications import mail, sms
from haven.notifications.mail import send_mail
from haven.notifications.outcomes import (
    Message,
    NotReached,
    NotTaken,
    OptedOut,
    Sent,
    Undeliverable,
    Unknown,
)
from haven.notifications.sms import send_sms

__all__ = [
    "CHANNELS",
    "Message",
    "NotReached",
    "NotTaken",
    "OptedOut",
    "Sent",
    "Undeliverable",
    "Unknown",
    "other_side",
    "send_mail",
    "send_sms",
]

CHANNELS: Final[dict[str, Callable[[Settings, Message], Sent]]] = {"EMAIL": send_mail, "SMS": send_sms}


def other_side(settings: Settings, channel: str) -> str | None:
    """What a channel calls, as its circuit is named; None where it calls nobody."""
    return mail.other_side(settings) if channel == "EMAIL" else sms.other_side(settings)
