"""Ends a run of the tests in which nothing happens any more, and says which tests were under way."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any, Final

import pytest

STALLED_S: Final = 400.0
"""More than a test may take (``timeout`` in pyproject.toml) with the making and the ending of what its processes share."""


class StallWatch:
    """In the process that the person started: told of each test by the test processes, or by itself where there are none."""

    def __init__(self, stalled_s: float = STALLED_S) -> None:
        self._stalled_s = stalled_s
        self._seen_at = time.monotonic()
        self._over = threading.Event()
        self._stalled: list[str] | None = None
        self.running: dict[str, None] = {}
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # As a shell starts what it puts into the background; then nothing could interrupt the run.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self._seen_at = time.monotonic()
        self.running[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        self._seen_at = time.monotonic()
        self.running.pop(nodeid, None)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._stalled_s / 20):
            if time.monotonic() - self._seen_at > self._stalled_s:
                self._stalled = list(self.running)
                os.kill(os.getpid(), signal.SIGINT)
                return

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._stalled is not None:
            names = ", ".join(self._stalled) or "none"
            terminalreporter.section("stalled")
            terminalreporter.line(
                f"No test ended for {self._stalled_s:.0f} s: the run was given up. Under way: {names}"
            )
