"""An SMS gateway in the shape of Africa's Talking, and a page to read SMS and mails on. Nothing is sent to anybody.

The last three digits of a phone choose what the gateway says: a code of its own (``403``, ``405``, ``406`` …), ``597`` that
it is not available, ``598`` that it failed after it had sent the message. Any other is sent.

What it has sent it reports two seconds later, in a form as Africa's Talking posts it: ``Success``, of ``595`` that it failed, of
``596`` that the person has opted out; of ``594`` it never says anything.
"""

from __future__ import annotations

import email
import email.policy
import html
import re
import threading
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from haven.payments.mpesa.simulator.answers import json_answer
from haven.payments.mpesa.simulator.courier import Timetable

_STATUSES: Final = {
    401: "RiskHold",
    402: "InvalidSenderId",
    403: "InvalidPhoneNumber",
    404: "UnsupportedNumberType",
    405: "InsufficientBalance",
    406: "UserInBlacklist",
    407: "CouldNotRoute",
    409: "DoNotDisturbRejection",
    500: "InternalServerError",
    501: "GatewayError",
    502: "RejectedByGateway",
}
_OF_ALL: Final = (402, 405)
"""Said of the whole request, without recipients."""
_TAKEN: Final = 101
_ARRIVES: Final = ("Success", "")
_BECOMES: Final = {594: None, 595: ("Failed", "DeliveryFailure"), 596: ("Rejected", "UserInBlacklist")}
"""Of what was sent: the status of its report, and the reason; None: there is no report."""
_REPORTED_AFTER_S: Final = 2.0
_REPORT_TIMEOUT_S: Final = 10.0
_SAFARICOM: Final = "63902"
_KEPT: Final = 500
_SHOWN: Final = 200
_NAME: Final = re.compile(r"[0-9a-f-]{36}", re.ASCII)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE: Final = (
    "<style>body{font:16px/1.5 sans-serif;max-width:56em;margin:1em auto;padding:0 1em}td,th{text-align:left;"
    "vertical-align:top;padding:.3em .8em .3em 0}pre{white-space:pre-wrap}</style>"
)


@dataclass(slots=True)
class Sms:
    """One SMS that was handed over, what the gateway made of it, and what it reported later."""

    id: str
    to: str
    sender: str
    text: str
    code: int
    report: str = ""


