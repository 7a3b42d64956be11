"""As many requests as a server answers, over connections that stay open, by as little work as Python can do."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import Final

CONNECTIONS: Final = 16
_TIMEOUT_S: Final = 20.0
_PIECE: Final = 262_144


def request(path: str, **headers: str) -> bytes:
    """A GET of HTTP/1.1."""
    lines = [f"GET {path} HTTP/1.1", "Host: bench", "Accept: */*"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def take(self) -> bytes | None:
        """The whole answer, where all of it has come."""
        self.received += self.socket.recv(_PIECE)
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not what was asked for: {bytes(self.received[:500])!r}")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        whole = bytes(self.received)
        self.received.clear()
        return whole


def ask(port: int, asked: bytes) -> bytes:
    """One answer, head and body."""
    with _connected(port) as one:
        connection = _Connection(one)
        one.sendall(asked)
        while (answer := connection.take()) is None:
            pass
        return answer


def count_answers(port: int, asked: bytes, seconds: float) -> tuple[int, float]:
    """Ask over all connections for a while; how many answers came, and in how many seconds.

    Raises:
        RuntimeError: an answer was not 200, or none came for long.
    """
    selector = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        one = _connected(port)
        one.sendall(asked)
        selector.register(one, selectors.EVENT_READ, _Connection(one))
    began, count = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < seconds:
        ready = selector.select(_TIMEOUT_S)
        if not ready:
            raise RuntimeError(f"no answer from port {port} for {_TIMEOUT_S:g} s")
        for key, _ in ready:
            if key.data.take() is not None:
                count += 1
                key.data.socket.sendall(asked)
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    return count, now - began


def _connected(port: int) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one
