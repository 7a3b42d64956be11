"""Serving the simulator: one gunicorn worker with threads, since its world lives in one memory."""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from gunicorn.app.base import BaseApplication

from haven.payments.mpesa.simulator.app import create_simulator
from haven.payments.mpesa.simulator.options import Options

THREADS: Final = 64
"""Requests under way at once; a slow answer holds one of them for its 15 seconds."""


class SimulatorServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn with the simulator in it; ``run()`` returns when it is told to stop."""

    def __init__(self, options: Options, host: str, port: int) -> None:
        self._simulator = options
        self._bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        super().__init__()

    def load_config(self) -> None:
        """The settings; none come from a file or the environment."""
        settings: dict[str, Any] = {
            "bind": self._bind,
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "timeout": 120,
            "graceful_timeout": 2,
            "keepalive": 5,
            "accesslog": None,
            "loglevel": "warning",
            "proc_name": "mpesa-simulator",
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called in the worker, after the fork: the simulator's threads begin where they stay."""
        return create_simulator(self._simulator)
