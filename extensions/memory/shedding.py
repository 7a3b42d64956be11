"""Refusing requests before any work is done for them, the least needed first.

It stands around the WSGI call. While memory is calm it costs a call and one look at an attribute.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import orjson

from extensions.memory.levels import Level, Thresholds

RETRY_AFTER_S: Final = 5
ROUTE: Final = "haven.route"
"""The key of the WSGI environment under which monitoring is told what an answer belongs to that no rule was found for."""
NEVER: Final = ("/health", "/alive", "/ready", "/metrics")
_SHED: Final = "(shed)"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,128}")
_DETAIL: Final = (
    "This server is short of memory and does only what is most needed. Try again in some seconds."
)

Environ = dict[str, Any]


class Priority(IntEnum):
    """What is refused first, and last."""

    FIRST = 1
    NORMAL = 2
    LAST = 3
    NEVER = 4


@dataclass(frozen=True, slots=True)
class Priorities:
    """Beginnings of paths of each priority; every other path is ``NORMAL``."""

    never: tuple[str, ...] = NEVER
    last: tuple[str, ...] = ()
    first: tuple[str, ...] = ()

    def of(self, path: str) -> Priority:
        """The priority of a path."""
        if path.startswith(self.never):
            return Priority.NEVER
        if path.startswith(self.last):
            return Priority.LAST
        return Priority.FIRST if path.startswith(self.first) else Priority.NORMAL


def shed_up_to(level: Level, share: float, thresholds: Thresholds) -> Priority | None:
    """The highest priority that is refused; None: nothing is."""
    if level < Level.CRITICAL:
        return None
    if level < Level.EMERGENCY:
        return Priority.FIRST
    return Priority.LAST if share >= thresholds.last else Priority.NORMAL


class Gate:
    """What is refused in this process at the moment."""

    def __init__(self, priorities: Priorities) -> None:
        self.priorities = priorities
        self.begin_anew()

    def begin_anew(self) -> None:
        """What a new process begins with: nothing is refused, and nobody watches yet."""
        self._lock = threading.Lock()
        self.refused = dict.fromkeys((Priority.FIRST, Priority.NORMAL, Priority.LAST), 0)
        self.up_to: Priority | None = None
        self.is_calm = False
        """Whether there is nothing to look at: somebody watches, and nothing is refused."""

    def set(self, up_to: Priority | None) -> None:
        """Refuse what has this priority, and what has a lower one."""
        self.up_to = up_to
        self.is_calm = up_to is None

    def refuses(self, path: str) -> bool:
        """Whether a request to this path is refused now; it is counted."""
        if self.up_to is None:
            return False
        priority = self.priorities.of(path)
        if priority > self.up_to:
            return False
        with self._lock:
            self.refused[priority] += 1
        return True


class Shedding:
    """WSGI middleware.

    Args:
        begin: called at a request where nobody watches memory yet, as in each new process.
    """

    def __init__(
        self, application: Callable[..., Iterable[bytes]], gate: Gate, begin: Callable[[], None]
    ) -> None:
        self._application = application
        self._gate = gate
        self._begin = begin

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._gate.is_calm:
            return self._application(environ, start_response)
        self._begin()
        if not self._gate.refuses(environ.get("PATH_INFO", "")):
            return self._application(environ, start_response)
        environ.setdefault(ROUTE, _SHED)
        return _refusal(environ, start_response)


def _refusal(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    """503 with ``Retry-After`` as a problem document (RFC 9457)."""
    offered = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = offered if _REQUEST_ID.fullmatch(offered) else os.urandom(16).hex()
    body = orjson.dumps(
        {
            "type": "about:blank",
            "title": "Unavailable for a moment",
            "status": 503,
            "detail": _DETAIL,
            "instance": environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
            "request_id": request_id,
        }
    )
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(RETRY_AFTER_S)),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Request-ID", request_id),
    ]
    start_response("503 Service Unavailable", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]
