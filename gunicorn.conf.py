"""How gunicorn serves Haven. Everything that differs from host to host comes from the environment."""

import atexit
import gc
import os
import select
import shutil
import signal
import tempfile
import threading
from typing import Any

bind = f"{os.environ.get('BIND_HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"  # noqa: S104  a PaaS routes to it
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
# Haven's own needs Linux; gunicorn's will do to try it out elsewhere.
worker_class = "haven.serving.Worker" if hasattr(select, "epoll") else "gthread"
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


def _share_numbers() -> None:
    """Give the processes of this server a directory for what /metrics tells of all of them; emptied at a start.

    Before the application is imported: prometheus_client looks once. Neither at a reload (SIGHUP), which reads this file
    anew, nor at an upgrade (USR2), whose old processes still write there, is it emptied.
    """
    owner = os.environ.get("HAVEN_METRICS_OF")
    if owner == str(os.getpid()) or "GUNICORN_PID" in os.environ:
        return
    os.environ["HAVEN_METRICS_OF"] = str(os.getpid())
    if owner is not None or "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        # Not inherited from a server that started this one: its directory is its own.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="haven-metrics-")
    from extensions.monitoring.prometheus import prepare_directory

    prepare_directory()


_share_numbers()


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
    """A worker that is told to stop ends its event streams: their clients come back to its successor.

    One that memory is short for stops as if it were told to, by finishing its requests; the server starts another.
    """
    application = worker.app.wsgi()
    application.extensions["haven_streams"].is_serving = lambda: worker.alive
    memory = application.extensions.get("memory")
    if memory is not None:
        memory.watcher.retire = lambda: os.kill(os.getpid(), signal.SIGTERM)
        memory.watcher.start()


def worker_exit(server: Any, worker: Any) -> None:
    """A worker that memory is short for is gone at once when its requests are done.

    To take the interpreter apart would touch, and so copy, all that it shares with the others: 100 MB that are not there.
    """
    memory = worker.app.wsgi().extensions.get("memory")
    if memory is not None and memory.watcher.is_retiring:
        atexit._run_exitfuncs()
        os._exit(0)


def child_exit(server: Any, worker: Any) -> None:
    """What a process that is gone had open or in flight counts no more; what it has counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the directory that this server has made for itself."""
    directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    if os.path.basename(directory).startswith("haven-metrics-") and "GUNICORN_PID" not in os.environ:
        shutil.rmtree(directory, ignore_errors=True)


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
