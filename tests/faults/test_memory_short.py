"""A web server under a memory limit of 512 MiB: it refuses early, recovers by itself, and loses no write that it accepted."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import psutil
import psycopg2
import pytest

from haven.db.prepare import APP_ROLE, OWNER_ROLE
from tests.support.own_valkey import wait_until
from tests.support.web_server import WebServer

LIMIT = 512 << 20
WORKERS = 2
PATIENCE_S = 60
CALM_ANSWERS = 30
"""So many in a row are of all processes: a level is looked at each second at the least."""


class Server:
    """The server, and what was written on it."""

    def __init__(self, web: WebServer, owner_url: str) -> None:
        self.web = web
        self._owner_url = owner_url
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.refusals: list[tuple[http.client.HTTPMessage, dict]] = []
        self.failures: list[str] = []

    def ask(self, method: str, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def write(self, mib: int = 0, seconds: float = 0.0) -> int:
        row_id = str(uuid.uuid4())
        try:
            status, headers, body = self.ask("POST", f"/writes/{row_id}?mib={mib}&seconds={seconds}")
        except OSError as error:
            self.failures.append(repr(error))
            return 0
        self.statuses[status] += 1
        if status == 201:
            self.accepted.append(row_id)
        elif status == 503:
            self.refusals.append((headers, json.loads(body)))
        return status

    def memory(self) -> dict:
        status, _, body = self.ask("GET", "/health/memory")
        assert status == 200, body
        return json.loads(body)

    def pids(self) -> set[int]:
        """The web processes that are alive."""
        return {one.pid for one in psutil.Process(self.web.pid).children()}

    def wait_until_calm(self) -> None:
        """Wait until no process refuses anything: each sees for itself that memory is free again."""
        ends_at, calm = time.monotonic() + PATIENCE_S, 0
        while calm < CALM_ANSWERS:
            memory = self.memory()
            calm = 0 if memory["level"] in ("CRITICAL", "EMERGENCY") else calm + 1
            assert time.monotonic() < ends_at, memory
            time.sleep(0.05)

    @contextlib.contextmanager
    def written_at(self, clients: int, mib: int, seconds: float) -> Iterator[None]:
        """While the block runs, so many clients write, one after the other each; one more comes every twentieth of a second."""
        is_over = threading.Event()

        def act(number: int) -> None:
            is_over.wait(number / 20)
            while not is_over.is_set():
                if self.write(mib, seconds) != 201:
                    # A client that heeds Retry-After would wait longer; this one is rude.
                    is_over.wait(0.05)

        threads = [threading.Thread(target=act, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            for thread in threads:
                thread.join(PATIENCE_S)

    def rows(self) -> set[str]:
        connection = psycopg2.connect(self._owner_url)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT id::text FROM test_write")
            return {row[0] for row in cursor.fetchall()}


@pytest.fixture
def server(addresses, worker_number, environ, tmp_path) -> Iterator[Server]:
    name = f"haven_memory_{worker_number}"
    addresses.new_database(name)
    owner_url = addresses.database_url(OWNER_ROLE, name)
    connection = psycopg2.connect(owner_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS test_write; CREATE TABLE test_write (id uuid PRIMARY KEY)")
    connection.close()
    settings = {
        **environ,
        "DATABASE_URL": addresses.database_url(APP_ROLE, name),
        "DATABASE_OWNER_URL": owner_url,
        "MEMORY_LIMIT": str(LIMIT),
        "WEB_CONCURRENCY": str(WORKERS),
        "WEB_THREADS": "32",
    }
    web = WebServer(settings, tmp_path / "web.log", "tests.support.greedy_web:app")
    try:
        web.wait_ready("/alive")
        server = Server(web, owner_url)
        wait_until(lambda: len(server.pids()) == WORKERS)
        yield server
    finally:
        web.stop()


@pytest.mark.req("S4")
def test_it_refuses_recovers_and_loses_no_accepted_write(server):
    assert server.write() == 201
    before = server.memory()
    assert (before["limit_source"], before["limit_bytes"]) == ("setting", LIMIT)
    assert before["share"] < 0.7, before

    ends_at = time.monotonic() + PATIENCE_S
    with server.written_at(clients=64, mib=8, seconds=1.0):
        while server.statuses[503] < 50:
            assert time.monotonic() < ends_at, server.memory()
            assert server.ask("GET", "/alive")[0] == 200
            time.sleep(0.2)

    server.wait_until_calm()
    assert server.write() == 201
    assert server.failures == []
    assert server.statuses.keys() == {201, 503}
    headers, problem = server.refusals[0]
    assert headers["Retry-After"] == "5"
    assert headers["Content-Type"] == "application/problem+json"
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "request_id"}
    assert set(server.accepted) <= server.rows()
    assert len(server.rows()) == len(server.accepted), "what was refused was not begun"


@pytest.mark.req("S4")
def test_what_can_be_let_go_of_is(server):
    """A cache that fills up the limit empties under pressure: nobody is refused for good, and no process ends."""
    before = server.pids()
    ends_at = time.monotonic() + PATIENCE_S
    while server.memory()["share"] < 0.85 and time.monotonic() < ends_at and not server.statuses[503]:
        server.statuses[server.ask("POST", "/hoard?mib=16&cached=1")[0]] += 1
    server.wait_until_calm()
    assert server.write() == 201
    assert server.pids() == before
    assert set(server.accepted) <= server.rows()


@pytest.mark.req("S4")
@pytest.mark.long
def test_a_process_that_cannot_let_go_is_replaced_once_its_requests_are_done(server):
    hoarder = int(server.ask("POST", "/hoard?mib=1")[2])
    ends_at = time.monotonic() + PATIENCE_S * 1.5
    with server.written_at(clients=4, mib=0, seconds=0.2):
        while time.monotonic() < ends_at:
            if server.memory()["level"] != "EMERGENCY":
                server.ask("POST", "/hoard?mib=16")
            if hoarder not in server.pids():
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"nobody was replaced: {server.memory()}")
    server.wait_until_calm()
    assert server.write() == 201
    assert server.failures == []
    assert set(server.accepted) <= server.rows()
