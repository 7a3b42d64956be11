"""Receivers on the loopback: real HTTP servers that remember what they were sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Receiver:
    """A running receiver. ``status`` is what it answers; ``heard`` has headers and body of each POST."""

    port: int = 0
    status: int = 200
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"


@pytest.fixture
def start_receiver() -> Iterator[Callable[..., Receiver]]:
    """Starts a receiver on an address of the loopback, with TLS where a context is given."""
    with ExitStack() as stack:

        def start(host: str = "127.0.0.1", port: int = 0, tls: Any = None) -> Receiver:
            receiver = Receiver()
            server = ThreadingHTTPServer((host, port), _handler_of(receiver))
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            receiver.port = server.server_port
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return receiver

        yield start


@pytest.fixture
def receiver(start_receiver: Callable[..., Receiver]) -> Receiver:
    return start_receiver()


def _handler_of(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.heard.append((dict(self.headers), body))
            self.send_response(receiver.status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
