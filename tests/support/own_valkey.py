"""A Valkey of a test's own, to be killed, stopped and flushed at will."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from haven.embedded_servers import EmbeddedValkey, free_port
from haven.supervisor import ProcessRecord, Supervisor


class OwnValkey:
    """One server with nothing in it. ``url`` stays the same when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._pid = 0
        self._supervisor = Supervisor(folder, self._note)
        self._server = EmbeddedValkey(folder / "valkey", free_port(), "word", durable=False)
        self._server.prepare()
        self.start()

    @property
    def url(self) -> str:
        return self._server.url()

    @property
    def port(self) -> int:
        return self._server.port

    def url_through(self, port: int) -> str:
        """The same server by way of a proxy at ``port``."""
        return self.url.replace(f":{self.port}/", f":{port}/")

    def start(self) -> None:
        self._supervisor.start(self._server.program())
        self._supervisor.wait_ready(["valkey"], deadline_s=30)

    def stop(self) -> None:
        """End it; what is in it is gone."""
        self._supervisor.stop(hurry=lambda: True)

    def pause(self) -> None:
        """Let it take connections and answer nothing."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)

    def _note(self, records: list[ProcessRecord]) -> None:
        self._pid = next((one.pid for one in records if one.name == "valkey"), self._pid)


@contextmanager
def own_valkey(folder: Path) -> Iterator[OwnValkey]:
    server = OwnValkey(folder)
    try:
        yield server
    finally:
        server.go_on()
        server.stop()
