"""Haven's web processes, as on a platform: gunicorn with the project's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from haven.embedded_servers import free_port
from tests.support.live import CHECKOUT, clean_environ

PATIENCE_S = 60


@dataclass(frozen=True)
class Web:
    """Running web processes."""

    url: str
    port: int
    log_file: Path
    pid: int
    """The process whose children serve."""

    def log(self) -> str:
        """All they have written so far."""
        return self.log_file.read_text(errors="replace")


@contextmanager
def running_web(environ: Mapping[str, str], folder: Path, *, port: int = 0, **settings: str) -> Iterator[Web]:
    """Start gunicorn with the settings ``environ``, those in upper case before them, and stop it at the end.

    Args:
        port: 0: any that is free.
    """
    port = port or free_port()
    log_file = folder / f"web-{port}.log"
    environ = clean_environ() | dict(environ) | {"BIND_HOST": "127.0.0.1", "PORT": str(port)} | settings
    with log_file.open("wb") as log:
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environ, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        web = Web(f"http://127.0.0.1:{port}", port, log_file, process.pid)
        try:
            _wait_ready(web, process)
            yield web
        finally:
            process.terminate()
            process.wait(45)


def _wait_ready(web: Web, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_at:
        assert process.poll() is None, web.log()
        try:
            if httpx.get(f"{web.url}/ready", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"gunicorn did not become ready:\n{web.log()}")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))
