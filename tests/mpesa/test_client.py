"""The client's promises: one token for all, never a second ring, no secret in an error, no answer that hangs it."""

import base64
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from haven.embedded_servers import free_port
from haven.payments.mpesa import (
    MpesaClient,
    PushNotSent,
    PushRejected,
    PushUnknown,
    account_reference,
)
from haven.payments.mpesa.pacing import QueryPace
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY
from tests.mpesa.conftest import a_client, a_phone, push


@contextmanager
def a_server(answer):
    """A server that gives each connection to ``answer`` and counts them."""
    listening = socket.create_server(("127.0.0.1", 0))
    count: Counter[str] = Counter()

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                path = request.split(b" ")[1].decode() if b" " in request else ""
                count[path.partition("?")[0]] += 1
                with suppress(OSError):
                    answer(connection, path)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", count
    finally:
        listening.shutdown(socket.SHUT_RDWR)  # or accept() would take one more
        listening.close()


def say(connection, body: bytes, status: str = "200 OK", more: str = ""):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    connection.sendall(head.encode() + body)


TOKEN = b'{"access_token":"secrettoken0123456789abcdefg","expires_in":3599}'


def a_client_of(url, timeout_s=2.0, redis=None):
    return MpesaClient(url, "key", "secret-of-key", "174379", SANDBOX_PASSKEY, timeout_s, redis)


def test_clients_share_one_token(simulator, redis, receiver):
    before = simulator.get("health")["tokens_made"]

    def one_call(_):
        with a_client(simulator, redis) as client:
            return client.query("ws_CO_1").code

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one_call, range(48)))
    assert simulator.get("health")["tokens_made"] == before + 1


def test_a_token_that_another_caller_ended_is_replaced_once(simulator, redis, receiver):
    with a_client(simulator, redis) as client, a_client(simulator) as stranger:
        push(client, a_phone(), receiver.url)
        stranger.query("ws_CO_1")  # has a token of its own, which ends the shared one
        before = simulator.get("health")["tokens_made"]
        phone = a_phone()
        push(client, phone, receiver.url)
        assert simulator.get("health")["tokens_made"] == before + 1
        assert len(simulator.pushes_of(phone)) == 1


def test_a_refused_token_is_dropped_only_while_it_is_the_one_in_place(simulator, redis):
    with a_client(simulator, redis) as client:
        client.query("ws_CO_1")
        (key,) = [key for key in redis.scan_iter("mpesa:token:*") if not key.endswith(b":lock")]
        newer = redis.get(key)
        client._tokens.discard("an older token")
        assert redis.get(key) == newer
        client._tokens.discard(newer.decode())
        assert redis.get(key) is None


def test_the_token_of_redis_ends_before_the_providers(simulator, redis):
    with a_client(simulator, redis) as client:
        client.query("ws_CO_1")
    (key,) = redis.scan_iter("mpesa:token:*")
    assert 3500 < redis.ttl(key) <= 3540
    assert b"simulator" not in key


def test_a_token_refused_once_is_replaced_and_the_phone_rings_once(client, simulator, receiver):
    phone = a_phone("4011")
    push(client, phone, receiver.url)
    assert len(simulator.pushes_of(phone)) == 1


def test_without_redis_it_goes_on_with_a_token_of_its_own(simulator, receiver):
    with Redis(port=free_port(), socket_timeout=1, retry=Retry(NoBackoff(), 0)) as nobody:
        before = simulator.get("health")["tokens_made"]
        for _ in range(3):
            with a_client(simulator, nobody, key="simulator-key") as client:
                push(client, a_phone(), receiver.url)
        assert simulator.get("health")["tokens_made"] <= before + 1 + 1


def test_wrong_credentials_are_a_set_up_error_and_nothing_rings(simulator, redis, receiver):
    phone = a_phone()
    with a_client(simulator, redis, secret="wrong") as client:
        with pytest.raises(PushRejected) as refused:
            push(client, phone, receiver.url)
        assert client.query("ws_CO_1").state == "PENDING"
    assert refused.value.is_configuration
    assert refused.value.code == "400.008.01"
    assert simulator.pushes_of(phone) == []


@pytest.mark.parametrize("wrong", [{"passkey": "wrong"}, {"shortcode": "600000"}])
def test_a_wrong_passkey_or_shortcode_is_a_set_up_error(wrong, simulator, redis, receiver):
    with a_client(simulator, redis, **wrong) as client, pytest.raises(PushRejected) as refused:
        push(client, a_phone(), receiver.url)
    assert refused.value.is_configuration


def test_where_nobody_listens_nothing_was_sent(redis):
    with a_client_of(f"http://127.0.0.1:{free_port()}", redis=redis) as client:
        with pytest.raises(PushNotSent):
            push(client, a_phone(), "http://127.0.0.1:9/")
        assert client.query("ws_CO_1").code == "NO_TOKEN"


def test_where_nobody_listens_after_the_token_nothing_was_sent(redis):
    with a_server(lambda connection, path: say(connection, TOKEN)) as (url, _):
        client = a_client_of(url, redis=redis)
        client._tokens.get()
    with client, pytest.raises(PushNotSent, match="NOT_SENT"):
        push(client, a_phone(), "http://127.0.0.1:9/")


@pytest.mark.parametrize("timeout_s", [0.5])
def test_a_server_that_drips_is_given_up_in_time_and_the_push_is_open(timeout_s, redis):
    def drip(connection, path):
        if path.startswith("/oauth"):
            return say(connection, TOKEN)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b" ")
            time.sleep(0.05)
        return None

    with a_server(drip) as (url, count), a_client_of(url, timeout_s, redis) as client:
        started = time.monotonic()
        with pytest.raises(PushUnknown):
            push(client, a_phone(), "http://127.0.0.1:9/")
        assert time.monotonic() - started < 4 * timeout_s
    assert count["/mpesa/stkpush/v1/processrequest"] == 1


