"""E-mail: by SMTP, or into a folder (development)."""

from __future__ import annotations

import datetime as dt
import html
import os
import re
import smtplib
import socket
import ssl
import threading
import uuid
from contextlib import suppress
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from config import Settings
from haven.notifications.outcomes import Message, NotReached, NotTaken, Sent, Undeliverable

_TIMEOUT_S: Final = 10.0
"""For each answer of the mail server."""
_LONGEST_S: Final = 30.0
"""For a whole mail: a server that says a byte now and then is as good as one that hangs."""
_PORTS: Final = {"smtp": 587, "smtps": 465}
_CLOSING: Final = 421
"""A server that is not available, and says so (RFC 5321, section 3.8)."""
_LOCAL_SENDER: Final = "Haven <no-reply@haven.localhost>"
_UNASKED: Final = ("INVOICE_ISSUED", "RENT_DUE", "RENT_OVERDUE")
"""Kinds that a person may want no more of; the others answer to something he did."""
_LINK: Final = re.compile(r"https?://[^\s<>\"']+")


def send_mail(settings: Settings, message: Message) -> Sent:
    """Send by ``SMTP_URL``, else write into ``MAIL_FOLDER``.

    Raises:
        NotTaken, Undeliverable: as ``channels`` says.
    """
    if not settings.smtp_url and not settings.mail_folder:
        raise Undeliverable("No e-mail is set up: set SMTP_URL and MAIL_FROM.")
    mail = _mail(settings.mail_from or _LOCAL_SENDER, message)
    if settings.smtp_url:
        _by_smtp(settings.smtp_url, mail)
    else:
        _into_folder(Path(settings.mail_folder), message.id, mail)
    return Sent()


def other_side(settings: Settings) -> str | None:
    """The mail server as its circuit is named; None where there is none."""
    if not settings.smtp_url:
        return None
    parts = urlsplit(settings.smtp_url)
    return f"mail server {parts.hostname}:{parts.port or _PORTS[parts.scheme]}"


def as_html(message: Message) -> str:
    """The body as a page: paragraphs, lines and links; all else is escaped."""
    paragraphs = "".join(
        f"<p>{_LINK.sub(_anchor, html.escape(one, quote=False)).replace(chr(10), '<br>')}</p>"
        for one in message.body.strip().split("\n\n")
    )
    title = html.escape(" ".join(message.subject.split()))
    return (
        f'<!doctype html><html lang="{html.escape(message.language)}"><head><meta charset="utf-8"><title>{title}</title>'
        '</head><body style="font-family:sans-serif;font-size:16px;line-height:1.5;max-width:40em;margin:1em auto">'
        f"{paragraphs}</body></html>"
    )


def _anchor(found: re.Match[str]) -> str:
    shown = found.group()
    return f'<a href="{shown}">{shown}</a>'


def _mail(sender: str, message: Message) -> EmailMessage:
    mail = EmailMessage()
    try:
        mail["From"] = sender
        mail["To"] = Address(addr_spec=message.recipient)
        mail["Subject"] = " ".join(message.subject.split())
        # The same at each try: a server that took it twice can tell.
        mail["Message-ID"] = f"<{message.id}@{mail['From'].addresses[0].domain}>"
    except (ValueError, MessageError, IndexError) as error:
        # Not what is wrong with it: that has the address in it, and this is logged.
        raise Undeliverable(
            f"The address or subject cannot be written in a mail ({type(error).__name__})."
        ) from None
    mail["Date"] = format_datetime(dt.datetime.now(dt.UTC))
    mail["Auto-Submitted"] = "auto-generated"
    if message.kind in _UNASKED:
        # RFC 2369: whoever reads the agency's mail takes the person off (docs/notifications.md).
        address = quote(mail["From"].addresses[0].addr_spec, safe="@")
        mail["List-Unsubscribe"] = f"<mailto:{address}?subject=unsubscribe%20{message.id}>"
    mail.set_content(message.body)
    mail.add_alternative(as_html(message), subtype="html")
    # Only now: a mail of parts gives its Content-… headers to the first of them.
    mail["Content-Language"] = message.language
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
        sender = mail["From"].addresses[0].domain
        with _connected(
            parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], sender
        ) as server:
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


class _Hasty:
    """An SMTP connection that is cut after ``_LONGEST_S``, whatever it is doing."""

    sock: socket.socket | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self._watchdog = threading.Timer(_LONGEST_S, self._cut)
        self._watchdog.daemon = True
        self._watchdog.start()
        try:
            super().__init__(*args, **options)
        except BaseException:
            self._watchdog.cancel()
            raise

    def close(self) -> None:
        self._watchdog.cancel()
        super().close()  # type: ignore[misc]  # smtplib's, which is mixed in behind

    def _cut(self) -> None:
        sock = self.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Smtp(_Hasty, smtplib.SMTP):
    pass


class _Smtps(_Hasty, smtplib.SMTP_SSL):
    pass


def _connected(scheme: str, host: str, port: int, own_name: str) -> smtplib.SMTP:
    """``own_name`` is given, else smtplib asks a name server for it, and waits as long as that likes."""
    if scheme == "smtps":
        return _Smtps(host, port, local_hostname=own_name, timeout=_TIMEOUT_S, context=_authorities())
    return _Smtp(host, port, local_hostname=own_name, timeout=_TIMEOUT_S)


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
