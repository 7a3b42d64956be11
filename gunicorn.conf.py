"""How gunicorn serves Haven. Everything that differs from host to host comes from the environment."""

import gc
import os
import signal
import threading
from typing import Any

bind = f"{os.environ.get('BIND_HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"  # noqa: S104  a PaaS routes to it
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
worker_class = "haven.serving.Worker"
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  a heartbeat needs no disk

# Imported once, before the fork: the processes share its memory and start at once.
preload_app = True
# All processes share one socket. With a socket for each (reuse_port) what waits at one that ends is reset.
reuse_port = False
# Longer than the longest request (a push to M-Pesa waits 10 s), so that a restart cuts none off.
graceful_timeout = 25
timeout = 60
# Longer than proxies keep an idle connection (60 s is common): who closes it first loses no request that is on its way.
keepalive = 75
backlog = 512
limit_request_line = 8190
limit_request_fields = 64
# The application logs each request itself, with its id.
accesslog = None
errorlog = "-"
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")


def when_ready(server: Any) -> None:
    """Stop politely; and everything that is loaded by now stays: the collector need not look at it, nor the fork copy it."""
    _drain_before_stopping(server)
    gc.collect()
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Let go of what belongs to the parent process."""
    application = server.app.wsgi()
    application.extensions["after_fork"]()


def post_worker_init(worker: Any) -> None:
    """A worker that is told to stop ends its event streams: their clients come back to its successor."""
    application = worker.app.wsgi()
    application.extensions["haven_streams"].is_serving = lambda: worker.alive


def pre_request(worker: Any, request: Any) -> None:
    """While the server drains, an answer closes its connection: the next request goes to another server."""
    if worker.app.wsgi().extensions["haven_drain"].is_on:
        request.force_close()


def _drain_before_stopping(server: Any) -> None:
    """At a SIGTERM be not ready for DRAIN_SECONDS, while requests are still served, and stop then; a second one hurries."""
    application = server.app.wsgi()
    drain, seconds = application.extensions["haven_drain"], application.config["DRAIN_SECONDS"]

    def stop(number: int, frame: Any) -> None:
        if drain.is_on or not seconds:
            server.signal(number, frame)
            return
        drain.begin()
        waiting = threading.Timer(seconds, server.signal, (number, None))
        waiting.daemon = True
        waiting.start()

    signal.signal(signal.SIGTERM, stop)