def test_an_answer_without_end_is_given_up(redis):
    def flood(connection, path):
        if path.startswith("/oauth"):
            return say(connection, TOKEN)
        return say(connection, b" " * 1_000_000)

    with a_server(flood) as (url, _), a_client_of(url, redis=redis) as client, pytest.raises(PushUnknown):
        push(client, a_phone(), "http://127.0.0.1:9/")


@pytest.mark.parametrize(
    "status,body,error",
    [
        ("200 OK", b"", PushUnknown),
        ("200 OK", b"<html>", PushUnknown),
        ("200 OK", b'{"ResponseCode":"0"}', PushUnknown),
        ("200 OK", b'{"ResponseCode":"1","ResponseDescription":"no"}', PushRejected),
        (
            "500 X",
            b'{"errorCode":"500.001.1001","errorMessage":"The transaction is being processed"}',
            PushUnknown,
        ),
        ("502 X", b"<html>", PushUnknown),
        ("504 X", b"", PushUnknown),
        ("400 X", b"", PushUnknown),
        ("403 X", b"<html>blocked</html>", PushRejected),
        ("302 X", b"", PushRejected),
        ("429 X", b"", PushNotSent),
    ],
)
def test_one_post_whatever_the_answer(status, body, error, redis):
    def answer(connection, path):
        say(connection, TOKEN) if path.startswith("/oauth") else say(connection, body, status)

    with a_server(answer) as (url, count), a_client_of(url, redis=redis) as client:
        with pytest.raises(error) as raised:
            push(client, a_phone(), "http://127.0.0.1:9/")
        assert client.query("ws_CO_1").state == "PENDING"
    assert type(raised.value) is error
    assert count["/mpesa/stkpush/v1/processrequest"] == 1


def test_a_token_that_is_always_refused_is_tried_twice_and_never_shown(redis):
    echo = b'{"errorCode":"401.002.01","errorMessage":"Error Occurred - Invalid Access Token - secrettoken0123456789abcdefg"}'

    def answer(connection, path):
        say(connection, TOKEN) if path.startswith("/oauth") else say(connection, echo, "401 X")

    with a_server(answer) as (url, count), a_client_of(url, redis=redis) as client:
        with pytest.raises(PushRejected) as refused:
            push(client, a_phone(), "http://127.0.0.1:9/")
        assert "secrettoken" not in client.query("ws_CO_1").text
    assert count["/oauth/v1/generate"] == 4
    assert count["/mpesa/stkpush/v1/processrequest"] == 2
    assert "secrettoken" not in str(refused.value)
    assert "secret-of-key" not in repr(client) + str(refused.value)


@pytest.mark.parametrize("amount", ["0", "-5", "10.50", "250001", "NaN", "Infinity", "1E+9"])
def test_an_amount_mpesa_would_round_or_refuse_is_never_sent(amount, client, receiver):
    with pytest.raises(PushRejected, match="INVALID_AMOUNT"):
        client.push(a_phone(), Decimal(amount), "A1", "Rent", receiver.url)


@pytest.mark.parametrize("reference", ["", "UNIT G70", "G-70", "1234567890123", "né"])
def test_a_reference_mpesa_would_refuse_is_never_sent(reference, client, receiver):
    with pytest.raises(PushRejected, match="INVALID_REFERENCE"):
        client.push(a_phone(), Decimal(5), reference, "Rent", receiver.url)


def test_a_phone_that_is_none_is_never_sent(client, receiver):
    with pytest.raises(PushRejected, match="INVALID_PHONE"):
        client.push("+14155552671", Decimal(5), "A1", "Rent", receiver.url)


def test_a_long_description_is_cut_and_cleaned(client, simulator, receiver):
    phone = a_phone()
    client.push(phone, Decimal(5), "A1", "Rent <November> 2026 & deposit", receiver.url)
    (row,) = simulator.pushes_of(phone)
    assert row["description"] == "Rent November"


def test_what_is_sent_is_signed_in_nairobi_time(simulator):
    client = a_client(simulator, now=lambda: datetime(2026, 11, 24, 22, 30, 5, tzinfo=UTC))
    signed = client._signed()
    assert signed["Timestamp"] == "20261125013005"
    assert base64.b64decode(str(signed["Password"])) == f"174379{SANDBOX_PASSKEY}20261125013005".encode()


def test_a_till_is_paid_as_a_till(simulator):
    client = a_client(simulator, till="513042")
    body = client._push_body("0712345678", Decimal(5), "A1", "Rent", "http://127.0.0.1/")
    assert (body["TransactionType"], body["PartyB"], body["BusinessShortCode"]) == (
        "CustomerBuyGoodsOnline",
        "513042",
        "174379",
    )


def test_an_account_reference_is_made_of_letters_and_digits():
    assert account_reference("Unit G-70") == "UNITG70"
    for text in ("", "--", "a unit with a long name"):
        with pytest.raises(ValueError, match="1 to 12"):
            account_reference(text)


def test_queries_are_paced_over_all_processes(redis):
    pace, other = QueryPace(redis, 0.3), QueryPace(redis, 0.3)
    assert pace.reserve("174379") == 0
    assert 0 < other.reserve("174379") <= 0.3
    assert other.reserve("600000") == 0
    time.sleep(0.31)
    assert other.reserve("174379") == 0
