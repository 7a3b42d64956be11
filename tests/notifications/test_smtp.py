"""Mail by a real SMTP server (aiosmtpd): taken, refused, hung up on, and kept waiting."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import socket
import threading
import time
import uuid

import pytest
from aiosmtpd.controller import Controller

from haven.embedded_servers import free_port
from haven.notifications import mail as mailing
from haven.notifications.channels import Message, NotReached, NotTaken, Undeliverable, send_mail


class Post:
    """What the server says to each mail, and what it took."""

    def __init__(self):
        self.url = ""
        self.answer = "250 Taken"
        self.envelopes = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  aiosmtpd's name
        if self.answer.startswith("250"):
            self.envelopes.append(envelope)
        return self.answer


@pytest.fixture
def post():
    handler = Post()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    handler.url = f"smtp://127.0.0.1:{controller.port}"
    yield handler
    controller.stop()


def by(settings, url):
    return dataclasses.replace(settings, smtp_url=url, mail_from="Makao <rent@makao.test>")


def a_message(**changes):
    message = Message(
        uuid.uuid4(),
        "asha@b.test",
        "sw",
        "Kodi: <b>KES</b> 25,000",
        "Habari Ngũgĩ & <b>Co</b>,\n\nsoma https://x.test/?a=1&b=2\nmstari\n",
        "RENT_DUE",
    )
    return dataclasses.replace(message, **changes)


def test_a_mail_is_text_and_html_with_every_header_that_it_should_have(settings, post):
    message = a_message()
    send_mail(by(settings, post.url), message)
    (envelope,) = post.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("rent@makao.test", ["asha@b.test"])
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert mail.get_content_type() == "multipart/alternative"
    assert mail["Message-ID"] == f"<{message.id}@makao.test>"
    assert mail["Date"].datetime is not None
    assert mail["Content-Language"] == "sw"
    assert mail["List-Unsubscribe"] == f"<mailto:rent@makao.test?subject=unsubscribe%20{message.id}>"
    plain, html = (part.get_content() for part in mail.iter_parts())
    assert plain.splitlines() == message.body.splitlines()
    assert "Habari Ngũgĩ &amp; &lt;b&gt;Co&lt;/b&gt;," in html
    assert '<a href="https://x.test/?a=1&amp;b=2">' in html
    assert "<b>" not in html


def test_what_answers_to_a_person_has_no_unsubscribing(settings, post):
    send_mail(by(settings, post.url), a_message(kind="PAYMENT_COMPLETED"))
    mail = email.message_from_bytes(post.envelopes[0].content, policy=email.policy.default)
    assert mail["List-Unsubscribe"] is None


@pytest.mark.parametrize(
    "answer, raised",
    [
        ("451 Later", NotTaken),
        ("421 Closing", NotReached),
        ("550 Never", Undeliverable),
        ("554 No", Undeliverable),
    ],
)
def test_what_the_server_says(settings, post, answer, raised):
    post.answer = answer
    with pytest.raises(raised) as found:
        send_mail(by(settings, post.url), a_message())
    assert type(found.value) is raised
    assert "asha" not in str(found.value)


@pytest.mark.parametrize(
    "recipient",
    [
        "a@b.test\nBcc: c@d.test",
        "a@b.test\r\nRCPT TO:<c@d.test>",
        "a@b.test, c@d.test",
        "<a@b.test>",
        "a@b\x00.test",
    ],
)
def test_an_address_cannot_be_two_or_a_header(settings, post, recipient):
    with pytest.raises(Undeliverable):
        send_mail(by(settings, post.url), a_message(recipient=recipient))
    assert post.envelopes == []


@pytest.fixture
def rude_server():
    """A server that does what it is told with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def start(act):
            def serve():
                connection, _ = server.accept()
                with connection:
                    act(connection)

            threading.Thread(target=serve, daemon=True).start()
            return f"smtp://127.0.0.1:{server.getsockname()[1]}"

        yield start


def test_a_server_that_hangs_up(settings, rude_server):
    url = rude_server(lambda connection: connection.sendall(b"220 x\r\n"))
    with pytest.raises(NotReached):
        send_mail(by(settings, url), a_message())


def test_a_server_that_says_nothing_is_waited_for_only_so_long(settings, rude_server, monkeypatch):
    monkeypatch.setattr(mailing, "_TIMEOUT_S", 0.3)
    over = threading.Event()
    url = rude_server(lambda _: over.wait(20))
    with pytest.raises(NotReached):
        send_mail(by(settings, url), a_message())
    over.set()


def test_a_server_that_says_a_byte_now_and_then_is_cut_off(settings, rude_server, monkeypatch):
    """Each byte is within the time-out of an answer: without a time for the whole it goes on as long as it likes."""
    monkeypatch.setattr(mailing, "_LONGEST_S", 1.0)

    def drip(connection):
        try:
            for _ in range(200):
                connection.sendall(b"2")
                time.sleep(0.1)
        except OSError:
            return

    url = rude_server(drip)
    begun = time.monotonic()
    with pytest.raises((NotReached, NotTaken)):
        send_mail(by(settings, url), a_message())
    assert time.monotonic() - begun < 15
