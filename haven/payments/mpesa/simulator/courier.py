"""Things that happen later: a timetable, and the delivery of callbacks over HTTP."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Final

import httpx

from haven.payments.mpesa.simulator.options import Options
from haven.payments.mpesa.simulator.world import Delivered, World

_log = logging.getLogger(__name__)

_HANDS: Final = 64
"""Callbacks under way at once; a slow receiver holds one hand for its whole time-out."""
_RETRY_WAIT_S: Final = 5.0
_KEPT_ANSWER: Final = 2000


class Timetable:
    """Runs things after a delay, in threads. ``speed`` divides each delay."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._hands = ThreadPoolExecutor(_HANDS, thread_name_prefix="callback")
        threading.Thread(target=self._run, name="timetable", daemon=True).start()

    def scaled(self, seconds: float) -> float:
        """Seconds of M-Pesa's time in seconds of the simulator's."""
        return seconds / self._speed

    def after(self, seconds: float, action: Callable[[], object], *, is_scaled: bool = True) -> None:
        """Run ``action`` after so many seconds, of M-Pesa's time unless ``is_scaled`` is false."""
        at = time.monotonic() + (self.scaled(seconds) if is_scaled else seconds)
        with self._changed:
            heapq.heappush(self._due, (at, next(self._order), action))
            self._changed.notify()

    def clear(self) -> None:
        """Forget what has not happened yet."""
        with self._changed:
            self._due.clear()

    def _run(self) -> None:
        while True:
            self._hands.submit(_guarded, self._next())

    def _next(self) -> Callable[[], object]:
        with self._changed:
            while True:
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                if wait_s is not None and wait_s <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait_s)


class Courier:
    """Sends bodies to the receivers and notes what they say."""

    def __init__(self, options: Options, world: World, timetable: Timetable) -> None:
        self._options = options
        self._world = world
        self._timetable = timetable
        # No connection is kept: one the receiver has just closed would lose a callback M-Pesa would deliver.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._http = httpx.Client(
            timeout=options.callback_timeout_s,
            transport=httpx.HTTPTransport(local_address=options.callback_address or None, limits=limits),
        )

    def send(
        self, url: str, body: bytes, kind: str, shortcode: str, push: int | None, retries: int | None = None
    ) -> Delivered:
        """POST a body once; with retries set, again later after an answer that is not 2xx."""
        delivered = self._post(url, body, kind, shortcode, push)
        with self._world.lock:
            self._world.delivered.append(delivered)
        left = self._options.callback_retries if retries is None else retries
        if left and not (delivered.status and 200 <= delivered.status < 300):
            again = partial(self.send, url, body, kind, shortcode, push, left - 1)
            self._timetable.after(_RETRY_WAIT_S, again)
        return delivered

    def ask(self, url: str, body: bytes, shortcode: str, timeout_s: float) -> Delivered:
        """POST a validation, with its own time-out, and note the answer."""
        delivered = self._post(url, body, "C2B_VALIDATION", shortcode, None, timeout_s)
        with self._world.lock:
            self._world.delivered.append(delivered)
        return delivered

    def _post(
        self,
        url: str,
        body: bytes,
        kind: str,
        shortcode: str,
        push: int | None,
        timeout_s: float | None = None,
    ) -> Delivered:
        sent_at, started = datetime.now(UTC), time.monotonic()
        status: int | None = None
        try:
            response = self._http.post(
                url,
                content=body,
                headers={
                    "Content-Type": "application/json;charset=UTF-8",
                    "Businessshortcode": shortcode,
                    "User-Agent": "Apache-HttpClient/4.5.5",
                },
                timeout=timeout_s or self._options.callback_timeout_s,
            )
            status, answer = response.status_code, response.text[:_KEPT_ANSWER]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            answer = type(error).__name__
        took_ms = int((time.monotonic() - started) * 1000)
        return Delivered(push, kind, url, body.decode(), sent_at, took_ms, status, answer)


def _guarded(action: Callable[[], object]) -> None:
    try:
        action()
    except Exception:  # noqa: BLE001 (a fault in one plan must not end the others)
        _log.exception("something the simulator had planned went wrong")
