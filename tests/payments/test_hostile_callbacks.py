"""What a stranger, or a broken gateway, posts to a callback address: refused or kept and rejected, never applied."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from tests.payments.hostile import NEEDS_A_PERSON, REFUSED
from tests.payments.test_callbacks import paid_body
from tests.support.books import check_books
from tests.support.builders import a_phone
from tests.support.web import running_web

JSON = "application/json;charset=UTF-8"


@pytest.fixture
def push(house):
    return house.start(a_phone())


def post(client, token, body, **options):
    return client.post(f"/api/v1/hooks/stk/{token}", data=body, **({"content_type": JSON} | options))


def status_of(house, push):
    return house.payment(push.payment_id).status


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_kept_and_rejected(client, house, push, name):
    assert post(client, push.token, REFUSED[name]).status_code == 200
    (kept,) = house.inbox()
    assert kept.state == "REJECTED"
    assert REFUSED[name].startswith(bytes(kept.body))
    assert status_of(house, push) == "PENDING"
    # The true one is not lost by it.
    post(client, push.token, paid_body())
    assert status_of(house, push) == "COMPLETED"
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize("name", NEEDS_A_PERSON)
def test_an_amount_that_was_not_asked_for_pays_nothing(client, house, push, name):
    assert post(client, push.token, NEEDS_A_PERSON[name]).status_code == 200
    payment = house.payment(push.payment_id)
    assert (payment.status, payment.receipt_number) == ("NEEDS_REVIEW", None)
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token.upper().replace("0", "A"),
        lambda token: "\uff10" + token[1:],
        lambda token: token[:32] + "0" * 64,
        lambda token: token[32:] + token[:32],
        lambda token: "%00" + token,
        lambda token: "0" * 5000,
    ],
)
def test_another_token_is_an_address_that_is_not_there(client, house, push, change):
    assert post(client, change(push.token), paid_body()).status_code == 404
    assert house.inbox() == []
    assert status_of(house, push) == "PENDING"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_the_content_type_says_nothing(client, house, push, kind):
    """A body that is right is believed under any name: the token is what counts."""
    assert post(client, push.token, paid_body(), content_type=kind).status_code == 200
    assert status_of(house, push) == "COMPLETED"


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_not_allowed(client, push, method):
    assert getattr(client, method)(f"/api/v1/hooks/stk/{push.token}").status_code == 405


def test_a_body_of_two_megabytes_is_refused(client, house, push):
    assert post(client, push.token, b" " * 2_000_000).status_code == 413
    assert house.inbox() == []


# Through gunicorn, byte by byte


@pytest.fixture(scope="module")
def web(environ, tmp_path_factory):
    """One web process with four threads. Whatever comes, no answer of it is a 5xx, and nothing is unforeseen."""
    folder = tmp_path_factory.mktemp("web")
    with running_web(environ, folder, WEB_CONCURRENCY="1", WEB_THREADS="4", DB_POOL_MAX="4") as web:
        yield web
        log = web.log()
    assert '"status":5' not in log
    assert "unforeseen_error" not in log
    assert "Traceback" not in log


def connect(web):
    return socket.create_connection(("127.0.0.1", web.port), timeout=30)


def head(token, *lines):
    start = f"POST /api/v1/hooks/stk/{token} HTTP/1.1\r\nHost: haven.test\r\nConnection: close\r\n"
    return (start + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


def status_from(connection):
    """The HTTP status; None where the connection ended without one."""
    heard = b""
    with suppress(ConnectionError):
        while b"\r\n" not in heard and (part := connection.recv(4096)):
            heard += part
    return int(heard.split(b" ", 2)[1]) if heard.startswith(b"HTTP/") else None


def send(web, token, body, *lines):
    with connect(web) as connection:
        connection.sendall(head(token, f"Content-Length: {len(body)}", *lines))
        with suppress(ConnectionError):  # it may be refused while it is sent
            connection.sendall(body)
        return status_from(connection)


@pytest.mark.parametrize("name", REFUSED)
def test_gunicorn_answers_each_of_them(web, house, push, name):
    assert send(web, push.token, REFUSED[name]) == 200
    assert [kept.state for kept in house.inbox()] == ["REJECTED"]


def test_gunicorn_refuses_two_megabytes_before_it_has_read_them(web, house, push):
    with connect(web) as connection:
        connection.sendall(head(push.token, "Content-Length: 2000000") + b" " * 1000)
        assert status_from(connection) == 413
    assert house.inbox() == []


def is_refused_or_rejected(house, status):
    """Whether nothing of it was believed: a 4xx and nothing kept, or what was kept is rejected."""
    states = [kept.state for kept in house.inbox()]
    return set(states) <= {"REJECTED"} if status == 200 else status in {None, 400, 408, 413} and not states


def chunked(body, size=7):
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_body_in_chunks_is_a_body(web, house, push):
    with connect(web) as connection:
        connection.sendall(head(push.token, "Transfer-Encoding: chunked") + chunked(paid_body()))
        assert status_from(connection) == 200
    assert status_of(house, push) == "COMPLETED"


def test_chunks_without_end_are_refused(web, house, push):
    with connect(web) as connection:
        connection.sendall(head(push.token, "Transfer-Encoding: chunked"))
        with suppress(ConnectionError):
            for _ in range(40):  # 2.5 MiB
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert is_refused_or_rejected(house, status_from(connection))
    assert all(len(kept.body) < 70_000 for kept in house.inbox())
    assert send(web, push.token, paid_body()) == 200


@pytest.mark.parametrize("lie", [("Content-Length: -1",), ("Content-Length: x",), ("Transfer-Encoding: no",)])
def test_a_length_that_is_none_is_refused(web, house, push, lie):
    with connect(web) as connection:
        connection.sendall(head(push.token, *lie) + paid_body())
        status = status_from(connection)
    assert status is None or 400 <= status < 500 or status == 501
    assert status_of(house, push) == "PENDING"


def test_a_body_that_is_cut_short_is_not_applied(web, house, push):
    body = paid_body()
    with connect(web) as connection:
        connection.sendall(head(push.token, f"Content-Length: {len(body)}") + body[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert is_refused_or_rejected(house, status_from(connection))
    assert status_of(house, push) == "PENDING"


def test_bodies_that_never_come_hold_no_thread_for_long(web, house, push):
    """More of them than there are threads, each sending a byte now and then; the true callback gets through."""
    slow = [connect(web) for _ in range(8)]
    stop = threading.Event()

    def drip():
        while not stop.wait(0.5):
            for connection in slow:
                with suppress(OSError):
                    connection.sendall(b" ")

    for connection in slow:
        connection.sendall(head(push.token, "Content-Length: 50000"))
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        # Four threads, eight of them, five seconds each: without a limit this would never end.
        assert send(web, push.token, paid_body()) == 200
        assert {status_from(connection) for connection in slow} <= {200, 400}
    finally:
        stop.set()
        dripping.join()
        for connection in slow:
            connection.close()
    assert status_of(house, push) == "COMPLETED"
    assert sorted(kept.state for kept in house.inbox()) == ["APPLIED", *["REJECTED"] * 8]
