"""gunicorn's threaded worker, which takes what waits at its door before it closes it."""

from __future__ import annotations

import errno
import select
from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker

_GONE: Final = (errno.EBADF, errno.ENOTSOCK)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn publishes no types
    """A worker whose end loses no connection that the kernel has already accepted for it.

    gunicorn's own stops looking at its sockets and closes them only when its last request is done: who connects in
    between waits, and is reset. Here they are emptied and closed first, so a newcomer is refused at once, which every
    proxy answers by trying the next server.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                self._empty_and_close(listener)

    def _empty_and_close(self, listener: Any) -> None:
        try:
            while select.select([listener.sock], [], [], 0)[0] and self.nr_conns < self.worker_connections:
                self.accept(listener)
        except OSError as error:
            if error.errno not in _GONE:
                raise
        listener.close()
