"""Haven's gunicorn worker: what goes over the wire, who waits for whom, and how it ends."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import pytest

from haven.serving.worker import AT_ONCE
from tests.support.web_server import WebServer

PROGRAM = "tests.support.plain_web:app"
PATIENCE_S = 15.0
Serve = Callable[..., WebServer]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("serving") / "web.log"


@pytest.fixture(scope="module")
def server(log) -> Iterator[WebServer]:
    """One process of two threads."""
    one = start(log)
    yield one
    one.stop()


@pytest.fixture
def serve(tmp_path) -> Iterator[Serve]:
    """Start a server with what gunicorn is to do otherwise."""
    started: list[WebServer] = []

    def serve(arguments: str, threads: int = 2) -> WebServer:
        started.append(start(tmp_path / f"{len(started)}.log", arguments, threads))
        return started[-1]

    yield serve
    for one in started:
        one.stop()


def start(log, arguments="", threads=2) -> WebServer:
    environ = {"WEB_CONCURRENCY": "1", "WEB_THREADS": str(threads), "GUNICORN_CMD_ARGS": arguments}
    one = WebServer(environ, log, PROGRAM)
    one.wait_ready()
    return one


class Client:
    """A connection, by its bytes."""

    def __init__(self, server: WebServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        self._received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_args: object) -> None:
        self.socket.close()

    def send(
        self, path: str, *lines: str, method: str = "GET", body: bytes = b"", version: str = "1.1"
    ) -> None:
        head = "\r\n".join([f"{method} {path} HTTP/{version}", "Host: test", *lines, "", ""])
        self.socket.sendall(head.encode() + body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        while b"\r\n\r\n" not in self._received:
            assert self._more(), self._received
        text, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines)

    def body(self, length: int) -> bytes:
        while len(self._received) < length:
            assert self._more(), self._received
        found, self._received = self._received[:length], self._received[length:]
        return found

    def answer(self) -> tuple[int, bytes]:
        status, headers = self.head()
        return status, self.body(int(headers["Content-Length"]))

    def ask(self, path: str, *lines: str) -> tuple[int, bytes]:
        self.send(path, *lines)
        return self.answer()

    def is_closed(self) -> bool:
        """Whether the server hangs up, with nothing more to say."""
        return not self._more() and not self._received

    def rest(self) -> bytes:
        while self._more():
            pass
        return self._received

    def _more(self) -> bool:
        piece = self.socket.recv(65536)
        self._received += piece
        return bool(piece)


@pytest.fixture
def client(server) -> Iterator[Client]:
    with Client(server) as one:
        yield one


def test_one_connection_serves_request_after_request(client):
    for number in range(20):
        assert client.ask(f"/{number}") == (200, f"/{number}".encode())


def test_requests_that_come_together_are_answered_one_after_the_other(client):
    """The second's bytes are read with the first's: no event of the kernel tells of them."""
    client.socket.sendall(b"".join(f"GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n".encode() for n in range(10)))
    assert [client.answer() for _ in range(10)] == [(200, f"/{n}".encode()) for n in range(10)]


def test_a_request_that_comes_in_pieces(client):
    client.socket.sendall(b"POST /echo HTTP/1.1\r\nHost: te")
    time.sleep(0.05)
    client.socket.sendall(b"st\r\nContent-Length: 6\r\n\r\nabc")
    time.sleep(0.05)
    client.socket.sendall(b"def")
    assert client.answer() == (200, b"abcdef")
    assert client.ask("/next") == (200, b"/next")


@pytest.mark.parametrize("length", [0, 1, 60_000, 262_144, 262_145, 3_000_000])
def test_a_body_of_any_length(client, length):
    status, body = client.ask(f"/large?bytes={length}")
    assert (status, len(body), set(body)) == (200, length, {ord("x")} if length else set())
    assert client.ask("/next") == (200, b"/next")


def test_a_stream_goes_out_piece_by_piece(client):
    client.send("/stream")
    status, headers = client.head()
    assert (status, headers["Transfer-Encoding"], "Content-Length" in headers) == (200, "chunked", False)
    assert client.body(22) == b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"
    assert client.ask("/next") == (200, b"/next")


def test_a_head_and_a_204_have_no_body(client):
    client.send("/large?bytes=500", method="HEAD")
    status, headers = client.head()
    assert (status, headers["Content-Length"]) == (200, "500")
    client.send("/empty")
    status, headers = client.head()
    assert (status, "Content-Length" in headers, "Transfer-Encoding" in headers) == (204, False, False)
    assert client.ask("/next") == (200, b"/next")


def test_never_more_bytes_than_were_announced(client):
    assert client.ask("/longer") == (200, b"lon")
    assert client.ask("/next") == (200, b"/next")


def test_a_body_that_nobody_reads_is_no_next_request(client):
    client.send(
        "/unread", "Content-Length: 26", method="POST", body=b"GET /planted HTTP/1.1\r\n\r\n\r\n"[:26]
    )
    assert client.answer() == (200, b"/unread")
    assert client.ask("/next") == (200, b"/next")


def test_every_answer_has_the_time_and_says_what_becomes_of_its_connection(client):
    for lines, version, said in (((), "1.1", "keep-alive"), (("Connection: close",), "1.1", "close")):
        client.send("/", *lines, version=version)
        status, headers = client.head()
        assert status == 200
        assert client.body(1) == b"/"
        assert headers["Connection"] == said
        assert abs(parsedate_to_datetime(headers["Date"]).timestamp() - time.time()) < 5
    assert client.is_closed()


def test_http_1_0_has_one_answer_and_the_end(client):
    client.send("/", version="1.0")
    status, headers = client.head()
    assert (status, headers["Connection"]) == (200, "close")
    assert client.rest() == b"/"


@pytest.mark.parametrize("times", [1, 2])
def test_a_header_with_a_line_break_is_refused_however_often_its_name_was_seen(client, times):
    """Names that were good once are not looked at again; values are, each time."""
    for _ in range(times):
        assert client.ask("/fine")[0] == 200
    client.send("/bad")
    status, headers = client.head()
    assert (status, "X-Planted" in headers) == (500, False)


def test_an_answer_that_breaks_off_is_followed_by_nothing(client):
    client.send("/breaks")
    assert client.head()[0] == 200
    assert client.rest() == b"begun"


def test_an_app_that_exits_takes_nobody_with_it(server, client):
    client.send("/exits")
    client.rest()
    # Both threads are there still.
    for _ in range(4):
        with Client(server) as other, Client(server) as another:
            other.send("/slow?for=0.1")
            another.send("/slow?for=0.1")
            assert other.answer() == another.answer() == (200, b"slow")


def test_garbage_is_refused_and_its_connection_closed(client):
    client.socket.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
    assert client.head()[0] == 400
    client.rest()


def test_who_is_slow_holds_up_nobody_while_a_thread_is_free(server):
    with Client(server) as slow, Client(server) as quick:
        slow.send("/slow?for=1.5")
        began = time.monotonic()
        for _ in range(50):
            assert quick.ask("/quick") == (200, b"/quick")
        # Not a measure of speed: the fifty came before the one.
        slow.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.socket.recv(1)
        slow.socket.settimeout(PATIENCE_S)
        assert slow.answer() == (200, b"slow")
        assert time.monotonic() - began >= 1.4


def test_the_last_thread_serves_while_all_others_wait_for_something(serve):
    """Only some have a place at a time; who is at a request for long gives his to another."""
    server = serve("", threads=AT_ONCE + 2)
    slow = [Client(server) for _ in range(AT_ONCE + 1)]
    for one in slow:
        one.send("/slow?for=3")
    with Client(server) as quick:
        for _ in range(50):
            assert quick.ask("/quick") == (200, b"/quick")
    for one in slow:
        one.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.socket.recv(1)
        one.socket.settimeout(PATIENCE_S)
    for _ in range(2):
        # They have their places back, and as many as there were.
        for one in slow:
            assert one.answer() == (200, b"slow")
            one.send("/slow?for=0.2")
    for one in slow:
        one.socket.close()


def test_connections_that_say_nothing_hold_no_thread(server):
    silent = [Client(server) for _ in range(20)]
    try:
        with Client(server) as client:
            assert client.ask("/") == (200, b"/")
    finally:
        for one in silent:
            one.socket.close()


def test_who_is_silent_for_too_long_is_hung_up_on(serve):
    server = serve("--keep-alive 1")
    with Client(server) as asked, Client(server) as silent:
        assert asked.ask("/") == (200, b"/")
        assert asked.is_closed()
        assert silent.is_closed()
    with Client(server) as another:
        assert another.ask("/") == (200, b"/")


def test_more_than_there_is_room_for_wait_at_the_door(serve):
    server = serve("--worker-connections 4")
    inside = [Client(server) for _ in range(4)]
    with Client(server) as outside:
        outside.send("/out")
        outside.socket.settimeout(1.5)
        with pytest.raises(TimeoutError):
            outside.answer()
        inside.pop().socket.close()
        outside.socket.settimeout(PATIENCE_S)
        assert outside.answer() == (200, b"/out")
    for one in inside:
        one.socket.close()


def test_a_process_that_has_served_enough_is_replaced_and_no_answer_lost(serve):
    server = serve("--max-requests 5")
    for number in range(30):
        for _ in range(100):
            try:
                with Client(server) as client:
                    answer = client.ask(f"/{number}", "Connection: close")
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        assert answer == (200, f"/{number}".encode())


def test_the_end_waits_for_what_is_under_way_and_for_what_is_being_sent(serve):
    server = serve("")
    with Client(server) as busy, Client(server) as resting:
        assert resting.ask("/before") == (200, b"/before")
        busy.send("/slow?for=1")
        time.sleep(0.3)
        server.tell(signal.SIGTERM)
        time.sleep(0.3)
        # Its last answer said keep-alive, so it may ask once more; this one says close.
        resting.send("/once-more")
        status, headers = resting.head()
        assert (status, headers["Connection"]) == (200, "close")
        assert busy.answer() == (200, b"slow")
    assert server.wait_stopped() == 0


def test_the_end_does_not_wait_for_who_is_silent(serve):
    server = serve("")
    with Client(server) as silent:
        assert silent.ask("/")[0] == 200
        began = time.monotonic()
        server.tell(signal.SIGTERM)
        assert server.wait_stopped() == 0
        # gunicorn's own limit is 25 s, and the keep-alive 75.
        assert time.monotonic() - began < 15


def test_many_at_once_get_each_their_own_answer(server):
    wrong: list[object] = []

    def ask(number: int) -> None:
        with Client(server) as client:
            for turn in range(50):
                path = f"/{number}-{turn}"
                if client.ask(path) != (200, path.encode()):
                    wrong.append(path)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE_S * 4)
    assert wrong == []
    assert not any(one.is_alive() for one in threads)


def test_nothing_went_wrong_that_nobody_saw(server, log):
    assert "goes on" not in log.read_text()
