"""gunicorn's threaded worker without a middleman, and with a door that is emptied before it is closed.

gunicorn's own (``gthread``) reads all events in its main thread and hands each request to a pool: two changes of thread, a
future and a byte through a pipe for each. Here every thread takes the next event by itself, answers, and puts the connection
back. ``EPOLLONESHOT`` sees to it that a connection belongs to one thread at a time: after an event the kernel tells of it no
more until it is put back. Reading, answering and errors are gunicorn's.

Threads of one interpreter take its lock from each other at every call of the kernel, so more of them than there is work for
make each answer dearer. Only ``AT_ONCE`` have a place at the epoll; the others come in for those whose request takes long.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from queue import SimpleQueue
from typing import Any, Final

from gunicorn.http import wsgi
from gunicorn.workers.base import Worker as BaseWorker
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from haven.serving.response import OnePieceResponse

_READABLE: Final = select.EPOLLIN | select.EPOLLONESHOT
AT_ONCE: Final = 4
"""Threads that take and answer requests at the same time, besides those that have been at one for ``LONG_S``."""
LONG_S: Final = 0.05
_TICK_S: Final = 0.05
_NOTIFY_S: Final = 1.0
_PATIENCE_S: Final = 30.0
_STOPPING_TICK_S: Final = 0.1
_NOBODY_WAITS: Final = (errno.EAGAIN, errno.ECONNABORTED, errno.EBADF, errno.EINVAL)
_FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn publishes no types
    """A process of threads that wait for requests themselves.

    Its end loses no connection that the kernel has already accepted for it. gunicorn's own stops looking at its sockets and
    closes them only when its last request is done: who connects in between waits, and is reset. Here they are emptied and
    closed first, so a newcomer is refused at once, which every proxy answers by trying the next server.
    """

    alive: bool

    def init_process(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._connections: dict[int, Any] = {}
        """By file descriptor, until they are closed. The thread that an event went to closes: nobody else does."""
        self._at_rest: dict[Any, None] = {}
        """Connections that wait for their next request."""
        self._doors: dict[int, socket.socket] = {}
        """Listening sockets that are looked at."""
        self._is_over = False
        self._places: SimpleQueue[None] = SimpleQueue()
        self._busy: dict[int, float] = {}
        """Since when each thread with a place has been at its request. Who removes a thread from here has its place."""
        # gunicorn looks a setting up by its name each time.
        self._before, self._after = self.cfg.pre_request, self.cfg.post_request
        self._keeps_alive = bool(self.cfg.keepalive)
        self._wake, self._woken = os.pipe()
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        for end in (self._wake, self._woken):
            os.set_blocking(end, False)
        # Not ThreadWorker's, which makes the pool and the queue that are not wanted here.
        BaseWorker.init_process(self)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: finish what is under way."""
        BaseWorker.handle_exit(self, sig, frame)
        self._wake_main()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT and SIGINT: stop at once."""
        BaseWorker.handle_quit(self, sig, frame)

    def run(self) -> None:
        self._epoll.register(self._over, select.EPOLLIN)
        self._open_doors()
        threads = [
            threading.Thread(target=self._serve, name=f"requests-{number}", daemon=True)
            for number in range(1, self.cfg.threads + 1)
        ]
        for _ in threads[:AT_ONCE]:
            self._places.put(None)
        for one in threads:
            one.start()
        while self.alive and self.is_parent_alive():
            self.notify()
            self._open_doors()
            self._end_overdue()
            self._wait(_NOTIFY_S)
        self.alive = False
        self._empty_doors()
        self._finish(time.monotonic() + self.cfg.graceful_timeout)
        self._is_over = True
        os.eventfd_write(self._over, 1)
        for _ in threads:
            self._places.put(None)
        for one in threads:
            # One that is busy still has had its time; it ends with the process.
            one.join(_NOTIFY_S if not self.nr_conns else 0.0)

    def _finish(self, until: float) -> None:
        """Wait for the requests that are under way, and a little for those that clients may be sending right now."""
        with self._lock:
            for conn in self._at_rest:
                conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        # Who is busy may just have let one in, and not counted him yet.
        while (self.nr_conns or self._busy) and time.monotonic() < until:
            self.notify()
            self._end_overdue()
            self._wait(_STOPPING_TICK_S)

    def _serve(self) -> None:
        """A thread's work: event after event, one at a time, so that the next goes to whoever is free."""
        me, has_place = threading.get_ident(), False
        while not self._is_over:
            if not has_place:
                self._places.get()
                has_place = True
            for descriptor, _ in self._epoll.poll(_PATIENCE_S, 1):
                self._busy[me] = time.monotonic()
                try:
                    self._take(descriptor)
                except Exception:
                    self.log.exception("A thread that serves requests met an error and goes on.")
                has_place = self._busy.pop(me, None) is not None

    def _give_places(self) -> None:
        """Who has been at a request for long waits for something: another thread has its place meanwhile."""
        long_ago = time.monotonic() - LONG_S
        # Its keys alone are copied in one step of the interpreter: no other thread changes it meanwhile.
        for thread in list(self._busy):
            if self._busy.get(thread, long_ago + 1) <= long_ago and self._busy.pop(thread, None) is not None:
                self._places.put(None)

    def _take(self, descriptor: int) -> None:
        door = self._doors.get(descriptor)
        if door is not None:
            self._accept(door)
            return
        conn = self._connections.get(descriptor)
        if conn is not None:
            self._answer(conn)

    def _accept(self, door: socket.socket) -> bool:
        """Let one in, to be looked at when its request is there; whether one was waiting."""
        try:
            # First: at the end another thread may close it, when one who was let in must not be lost.
            server = door.getsockname()
            client, address = door.accept()
        except OSError as error:
            if error.errno in _FULL:
                self.log.warning("No connection can be accepted: %s", error)
                time.sleep(_STOPPING_TICK_S)
            elif error.errno not in _NOBODY_WAITS:
                raise
            return False
        conn = TConn(self.cfg, client, address, server)
        conn.data_ready = True  # nobody looks at it before that is true
        conn.set_timeout()
        with self._lock:
            self.nr_conns += 1
            is_full = self.nr_conns >= self.worker_connections
            self._connections[client.fileno()] = conn
            self._at_rest[conn] = None
        if is_full:
            self._shut_doors()
        self._epoll.register(client.fileno(), _READABLE)
        return True

    def _answer(self, conn: Any) -> None:
        with self._lock:
            self._at_rest.pop(conn, None)
        is_kept = False
        try:
            is_kept = self.handle(conn)
            # A body that was not read to its end may have been read past it: that makes no event.
            while is_kept and conn.parser.unreader.buf.getvalue():
                is_kept = self.handle(conn)
        except SystemExit:
            self.log.exception("A request asked the process to exit; its connection is closed.")
        finally:
            if is_kept:
                self._put_back(conn)
            else:
                self._close(conn)

    def _put_back(self, conn: Any) -> None:
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        with self._lock:
            self._at_rest[conn] = None
        self._epoll.modify(conn.sock.fileno(), _READABLE)

    def _close(self, conn: Any) -> None:
        with self._lock:
            self._connections.pop(conn.sock.fileno(), None)
        conn.close(graceful=True)
        with self._lock:
            self.nr_conns -= 1
        if not self.alive:
            self._wake_main()

    def _end_overdue(self) -> None:
        """Hang up on those who have been silent for too long. The event that this makes has their thread close them."""
        now = time.monotonic()
        with self._lock:
            overdue = [conn for conn in self._at_rest if conn.timeout <= now]
            for conn in overdue:
                del self._at_rest[conn]
        for conn in overdue:
            with contextlib.suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)

    def _open_doors(self) -> None:
        """Look at the listening sockets, where there is room for those who come."""
        with self._lock:
            if self._doors or self.nr_conns >= self.worker_connections:
                return
            for door in self.sockets:
                door.setblocking(False)
                self._doors[door.fileno()] = door.sock
                # Exclusive: one process is woken for one who comes, not all of them.
                self._epoll.register(door.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def _shut_doors(self) -> None:
        with self._lock:
            for descriptor in self._doors:
                self._epoll.unregister(descriptor)
            self._doors.clear()

    def _empty_doors(self) -> None:
        """Let in who waits already, and close: who comes now is refused."""
        self._shut_doors()
        for door in self.sockets:
            while self.nr_conns < self.worker_connections and self._accept(door.sock):
                pass
            door.close()

    def _wait(self, seconds: float) -> None:
        """Look after the places until the time is over, or there is something else to do."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._give_places()
            if select.select([self._wake], [], [], _TICK_S)[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                return

    def _wake_main(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._woken, b"\0")

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        if keepalive and _is_read(conn.parser.mesg):
            # Nothing to drain: gunicorn would set the socket's time-out three times to find that out.
            conn.parser.mesg = None
            return True
        return bool(super()._keepalive_after(conn, keepalive))

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Answer a request; whether its connection may be used again. As gunicorn's, without an access log."""
        environ: dict[str, Any] = {}
        response = None
        try:
            self._before(self, req)
            response, environ = wsgi.create(
                req, conn.sock, conn.client, conn.server, self.cfg, response_class=OnePieceResponse
            )
            environ["wsgi.multithread"] = True
            self._count()
            if not self.alive or not self._keeps_alive or len(self._at_rest) >= self.max_keepalived:
                response.force_close()
            self._send(response, self.wsgi(environ, response.start_response), environ)
            return not response.should_close()
        except (Exception, SystemExit) as error:
            if response is None or not response.headers_sent or isinstance(error, OSError):
                raise
            # A second answer on the same connection would look like the rest of the first.
            self.log.exception("Error handling request")
            return False
        finally:
            self._after(self, req, environ, response)

    def _count(self) -> None:
        """``--max-requests``: a process that has served as many makes room for a fresh one."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self._wake_main()

    def _send(self, response: Any, body: Any, environ: dict[str, Any]) -> None:
        try:
            if isinstance(body, environ["wsgi.file_wrapper"]):
                response.write_file(body)
            else:
                for piece in body:
                    response.write(piece)
            response.close()
        finally:
            if hasattr(body, "close"):
                body.close()


def _is_read(request: Any) -> bool:
    """Whether the request has no body, or one that was read to its end."""
    return getattr(getattr(request.body, "reader", None), "length", None) == 0
