"""An agency with a tenant who can be reached, and a mail server that remembers what it was told."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine

from haven.db.session import tenant_session
from haven.leasing.models import Lease, Tenant
from haven.notifications.models import Notification
from tests.api.conftest import caller_of
from tests.mpesa.conftest import post_office, receiver  # noqa: F401
from tests.payments.conftest import House, house

__all__ = ["caller_of", "house"]


@dataclass
class MailServer:
    """A running SMTP server. ``codes`` says what it answers to a command instead of yes."""

    port: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"


def _handler_of(mail: MailServer) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say(220, "mail.test")
            while line := self.rfile.readline():
                text = line.decode().strip()
                verb = text.split(" ")[0].upper()
                mail.said.append(text)
                if verb == "DATA" and "DATA" not in mail.codes:
                    self._say(354, "go on")
                    mail.mails.append(self._message())
                self._say(mail.codes.get(verb, 221 if verb == "QUIT" else 250), "so it is")
                if verb == "QUIT":
                    return

        def _message(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line)
            return b"".join(lines)

        def _say(self, code: int, words: str) -> None:
            self.wfile.write(f"{code} {words}\r\n".encode())

    return Handler


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    mail = MailServer()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _handler_of(mail)) as server:
        server.daemon_threads = True
        mail.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield mail
        server.shutdown()


def reach(engine: Engine, house: House, **contact: str | list[str] | None) -> None:
    """Give the tenant of the house an e-mail address or a phone, or take one away."""
    with tenant_session(engine, house.agency_id, "test") as session:
        tenant_id = session.get_one(Lease, (house.agency_id, house.lease_id)).tenant_id
        tenant = session.get_one(Tenant, (house.agency_id, tenant_id))
        for name, value in contact.items():
            setattr(tenant, name, value)


def told(house: House) -> list[Notification]:
    """Every notification of the agency, in order."""
    with house.session() as session:
        return list(session.query(Notification).order_by(Notification.id).all())
