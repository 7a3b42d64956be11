"""A TCP proxy that makes a network bad: slow, silent or cut, from one moment to the next."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from functools import partial


class BadNetwork:
    """Passes bytes between clients and a server on loopback.

    ``delay_s`` is added to each answer; while ``is_silent`` bytes are taken and kept; ``cut()`` closes what is open.
    ``connections`` counts those that came.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.is_silent = False
        self.connections = 0
        self._target_port = target_port
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_closed = False
        _start(self._accept)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """Close every connection there is; new ones may come."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._is_closed = True
        # It wakes the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
            except OSError:
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            _start(partial(self._pass, client, server))

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        """Pass bytes both ways until one side ends."""
        with client, server, contextlib.suppress(OSError):
            while not self._is_closed:
                for source in select.select([client, server], [], [], 0.5)[0]:
                    data = source.recv(65_536)
                    if not data:
                        return
                    if source is server and self.delay_s:
                        time.sleep(self.delay_s)
                    while self.is_silent and not self._is_closed:
                        time.sleep(0.01)
                    (server if source is client else client).sendall(data)


def _start(act: Callable[[], None]) -> None:
    threading.Thread(target=act, daemon=True).start()