@dataclass(frozen=True, slots=True)
class Messages:
    """What was sent.

    Attributes:
        mail_folder: where Haven writes its mails; empty: nowhere.
        callback_url: where it hears what became of an SMS; empty: it does not.
    """

    mail_folder: str
    callback_url: str
    timetable: Timetable
    sent: deque[Sms] = field(default_factory=lambda: deque(maxlen=_KEPT))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def blueprint(self) -> Blueprint:
        """The gateway's route, and those to read what came."""
        routes = Blueprint("messages", __name__)
        routes.post("/version1/messaging")(self.send)
        routes.get("/simulator/sms")(self.listed)
        routes.get("/simulator/messages")(self.page)
        routes.get("/simulator/messages/<name>")(self.mail)
        return routes

    def send(self) -> Response:
        """Take an SMS for one recipient or, with commas, several."""
        if not request.form.get("username") or request.headers.get("apiKey", "wrong") == "wrong":
            return Response("The supplied authentication is invalid", 401, content_type="text/plain")
        phones = [one.strip() for one in request.form.get("to", "").split(",") if one.strip()]
        text = request.form.get("message", "")
        if not phones or not text:
            return Response("Request is missing required form field", 400, content_type="text/plain")
        ending = int(phones[0][-3:]) if phones[0][-3:].isdigit() else 0
        if ending == 597:
            return Response("Service Unavailable", 503, content_type="text/plain")
        if ending in _OF_ALL:
            return json_answer({"SMSMessageData": {"Message": _STATUSES[ending], "Recipients": []}}, 201)
        recipients = [self._take(phone, text) for phone in phones]
        if ending == 598:
            return Response("Gateway Time-out", 504, content_type="text/plain")
        taken = sum(one["statusCode"] == _TAKEN for one in recipients)
        said = f"Sent to {taken}/{len(recipients)} Total Cost: KES {taken * 0.8:.4f}"
        return json_answer({"SMSMessageData": {"Message": said, "Recipients": recipients}}, 201)

    def listed(self) -> Response:
        """Every SMS that was handed over, oldest first; ``?to=`` narrows."""
        to = request.args.get("to")
        with self.lock:
            rows = [asdict(one) for one in self.sent if to in {None, one.to}]
        return json_answer({"messages": rows})

    def page(self) -> Response:
        """SMS and mails, the newest first."""
        with self.lock:
            sms = list(self.sent)[::-1][:_SHOWN]
        texts = "".join(_row(one.to, one.text, str(one.code), one.report) for one in sms)
        mails = "".join(
            _row(
                str(mail["To"]),
                f'<a href="/simulator/messages/{path.stem}">{_safe(mail["Subject"])}</a>',
                raw=True,
            )
            for path, mail in self._mails()
        )
        return _html(
            "Messages",
            f"<h1>Messages</h1><p>What Haven sent; none of it leaves this machine. The number behind an SMS is the gateway's answer, 101 is sent; then comes what it reported later.</p><h2>E-mail</h2><table>{mails}</table>"
            f"<h2>SMS</h2><table>{texts}</table>",
        )

    def mail(self, name: str) -> Response:
        """One mail: its headers and its plain text."""
        path = Path(self.mail_folder) / f"{name}.eml"
        if not self.mail_folder or not _NAME.fullmatch(name) or not path.is_file():
            raise NotFound("no such mail")
        mail = _read(path)
        headers = "".join(_row(header, str(value)) for header, value in mail.items())
        plain = mail.get_body(("plain",))
        text = "" if plain is None else plain.get_content()
        return _html(
            str(mail["Subject"]),
            f'<p><a href="/simulator/messages">All messages</a></p><table>{headers}</table><pre>{_safe(text)}</pre>',
        )

    def _take(self, phone: str, text: str) -> dict[str, Any]:
        ending = int(phone[-3:]) if phone[-3:].isdigit() else 0
        code = ending if ending in _STATUSES else _TAKEN
        message_id = f"ATXid_{uuid.uuid4().hex}"
        sms = Sms(message_id, phone, request.form.get("from", ""), text, code)
        with self.lock:
            self.sent.append(sms)
        becomes = _BECOMES.get(ending, _ARRIVES)
        if code == _TAKEN and self.callback_url and becomes is not None:
            self.timetable.after(_REPORTED_AFTER_S, partial(self._report, sms, *becomes))
        return {
            "statusCode": code,
            "number": phone,
            "status": _STATUSES.get(code, "Success"),
            "cost": "KES 0.8000" if code == _TAKEN else "0",
            "messageId": message_id if code == _TAKEN else "None",
        }

    def _report(self, sms: Sms, status: str, reason: str) -> None:
        """Post what became of it, once (https://developers.africastalking.com/docs/sms/notifications)."""
        form = {
            "id": sms.id,
            "status": status,
            "phoneNumber": sms.to,
            "networkCode": _SAFARICOM,
            "retryCount": "0",
        }
        said = f"{status} {reason}".strip()
        try:
            with httpx.Client(timeout=_REPORT_TIMEOUT_S, trust_env=False) as client:
                answer = client.post(
                    self.callback_url, data=form | ({"failureReason": reason} if reason else {})
                )
            if answer.status_code >= 300:
                said += f", which was answered with {answer.status_code}"
        except httpx.HTTPError as error:
            said += f", which nobody heard ({type(error).__name__})"
        with self.lock:
            sms.report = said

    def _mails(self) -> list[tuple[Path, EmailMessage]]:
        if not self.mail_folder or not Path(self.mail_folder).is_dir():
            return []
        paths = [path for path in Path(self.mail_folder).glob("*.eml") if _NAME.fullmatch(path.stem)]
        newest = sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
        return [(path, _read(path)) for path in newest[:_SHOWN]]


def _read(path: Path) -> EmailMessage:
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def _row(*cells: str, raw: bool = False) -> str:
    """A row of a table; ``raw``: the cells after the first are HTML already."""
    first, *rest = cells
    shown = [_safe(first), *(rest if raw else map(_safe, rest))]
    return f"<tr>{''.join(f'<td>{one}</td>' for one in shown)}</tr>"


def _safe(text: object) -> str:
    return html.escape(str(text))


def _html(title: str, body: str) -> Response:
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_safe(title)}</title>{_STYLE}</head>'
        f"<body>{body}</body></html>"
    )
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Response(page, headers=headers, content_type="text/html; charset=utf-8")
