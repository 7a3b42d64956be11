"""Event streams through a real gunicorn: they tell each change, end, and never starve the API."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from config import load_settings
from haven.api.event_stream import HEARTBEAT_S, EventStream, Shown, Streams
from haven.app import create_app
from haven.db.base import new_id
from haven.db.session import tenant_session
from haven.embedded_servers import free_port
from haven.errors import NotFound, Unavailable
from haven.leasing.models import Lease
from haven.operations.models import Job
from haven.payments.models import Payment
from tests.support.builders import a_lease
from tests.support.live import clean_environ

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60
PLACES = 2


def wait_until(is_so):
    ends_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_at, "it did not come about"
        time.sleep(0.02)


@dataclass
class Web:
    """One gunicorn process with four threads, so with two places for streams."""

    url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str, by: Any, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}/api/v1{path}", headers=_headers(by, headers), timeout=PATIENCE_S)

    @contextmanager
    def stream(self, path: str, by: Any, **headers: str) -> Iterator[httpx.Response]:
        url = f"{self.url}/api/v1{path}"
        with httpx.stream("GET", url, headers=_headers(by, headers), timeout=PATIENCE_S) as answer:
            yield answer


def _headers(by, more):
    return {"Authorization": f"Bearer {by.token}"} | {
        name.replace("_", "-"): value for name, value in more.items()
    }


@contextmanager
def running_web(environ, **settings) -> Iterator[Web]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = clean_environ() | environ | {"WEB_CONCURRENCY": "1", "WEB_THREADS": "4"} | settings
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=CHECKOUT,
        env=environ | {"PORT": str(port), "BIND_HOST": "127.0.0.1", "DB_POOL_MAX": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _is_up(url, process))
        yield Web(url, process)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _is_up(url, process):
    assert process.poll() is None, "gunicorn ended"
    try:
        return httpx.get(f"{url}/ready", timeout=PATIENCE_S).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def web(environ) -> Iterator[Web]:
    with running_web(environ, EVENT_STREAMS="4") as web:
        yield web


@pytest.fixture
def waiting(engine, admin):
    """A payment that waits for M-Pesa: its id, and a function that gives it another status."""
    lease_id = a_lease(engine, admin.agency_id)
    payment_id = new_id()
    with tenant_session(engine, admin.agency_id) as session:
        tenant_id = session.get_one(Lease, (admin.agency_id, lease_id)).tenant_id
        session.add(
            Payment(
                agency_id=admin.agency_id,
                id=payment_id,
                lease_id=lease_id,
                tenant_id=tenant_id,
                amount=100,
                method="MPESA",
                status="PENDING",
            )
        )

    def becomes(status):
        with tenant_session(engine, admin.agency_id) as session:
            session.get_one(Payment, (admin.agency_id, payment_id)).status = status

    return payment_id, becomes


def read_event(lines):
    """The next event of a stream as ``(id, document)``; None where it has ended."""
    event_id = document = None
    for line in lines:
        if line.startswith("id: "):
            event_id = line.removeprefix("id: ")
        if line.startswith("data: "):
            document = json.loads(line.removeprefix("data: "))
        if not line and document is not None:
            return event_id, document
    return None


def test_it_tells_the_status_at_once_each_change_and_ends_when_it_is_final(web, admin, waiting):
    payment_id, becomes = waiting
    with web.stream(f"/payments/{payment_id}/events", admin) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        assert read_event(lines)[1]["status"] == "PENDING"
        becomes("PROCESSING")
        assert read_event(lines)[1]["status"] == "PROCESSING"
        becomes("CANCELLED")
        last_id, last = read_event(lines)
        assert (last["status"], last["is_final"]) == ("CANCELLED", True)
        assert read_event(lines) is None
    assert last == web.get(f"/payments/{payment_id}/status", admin).json()
    again = web.get(f"/payments/{payment_id}/events", admin, Last_Event_ID=last_id)
    assert (again.status_code, again.content) == (204, b"")


def test_who_comes_back_is_told_only_what_is_new(web, admin, waiting):
    payment_id, becomes = waiting
    with web.stream(f"/payments/{payment_id}/events", admin) as answer:
        seen, _ = read_event(answer.iter_lines())
    with web.stream(f"/payments/{payment_id}/events", admin, Last_Event_ID=seen) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        becomes("PROCESSING")
        seen, told = read_event(lines)
        assert told["status"] == "PROCESSING"
    becomes("FAILED")
    with web.stream(f"/payments/{payment_id}/events", admin, Last_Event_ID=seen) as answer:
        assert read_event(answer.iter_lines())[1]["status"] == "FAILED"


def open_all_places(open_streams, web, path, by):
    """Open as many streams as there are places, each until the stack is closed."""
    for _ in range(PLACES):
        lines = open_streams.enter_context(web.stream(path, by)).iter_lines()
        # A generator that is forgotten closes its connection.
        open_streams.callback(lines.close)
        assert read_event(lines)[1]["status"] == "PENDING"


def test_more_streams_than_places_are_refused_and_the_api_still_answers(web, admin, waiting):
    payment_id, becomes = waiting
    path = f"/payments/{payment_id}/events"
    with ExitStack() as open_streams:
        open_all_places(open_streams, web, path, admin)
        for _ in range(8):
            refused = web.get(path, admin)
            assert refused.status_code == 503
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert refused.headers["Retry-After"] == "5"
        answered = []
        threads = [
            threading.Thread(
                target=lambda: answered.append(web.get(f"/payments/{payment_id}/status", admin).status_code)
            )
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert answered == [200] * 16
        becomes("FAILED")
    wait_until(lambda: web.get(path, admin).status_code == 200)


def test_a_client_that_leaves_gives_its_place_back(web, admin, waiting):
    payment_id, becomes = waiting
    path = f"/payments/{payment_id}/events"
    with ExitStack() as open_streams:
        open_all_places(open_streams, web, path, admin)
        assert web.get(path, admin).status_code == 503
    becomes("CANCELLED")
    # Long before the next heartbeat would have told: the connection itself does.
    wait_until(lambda: web.get(path, admin).status_code == 200)


def test_a_stream_holds_no_connection_between_two_looks(web, admin, waiting, owner_url):
    payment_id, _ = waiting
    with web.stream(f"/payments/{payment_id}/events", admin) as answer:
        lines = answer.iter_lines()
        read_event(lines)
        connection = psycopg2.connect(owner_url)
        connection.autocommit = True
        seen = []
        with connection.cursor() as cursor:
            for _ in range(30):
                cursor.execute(
                    "SELECT state FROM pg_stat_activity WHERE application_name = 'haven'"
                    " AND datname = current_database() AND state LIKE 'idle in transaction%'"
                    " AND now() - state_change > interval '200 ms'"
                )
                seen += cursor.fetchall()
                time.sleep(0.05)
        connection.close()
        assert seen == []
        lines.close()


def test_another_agencys_payment_has_no_stream(web, caller_of, waiting):
    payment_id, _ = waiting
    answer = web.get(f"/payments/{payment_id}/events", caller_of())
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert web.get(f"/payments/{uuid.uuid4()}/events", caller_of()).status_code == 404


def test_a_head_request_takes_no_place(web, admin, waiting):
    payment_id, _ = waiting
    for _ in range(PLACES + 1):
        answer = httpx.head(
            f"{web.url}/api/v1/payments/{payment_id}/events", headers=_headers(admin, {}), timeout=PATIENCE_S
        )
        assert answer.status_code == 200


def test_a_job_has_a_stream_too(web, admin, engine):
    job_id = new_id()
    with tenant_session(engine, admin.agency_id) as session:
        session.add(
            Job(
                agency_id=admin.agency_id,
                id=job_id,
                queue="payments",
                kind="rent_run",
                status="RUNNING",
                arguments={},
                requested_by="tests",
                max_attempts=1,
            )
        )

    def becomes(**columns):
        with tenant_session(engine, admin.agency_id) as session:
            job = session.get_one(Job, (admin.agency_id, job_id))
            for name, value in columns.items():
                setattr(job, name, value)

    with web.stream(f"/jobs/payments/{job_id}/events", admin) as answer:
        lines = answer.iter_lines()
        assert read_event(lines)[1]["status"] == "RUNNING"
        becomes(progress_done=3, progress_total=6)
        assert read_event(lines)[1]["progress"]["percent"] == 50
        becomes(status="SUCCEEDED", result={"invoices": 6})
        last_id, last = read_event(lines)
        assert last["result"] == {"invoices": 6}
        assert read_event(lines) is None
    assert web.get(f"/jobs/payments/{job_id}/events", admin, Last_Event_ID=last_id).status_code == 204
    assert web.get(f"/jobs/exports/{job_id}/events", admin).status_code == 404


def test_a_stopping_process_ends_its_streams_and_is_gone(environ, admin, waiting):
    payment_id, _ = waiting
    with running_web(environ) as web, web.stream(f"/payments/{payment_id}/events", admin) as answer:
        lines = answer.iter_lines()
        read_event(lines)
        os.kill(web.process.pid, signal.SIGTERM)
        assert read_event(lines) is None  # the stream ends as a stream does, with no broken connection
        assert web.process.wait(PATIENCE_S) == 0


def test_it_works_with_redis_away_and_ends_at_its_age(environ, admin, waiting):
    payment_id, becomes = waiting
    away = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    with (
        running_web(environ | away, EVENT_STREAM_LIFE="2") as web,
        web.stream(f"/payments/{payment_id}/events", admin) as answer,
    ):
        lines = answer.iter_lines()
        read_event(lines)
        becomes("PROCESSING")
        assert read_event(lines)[1]["status"] == "PROCESSING"
        assert read_event(lines) is None


@pytest.mark.parametrize("threads, places", [("1", 0), ("8", 3), ("4", 2)])
def test_streams_never_have_more_than_half_of_the_threads(environ, threads, places):
    settings = load_settings(environ | {"WEB_THREADS": threads, "EVENT_STREAMS": "3"})
    assert create_app(settings).extensions["haven_streams"].places == places


class Clock:
    """Each look at it is some seconds later."""

    def __init__(self, step_s):
        self.now, self.step_s = 0.0, step_s

    def __call__(self):
        self.now += self.step_s
        return self.now


PENDING = Shown("1", {"status": "PENDING"}, is_final=False)


@pytest.fixture
def no_wait(monkeypatch):
    monkeypatch.setattr("haven.api.event_stream.LOOK_EVERY_S", 0)


def test_a_stream_with_nothing_new_keeps_the_connection_alive_with_comments(no_wait):
    streams = Streams(1, life_s=HEARTBEAT_S * 10, clock=Clock(HEARTBEAT_S / 2))
    sent = list(EventStream(streams, PENDING, lambda: PENDING))
    assert sent[:2] == [b"retry: 2000\n\n", b'id: 1\nevent: status\ndata: {"status":"PENDING"}\n\n']
    assert set(sent[2:]) == {b": nothing new\n\n"}
    assert 3 <= len(sent[2:]) <= 10


def test_a_sign_in_that_ends_ends_its_stream(app, admin, waiting, monkeypatch):
    monkeypatch.setattr("haven.api.event_stream.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("haven.api.event_stream.RECHECK_S", 0)
    payment_id, becomes = waiting
    key = admin.made("/api-keys", name="watcher")
    answer = app.test_client().get(
        f"/api/v1/payments/{payment_id}/events", headers={"Authorization": f"Bearer {key['secret']}"}
    )
    events = iter(answer.response)
    assert next(events).startswith(b"retry")
    assert b"PENDING" in next(events)
    becomes("PROCESSING")
    assert b"PROCESSING" in next(events)
    assert admin.delete(f"/api-keys/{key['id']}").status_code == 204
    assert list(events) == []


def test_a_row_that_is_removed_ends_the_stream(no_wait):
    def gone():
        raise NotFound("gone")

    assert len(list(EventStream(Streams(1, life_s=60), PENDING, gone))) == 2


def test_a_database_that_is_away_for_a_moment_ends_no_stream(no_wait):
    done = Shown("2", {"status": "COMPLETED"}, is_final=True)
    looks = iter([OperationalError("", {}, Exception()), PENDING, done])

    def look():
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    assert b"COMPLETED" in list(EventStream(Streams(1, life_s=60), PENDING, look))[-1]


def test_a_place_is_given_back_once_however_the_stream_ends():
    streams = Streams(2, life_s=60)
    closed, forgotten = (EventStream(streams, PENDING, lambda: PENDING) for _ in range(2))
    with pytest.raises(Unavailable):
        EventStream(streams, PENDING, lambda: PENDING)
    closed.close()
    closed.close()
    assert streams.open == 1
    del forgotten
    assert streams.open == 0


@pytest.mark.timeout(20)
def test_a_stream_that_is_forgotten_while_a_place_is_taken_stops_nobody():
    """Garbage is collected in whatever thread is at work, also in one that is taking a place."""
    streams = Streams(2, life_s=60)
    forgotten = EventStream(streams, PENDING, lambda: PENDING)
    with streams._lock:
        del forgotten
        gc.collect()
    assert streams.open == 0
