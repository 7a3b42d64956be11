"""How gunicorn serves Haven. Everything that differs from host to host comes from the environment."""

import gc
import os
from typing import Any

bind = f"{os.environ.get('BIND_HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"  # noqa: S104  a PaaS routes to it
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
worker_class = "gthread"
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  a heartbeat needs no disk

# Imported once, before the fork: the processes share its memory and start at once.
preload_app = True
# Longer than the longest request (a push to M-Pesa waits 10 s), so that a restart cuts none off.
graceful_timeout = 30
timeout = 60
keepalive = 5
backlog = 512
limit_request_line = 8190
limit_request_fields = 64
# The application logs each request itself, with its id.
accesslog = None
errorlog = "-"
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")


def when_ready(server: Any) -> None:
    """Everything that is loaded by now stays: the collector need not look at it, nor the fork copy it."""
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
