"""Clients that choose among the web servers that are ready, as a reverse proxy does."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import select
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.web_server import LOOK_EVERY_S


class Server(Protocol):
    """What a client must know of a server: where it is, and whether it is ready."""

    port: int
    is_ready: bool

    def look(self) -> int: ...


@dataclass
class Seen:
    """What the clients got."""

    ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Clients:
    """Threads that ask over connections they keep, each time the next server that is ready.

    A refused connection is tried on another server, as any proxy does, for nothing was sent. Whatever goes wrong later
    counts as a request lost.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        paths: Mapping[str, int],
        pause_s: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._pause_s = pause_s
        self._headers = dict(headers or {})
        self.seen = Seen()
        self._servers = servers
        self._turns = itertools.count()
        self._is_over = False
        self._threads = [threading.Thread(target=self._look, daemon=True)]
        for path, count in paths.items():
            self._threads += [
                threading.Thread(target=self._ask, args=(path,), daemon=True) for _ in range(count)
            ]

    @contextlib.contextmanager
    def asking(self) -> Iterator[Seen]:
        for one in self._threads:
            one.start()
        try:
            yield self.seen
        finally:
            self._is_over = True
            for one in self._threads:
                one.join(timeout=30)

    def _look(self) -> None:
        while not self._is_over:
            for server in self._servers:
                server.is_ready = server.look() == 200
            time.sleep(LOOK_EVERY_S)

    def _ask(self, path: str) -> None:
        kept: dict[int, http.client.HTTPConnection] = {}
        while not self._is_over:
            ready = [one for one in self._servers if one.is_ready]
            if not ready:
                time.sleep(0.02)
                continue
            port = ready[next(self._turns) % len(ready)].port
            began = time.monotonic()
            connection = kept.pop(port, None)
            try:
                if connection is None or _is_closed(connection):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    connection.connect()
            except ConnectionRefusedError:
                continue
            self._ask_on(connection, path, began)
            time.sleep(self._pause_s)
            if connection.sock is not None:
                kept[port] = connection

    def _ask_on(self, connection: http.client.HTTPConnection, path: str, began: float) -> None:
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.seen.failures.append(f"{path}: {error!r} after {time.monotonic() - began:.2f} s")
            connection.close()
            return
        if answer.status != 200:
            self.seen.failures.append(f"{path}: {answer.status}")
        self.seen.ms.append((time.monotonic() - began) * 1000)


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has ended a connection that lay idle: nothing else can be there to read."""
    return bool(select.select([connection.sock], [], [], 0)[0])
