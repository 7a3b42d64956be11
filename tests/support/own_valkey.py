"""A Valkey of a test's own, to be killed, paused, filled and started again; and gunicorn processes of a test's own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis

from haven.embedded_servers import EmbeddedValkey, free_port
from tests.support.live import CHECKOUT, clean_environ

STARTS_WITHIN_S = 30


def wait_until(is_so: Callable[[], bool], for_s: float = STARTS_WITHIN_S) -> None:
    """Wait for it; an ``AssertionError`` where it does not come."""
    deadline = time.monotonic() + for_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class OwnValkey:
    """One server. ``more`` are lines of its configuration."""

    def __init__(self, folder: Path, *more: str) -> None:
        self._server = EmbeddedValkey(folder, free_port(), secrets.token_hex(8), durable=True)
        self._server.prepare()
        conf = folder / "valkey.conf"
        conf.write_text(conf.read_text() + "".join(f"{line}\n" for line in more))
        self.port = self._server.port
        self.url = self._server.url()
        self.start()

    def start(self) -> None:
        program = self._server.program()
        self._process = subprocess.Popen(program.argv, env=dict(program.env), stdout=subprocess.DEVNULL)
        wait_until(self._server.is_ready)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process.poll() is None:
            self.resume()
            self._process.kill()
            self._process.wait()


class SlowProxy:
    """Passes bytes on to a port, each answer ``delay_s`` late."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_late: bool) -> None:
        try:
            while data := source.recv(65536):
                if is_late and self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()

    def stop(self) -> None:
        self._listening.close()


@contextmanager
def gunicorn(environ: Mapping[str, str], *arguments: str, app: str = "wsgi:app") -> Iterator[str]:
    """Haven under a gunicorn of its own; its address."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *arguments, app]
    settings = {"PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR", **environ}
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=clean_environ() | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/alive", timeout=1).status_code == 200)
    except httpx.HTTPError:
        return False


def redirected(url: str, port: int) -> str:
    """The URL with another port."""
    before, _, rest = url.rpartition(":")
    return f"{before}:{port}/{rest.partition('/')[2]}"


def counted(answers: list[Any]) -> dict[int, int]:
    """How many answers there were of each status."""
    statuses = [answer.status_code for answer in answers]
    return {status: statuses.count(status) for status in set(statuses)}
