"""A receiver that takes connections and never answers has one worker at the most, and holds up no other receiver."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import func, select

from extensions.jobs.attempt import Postponed
from haven.db.base import new_id
from haven.db.session import tenant_session
from haven.operations import webhook_endpoints, webhooks
from haven.operations.jobs import job_session
from haven.operations.models import Job, WebhookDelivery
from haven.operations.webhook_turns import taking_turn
from haven.runtime import Runtime
from tests.support.at_work import AtWork
from tests.support.builders import an_agency
from workers.runner import run_job

pytestmark = pytest.mark.xdist_group("hanging_webhook")
MANY = 100


class Silent:
    """Takes connections and never says a word."""

    def __init__(self, server: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        self.taken: list[socket.socket] = []
        self._server = server
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._server.accept()[0])
            except OSError:
                return


@pytest.fixture
def silent() -> Iterator[Silent]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = Silent(server)
        yield there
        server.shutdown(socket.SHUT_RDWR)
    for one in there.taken:
        one.close()


class _Takes(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def good_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Takes)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def tell(runtime: Runtime, agency_id: uuid.UUID, url: str, times: int) -> None:
    """A new webhook of the agency's, and so many events for it."""
    with job_session(runtime, agency_id, "tests") as session:
        webhook_endpoints.create(
            session, runtime.settings.secret_key, {"url": url, "events": ["invoice.issued"]}
        )
    with job_session(runtime, agency_id, "tests") as session:
        for number in range(times):
            webhooks.emit(session, "invoice.issued", {"number": number})


def delivered(work: AtWork, agency_id: uuid.UUID) -> int:
    found = select(func.count()).where(WebhookDelivery.status == "DELIVERED")
    with tenant_session(work.engine, agency_id) as session:
        return int(session.execute(found).scalar_one())


def test_a_hanging_receiver_with_a_hundred_events_delays_no_other(work: AtWork, silent, good_url):
    """By order, not by time: it is still waited for when all of the other's are there, and nobody else waits for it."""
    theirs = an_agency(work.engine)
    work.start("workers", WEBHOOK_PRIVATE_ADDRESSES="true", TEST_WEBHOOK_S="600")
    tell(work.runtime, work.agency, silent.url, MANY)
    work.wait_until(lambda: len(silent.taken) == 1, for_s=300)
    tell(work.runtime, theirs, good_url, 3)
    work.wait_until(lambda: delivered(work, theirs) == 3, for_s=300)
    with tenant_session(work.engine, work.agency) as session:
        tries = session.execute(select(func.sum(WebhookDelivery.tries))).scalar_one()
        assert tries == 0, "the first is still in hand, and what waits for its turn counts as no try"
        assert not session.execute(select(func.count()).where(Job.attempts > 1)).scalar_one()
    assert len(silent.taken) == 1, "it has one of the two workers"
    work.stop()


def test_a_turn_is_had_by_one_and_a_slow_failure_leaves_the_receiver_alone(runtime, monkeypatch):
    endpoint_id, other_id = new_id(), new_id()
    with taking_turn(runtime.redis, endpoint_id):
        with taking_turn(runtime.redis, other_id):
            pass
        with pytest.raises(Postponed), taking_turn(runtime.redis, endpoint_id):
            pytest.fail("it is somebody's")
    monkeypatch.setattr("haven.operations.webhook_turns._PATIENCE_S", 0.05)
    with taking_turn(runtime.redis, endpoint_id) as turn:
        turn.failed = True
        time.sleep(0.1)
    with pytest.raises(Postponed, match="left alone"), taking_turn(runtime.redis, endpoint_id):
        pytest.fail("it is left alone")
    time.sleep(0.4)
    with taking_turn(runtime.redis, endpoint_id):
        pass


@pytest.fixture
def runtime(settings, engine) -> Runtime:
    return Runtime.start(dataclasses.replace(settings, webhook_private_addresses=True), engine)


def test_what_is_put_off_waits_and_counts_as_no_attempt(runtime, engine, good_url):
    agency_id = an_agency(engine)
    tell(runtime, agency_id, good_url, 1)
    with tenant_session(engine, agency_id) as session:
        job_id = session.execute(select(Job.id)).scalar_one()
        endpoint_id = session.execute(select(WebhookDelivery.endpoint_id)).scalar_one()
    with taking_turn(runtime.redis, endpoint_id):
        assert run_job(runtime, agency_id, job_id) == "PUT_BACK"
    with tenant_session(engine, agency_id) as session:
        job = session.get_one(Job, (agency_id, job_id))
        assert (job.status, job.attempts) == ("SCHEDULED", 0)
        assert job.run_after > job.created_at
    assert run_job(runtime, agency_id, job_id) == "SKIPPED"


def test_without_redis_nobody_waits_for_a_turn(runtime, engine, good_url, settings):
    away = dataclasses.replace(settings, redis_url="redis://127.0.0.1:1/0", webhook_private_addresses=True)
    with taking_turn(Runtime.start(away, engine).redis, new_id()) as turn:
        assert turn.failed is False
