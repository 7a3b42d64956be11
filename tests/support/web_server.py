"""Web servers of a test's own, to be told to stop, reloaded and killed at will."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from haven.embedded_servers import free_port
from tests.support.live import CHECKOUT, clean_environ

LOOK_EVERY_S: Final = 0.1
START_S: Final = 60


class WebServer:
    """One gunicorn, as in production. What it says goes to ``log``."""

    def __init__(self, environ: Mapping[str, str], log: Path, program: str) -> None:
        self.port = free_port()
        self.is_ready = False
        self._environ = {**clean_environ(), **environ, "PORT": str(self.port), "BIND_HOST": "127.0.0.1"}
        self._log, self._program = log, program
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        argv = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", self._program]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, cwd=CHECKOUT, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )

    def wait_ready(self, path: str = "/ready") -> None:
        deadline = time.monotonic() + START_S
        while self.look(path) != 200:
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(LOOK_EVERY_S)

    def look(self, path: str = "/ready") -> int:
        """The status of what is at ``path``; 0: it does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", path)
                return connection.getresponse().status
        return 0

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait_stopped(self) -> int:
        return self._process.wait(timeout=START_S)

    def stop(self) -> None:
        """End it and its workers, whatever they do."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def gunicorn(environ: Mapping[str, str], program: str = "wsgi:app") -> Iterator[str]:
    """A web server for the time of a test, which says only what is wrong; its address."""
    server = WebServer({"LOG_LEVEL": "ERROR", **environ}, Path(os.devnull), program)
    try:
        server.wait_ready("/alive")
        yield server.url
    finally:
        server.stop()


def counted(answers: Iterable[Any]) -> dict[int, int]:
    """How many answers there were of each status."""
    statuses = [answer.status_code for answer in answers]
    return {status: statuses.count(status) for status in set(statuses)}
