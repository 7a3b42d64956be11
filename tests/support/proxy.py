"""A TCP proxy that breaks connections at a chosen point, as networks do."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum


class Manner(StrEnum):
    """What becomes of a request whose path is disturbed."""

    PASS = "pass"
    CUT_BEFORE = "cut before anything was passed on"
    RESET_BEFORE = "reset before anything was passed on"
    HALF_OF_IT = "cut when half of it was passed on"
    CUT_AFTER = "cut instead of the answer"
    RESET_AFTER = "reset instead of the answer"
    CUT_MEANWHILE = "cut while the answer is being made"
    HALF_AN_ANSWER = "cut in the middle of the answer"
    HOLD = "the answer is held back"


@dataclass
class Proxy:
    """Listens on the loopback and passes each connection's one request on to ``upstream``.

    ``manner`` is for requests that have ``path`` in their first line; all others pass.
    """

    upstream: tuple[str, int]
    path: str
    manner: Manner = Manner.PASS
    seen: list[str] = field(default_factory=list)
    """The first lines of the requests that came, in order."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """Set it to let go of what is held back."""

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def disturbed(self) -> int:
        """How many requests of the path that is disturbed have come."""
        return sum(self.path in line for line in self.seen)

    def close(self) -> None:
        self.go_on.set()
        # It wakes the thread that accepts.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            request = _whole_request(client)
            line = request.partition(b"\r\n")[0].decode("latin-1")
            self.seen.append(line)
            self._pass_on(client, request, self.manner if self.path in line else Manner.PASS)

    def _pass_on(self, client: socket.socket, request: bytes, manner: Manner) -> None:
        if manner in {Manner.CUT_BEFORE, Manner.RESET_BEFORE}:
            return _end(client, manner is Manner.RESET_BEFORE)
        with socket.create_connection(self.upstream, timeout=30) as server:
            if manner is Manner.HALF_OF_IT:
                server.sendall(request[: len(request) // 2])
                return _end(client, is_reset=False)
            server.sendall(request)
            if manner is Manner.CUT_MEANWHILE:
                _end(client, is_reset=False)
            answer = _all_of(server)
        if manner is Manner.HOLD:
            self.go_on.wait(60)
        if manner in {Manner.CUT_AFTER, Manner.RESET_AFTER}:
            return _end(client, manner is Manner.RESET_AFTER)
        client.sendall(answer[: len(answer) // 2] if manner is Manner.HALF_AN_ANSWER else answer)
        return None


def _whole_request(client: socket.socket) -> bytes:
    """A request with its body, whose length is in its head."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += _some_of(client)
    head, _, body = request.partition(b"\r\n\r\n")
    named = {line.partition(b":")[0].lower(): line for line in head.split(b"\r\n")}
    length = int(named.get(b"content-length", b":0").partition(b":")[2])
    while len(body) < length:
        body += _some_of(client)
    # The one that answers is to end the connection, so that its answer is all it sends.
    named[b"connection"] = b"Connection: close"
    return b"\r\n".join(named.values()) + b"\r\n\r\n" + body


def _some_of(connection: socket.socket) -> bytes:
    part = connection.recv(65_536)
    if not part:
        raise ConnectionError
    return part


def _all_of(connection: socket.socket) -> bytes:
    answer = b""
    with suppress(ConnectionError):
        while True:
            answer += _some_of(connection)
    return answer


def _end(connection: socket.socket, is_reset: bool) -> None:
    if is_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    connection.close()
