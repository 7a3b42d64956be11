"""An M-Pesa that does not answer is left alone: pushes fail at once and ring nothing, queries wait."""

import dataclasses
import datetime as dt
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extensions.circuit_breaker import Breakers, Rules, State
from haven.embedded_servers import free_port
from haven.operations.jobs import JobContext
from haven.payments import service as payments
from haven.payments.mpesa.answers import is_outage
from haven.payments.mpesa.credentials import client_for, credentials_of
from tests.support.builders import a_lease, a_phone, an_invoice

RULES = Rules(minimum_calls=2, open_s=30)


@contextmanager
def a_gateway(status, body, content_type):
    """An HTTP server that gives one answer to everything: its address, and how often it was called."""
    called = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            called.append(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", called
    finally:
        server.shutdown()
        server.server_close()


def with_mpesa_at(runtime, url):
    settings = dataclasses.replace(runtime.settings, mpesa_base_url=url)
    return dataclasses.replace(runtime, settings=settings, breakers=Breakers(RULES, runtime.redis))


def circuit_of(runtime):
    host = runtime.settings.mpesa_base_url.removeprefix("http://")
    return runtime.breakers[f"M-Pesa {runtime.settings.mpesa_shortcode} at {host}"]


def open_circuit(breaker):
    while breaker.state() is not State.OPEN:
        with breaker.calling() as call:
            call.fail()


def push(house, runtime):
    """Ask a phone that has not been asked; its payment."""
    made = house.start(a_phone("1111"))
    assert payments.send_push(runtime, made) == "REJECTED"
    return house.payment(made.payment_id)


def test_once_it_is_open_a_push_fails_at_once_rings_nothing_and_says_when_to_try_again(house, runtime):
    with a_gateway(503, b"<html>Service Unavailable</html>", "text/html") as (url, called):
        down = with_mpesa_at(runtime, url)
        for _ in range(2):
            assert "could not be reached" in push(house, down).failure_reason
        assert circuit_of(down).state() is State.OPEN
        asked = len(called)
        refused = push(house, down)
        assert len(called) == asked
    assert (refused.status, refused.failure_code) == ("FAILED", "CIRCUIT_OPEN")
    assert "nothing was charged" in refused.failure_reason
    assert "try again in" in refused.failure_reason
    assert "seconds" in refused.failure_reason


def test_every_process_leaves_it_alone(house, runtime):
    down = with_mpesa_at(runtime, f"http://127.0.0.1:{free_port()}")
    for _ in range(2):
        push(house, down)
    another = dataclasses.replace(down, breakers=Breakers(RULES, runtime.redis))
    assert push(house, another).failure_code == "CIRCUIT_OPEN"


def test_its_time_over_pushes_are_let_through_and_it_closes(house, runtime, simulator):
    down = with_mpesa_at(runtime, simulator.url)
    breaker = circuit_of(down)
    open_circuit(breaker)
    assert push(house, down).failure_code == "CIRCUIT_OPEN"
    runtime.redis.hset(f"breaker:{{{breaker.name}}}", "opened_at", int((time.time() - 31) * 1000))
    for _ in range(3):
        invoice_id = an_invoice(house.engine, house.agency_id, a_lease(house.engine, house.agency_id))
        made = house.start(a_phone("1111"), invoice_id=invoice_id)
        assert payments.send_push(down, made) == "ACCEPTED"
        assert len(simulator.pushes_of(made.phone)) == 1
    assert breaker.state() is State.CLOSED


def test_a_query_is_put_off_and_leaves_nothing_as_evidence(house, runtime):
    made = house.start(a_phone("1037"))
    assert payments.send_push(runtime, made) == "ACCEPTED"
    down = with_mpesa_at(runtime, runtime.settings.mpesa_base_url)
    open_circuit(circuit_of(down))
    context = JobContext(down, house.agency_id, uuid.uuid4(), "test")
    before = house.attempt(made.attempt_id)
    assert payments.ask(context, made.attempt_id) == "PUT_OFF"
    after = house.attempt(made.attempt_id)
    assert after.queries == before.queries
    wait = after.next_query_at - dt.datetime.now(dt.UTC)
    assert dt.timedelta() < wait <= dt.timedelta(seconds=30)


JSON = "application/json"


@pytest.mark.parametrize(
    "status, body",
    [
        (400, b'{"requestId":"1","errorCode":"400.002.02","errorMessage":"Bad Request - Invalid Amount"}'),
        (500, b'{"requestId":"1","errorCode":"500.001.1001","errorMessage":"Unable to lock subscriber"}'),
        (
            500,
            b'{"requestId":"1","errorCode":"500.001.1001","errorMessage":"The transaction is being processed"}',
        ),
        (500, b'{"requestId":"1","errorCode":"500.001.1001","errorMessage":"Wrong credentials"}'),
        (500, b'{"requestId":"1","errorCode":"500.003.02","errorMessage":"Spike Arrest Violation"}'),
        (404, b'{"requestId":"1","errorCode":"404.001.03","errorMessage":"Invalid Access Token"}'),
        (401, b""),
        (
            429,
            b'{"fault":{"faultstring":"x","detail":{"errorcode":"policies.ratelimit.SpikeArrestViolation"}}}',
        ),
    ],
)
def test_what_mpesa_refuses_for_a_reason_does_not_open_it(house, runtime, status, body):
    assert not is_outage(status, {}, body)
    with a_gateway(status, body, JSON) as (url, _):
        answering = with_mpesa_at(runtime, url)
        with house.session() as session:
            credentials = credentials_of(session, answering.settings)
        for _ in range(4):
            with client_for(answering, credentials) as client:
                client.query("ws_CO_24112026101500000712345678")
        assert circuit_of(answering).state() is State.CLOSED


@pytest.mark.parametrize(
    "status, body",
    [
        (500, b""),
        (502, b"<html>Bad Gateway</html>"),
        (
            503,
            b'{"fault":{"faultstring":"The Service is temporarily unavailable","detail":{"errorcode":"x"}}}',
        ),
        (504, b"gateway time-out"),
    ],
)
def test_a_gateway_without_mpesa_behind_it_is_an_outage(status, body):
    assert is_outage(status, {}, body)
