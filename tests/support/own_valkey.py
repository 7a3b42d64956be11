"""A Valkey of a test's own, to be killed, paused, filled, flushed and started again at will."""

from __future__ import annotations

import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from haven.embedded_servers import EmbeddedValkey, free_port

STARTS_WITHIN_S = 30


def wait_until(is_so: Callable[[], bool], for_s: float = STARTS_WITHIN_S) -> None:
    """Wait for it; an ``AssertionError`` where it does not come."""
    deadline = time.monotonic() + for_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class OwnValkey:
    """One server. ``url`` stays the same when it is started again, and so does what is in it.

    Args:
        more: lines of its configuration.
        password: one of its own when not given.
    """

    def __init__(self, folder: Path, *more: str, password: str = "") -> None:
        self._server = EmbeddedValkey(folder, free_port(), password or secrets.token_hex(8), durable=True)
        self._server.prepare()
        conf = folder / "valkey.conf"
        conf.write_text(conf.read_text() + "".join(f"{line}\n" for line in more))
        self.port = self._server.port
        self.url = self._server.url()
        self.start()

    def url_through(self, port: int) -> str:
        """The same server by way of a proxy at ``port``."""
        return self.url.replace(f":{self.port}/", f":{port}/")

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def start(self) -> None:
        program = self._server.program()
        self._process = subprocess.Popen(program.argv, env=dict(program.env), stdout=subprocess.DEVNULL)
        wait_until(self._server.is_ready)

    def kill(self) -> None:
        """Also while it is paused."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it take connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def own_valkey(folder: Path, *more: str, password: str = "") -> Iterator[OwnValkey]:
    """A server for the time of a test, whatever state that leaves it in."""
    server = OwnValkey(folder, *more, password=password)
    try:
        yield server
    finally:
        server.kill()
