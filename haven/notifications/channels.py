"""How a message leaves Haven: by SMTP, into a folder (development), or, for SMS, not yet.

A channel is one function from settings and a message to nothing; ``CHANNELS`` names them. It raises ``NotTaken`` where
another try may help, ``Undeliverable`` where none will.
"""

from __future__ import annotations

import datetime as dt
import os
import smtplib
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from config import Settings

_TIMEOUT_S: Final = 10.0
_PORTS: Final = {"smtp": 587, "smtps": 465}
_CLOSING: Final = 421
"""A server that is not available, and says so (RFC 5321, section 3.8)."""
_LOCAL_SENDER: Final = "Haven <no-reply@haven.localhost>"


class NotTaken(Exception):
    """The message was not taken this time; the text says by what, and holds no secret."""


class NotReached(NotTaken):
    """Nor did the other side answer: one that goes on not answering is to be left alone."""


class Undeliverable(Exception):
    """The message will never be taken as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent. ``id`` stays the same however often it is tried."""

    id: uuid.UUID
    recipient: str
    language: str
    subject: str
    body: str


def send_mail(settings: Settings, message: Message) -> None:
    """Send by ``SMTP_URL``, else write into ``MAIL_FOLDER``.

    Raises:
        NotTaken, Undeliverable: see above.
    """
    if not settings.smtp_url and not settings.mail_folder:
        raise Undeliverable("No e-mail is set up: set SMTP_URL and MAIL_FROM.")
    mail = _mail(settings.mail_from or _LOCAL_SENDER, message)
    if settings.smtp_url:
        _by_smtp(settings.smtp_url, mail)
    else:
        _into_folder(Path(settings.mail_folder), message.id, mail)


def send_sms(_settings: Settings, _message: Message) -> None:
    """Say that there is no SMS gateway.

    Raises:
        Undeliverable: always.
    """
    raise Undeliverable("No SMS gateway is set up: this message was not sent.")


CHANNELS: Final[dict[str, Callable[[Settings, Message], None]]] = {"EMAIL": send_mail, "SMS": send_sms}


def other_side(settings: Settings, channel: str) -> str | None:
    """What a channel calls, as its circuit is named; None where it calls nobody."""
    if channel != "EMAIL" or not settings.smtp_url:
        return None
    parts = urlsplit(settings.smtp_url)
    return f"mail server {parts.hostname}:{parts.port or _PORTS[parts.scheme]}"


def _mail(sender: str, message: Message) -> EmailMessage:
    mail = EmailMessage()
    try:
        mail["From"] = sender
        mail["To"] = Address(addr_spec=message.recipient)
        mail["Subject"] = " ".join(message.subject.split())
        # The same at each try: a server that took it twice can tell.
        mail["Message-ID"] = f"<{message.id}@{mail['From'].addresses[0].domain}>"
    except (ValueError, MessageError, IndexError) as error:
        raise Undeliverable(f"The address or subject cannot be written in a mail: {error}") from None
    mail["Date"] = format_datetime(dt.datetime.now(dt.UTC))
    mail["Auto-Submitted"] = "auto-generated"
    mail["Content-Language"] = message.language
    mail.set_content(message.body)
    return mail


def _into_folder(folder: Path, message_id: uuid.UUID, mail: EmailMessage) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = folder / f".{message_id}"
        unfinished.write_bytes(mail.as_bytes())
        os.replace(unfinished, folder / f"{message_id}.eml")
    except OSError as error:
        raise NotTaken(f"MAIL_FOLDER cannot be written: {error.strerror}") from None


def _by_smtp(url: str, mail: EmailMessage) -> None:
    parts = urlsplit(url)
    try:
        with _connected(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]) as server:
            if parts.scheme == "smtp":
                _encrypt(server, must=bool(parts.username))
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise _refused("the recipient", max(codes, default=550)) from None
    except smtplib.SMTPAuthenticationError as error:
        raise NotTaken(f"The mail server refuses the sign-in of SMTP_URL ({error.smtp_code}).") from None
    except smtplib.SMTPResponseException as error:
        raise _refused("the message", error.smtp_code) from None
    except smtplib.SMTPNotSupportedError as error:
        raise Undeliverable(f"The mail server cannot do what this message needs: {error}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise NotReached(f"The mail server cannot be reached ({type(error).__name__}).") from None


def _connected(scheme: str, host: str, port: int) -> smtplib.SMTP:
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=_authorities())
    return smtplib.SMTP(host, port, timeout=_TIMEOUT_S)


def _encrypt(server: smtplib.SMTP, *, must: bool) -> None:
    """Encrypt where the server can; a password is never said in the clear."""
    server.ehlo_or_helo_if_needed()
    if server.has_extn("starttls"):
        server.starttls(context=_authorities())
    elif must:
        raise NotTaken("The mail server offers no encryption, and SMTP_URL has a password: use smtps://.")


def _refused(what: str, code: int) -> NotTaken | Undeliverable:
    words = f"The mail server refused {what} ({code})."
    if code == _CLOSING:
        return NotReached(words)
    return Undeliverable(words) if code >= 500 else NotTaken(words)


@cache
def _authorities() -> ssl.SSLContext:
    return ssl.create_default_context()
