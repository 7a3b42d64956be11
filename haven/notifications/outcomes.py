"""A message, and what can come of sending it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass


class NotTaken(Exception):
    """The message was not taken this time; the text says by what, and holds no secret."""


class NotReached(NotTaken):
    """Nor did the other side answer: one that goes on not answering is to be left alone."""


class Undeliverable(Exception):
    """The message will never be taken as it is; the text says why."""


class OptedOut(Undeliverable):
    """The person has told the network to be sent nothing more."""


class Unknown(Exception):
    """It was handed over, and no answer came: it may have been sent, so it is not sent again by itself."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent. ``id`` stays the same however often it is tried."""

    id: uuid.UUID
    recipient: str
    language: str
    subject: str
    body: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """It was taken; ``provider_id`` is what the other side calls it, where it says so."""

    provider_id: str | None = None
