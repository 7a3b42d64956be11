"""A time limit on the body of a request.

gunicorn waits for a body as long as its sender likes, and a thread waits with it: sixteen senders of a byte now and
then would stop sixteen threads. Here one thread of the process cuts those that take too long.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from flask import request

_LOOK_EVERY_S: Final = 0.25


class Deadlines:
    """Connections, each with the moment (monotonic seconds) after which no more is read from it."""

    def __init__(self) -> None:
        self._ends: dict[socket.socket, float] = {}
        self._has_some = threading.Event()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    @contextmanager
    def within(self, connection: socket.socket, seconds: float) -> Iterator[None]:
        """For as long as this lasts, cut what comes in on ``connection`` once ``seconds`` have passed."""
        self._ends[connection] = time.monotonic() + seconds
        self._has_some.set()
        self._watch()
        try:
            yield
        finally:
            self._ends.pop(connection, None)

    def _watch(self) -> None:
        with self._lock:
            # A thread does not survive a fork: in the child it is not alive.
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._watcher.start()

    def _run(self) -> None:
        while True:
            self._has_some.wait()
            time.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            for connection, ends in self._ends.copy().items():
                if ends <= now:
                    # The reader then finds the end of the stream; an answer can still be written.
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)
            self._has_some.clear()
            if self._ends:
                self._has_some.set()


_deadlines: Final = Deadlines()


def body_within(seconds: float) -> bytes:
    """The body of the request at hand, or, where its sender is slow or goes away, what has come of it.

    Raises:
        RequestEntityTooLarge: its length is said to be over ``MAX_BODY_BYTES`` (a 413).
    """
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return request.get_data()
    with _deadlines.within(connection, seconds):
        return request.get_data()


def read_within(environ: dict[str, Any], seconds: float) -> bytes:
    """The same before Flask: a body whose length is announced, and was found to be allowed."""
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    length = int(environ["CONTENT_LENGTH"])
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return read(length)
    with _deadlines.within(connection, seconds):
        return read(length)
