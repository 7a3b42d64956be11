"""The real HAProxy in front of two web servers, with the configuration that the documentation gives."""

from __future__ import annotations

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from haven.embedded_servers import free_port
from tests.support.live import CHECKOUT
from tests.support.own_valkey import wait_until
from tests.support.web_server import WebServer

CONFIGURATION = CHECKOUT / "docs" / "haproxy.cfg"


class Front:
    """What clients see: one address, always there."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.is_ready = True
        self._log = log

    def wait_back(self, times: int) -> None:
        """Until HAProxy has found, so many times in all, that a server is back."""
        wait_until(lambda: self._log.read_text().count(" is UP") >= times)

    def look(self) -> int:
        """The status of ``/ready`` through it; 0: it does not answer."""
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with closing(connection):
                connection.request("GET", "/alive")
                return connection.getresponse().status
        return 0


@contextmanager
def haproxy(servers: list[WebServer], log: Path) -> Iterator[Front]:
    """HAProxy for the time of a test."""
    binary = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert binary, "HAProxy is not installed: apt-get install haproxy (.ci/run does it)"
    front = Front(free_port(), log)
    environ = {"LISTEN": f"127.0.0.1:{front.port}"}
    for name, server in zip(("HAVEN_A", "HAVEN_B"), servers, strict=True):
        environ[name] = f"127.0.0.1:{server.port}"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [binary, "-db", "-f", str(CONFIGURATION)], env=environ, stdout=said, stderr=said
        )
    try:
        wait_until(lambda: front.look() == 200)
        yield front
    finally:
        process.kill()
        process.wait()
