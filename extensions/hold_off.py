"""A Redis client that leaves a dead Redis alone: one time-out, and then none until Redis answers again.

Without it every request waits out a dead Redis's time-out, for each of its commands. Here the first command that fails
holds off all clients of that server in this process; a thread of its own asks Redis until it answers promptly again, so
no request pays for finding that out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis
from redis.client import Pipeline

ASK_EVERY_S: Final = 1.0
"""How often a Redis that is away is asked whether it is back."""
ASK_TIMEOUT_S: Final = 0.2
"""A Redis that needs longer for a PING is no help: PostgreSQL is quicker."""
_AWAY: Final = (redis.ConnectionError, redis.TimeoutError)
_Answer = TypeVar("_Answer")


class HeldOff(redis.ConnectionError):
    """Redis is away; nothing was sent."""


class HoldOff:
    """Whether a server is left alone.

    Args:
        ask: raises a ``redis.RedisError`` unless the server answers, in a bounded time.
        ask_every_s: the pause between two questions.
    """

    def __init__(self, ask: Callable[[], object], ask_every_s: float = ASK_EVERY_S) -> None:
        self._ask = ask
        self._ask_every_s = ask_every_s
        self._is_away = False
        self._asker: int | None = None
        """The process whose thread asks; a child made by a fork has the flag but not the thread."""
        self.times = 0
        """How often the server went away."""

    @property
    def is_away(self) -> bool:
        if self._is_away and self._asker != os.getpid():
            self._start_asking()
        return self._is_away

    def check(self) -> None:
        """Go on, or raise ``HeldOff``."""
        if self.is_away:
            raise HeldOff("Redis is away: it is left alone until it answers again.")

    def failed(self) -> None:
        """The server did not answer: leave it alone from now on."""
        if not self._is_away:
            self._is_away = True
            self.times += 1
            self._start_asking()

    def _start_asking(self) -> None:
        self._asker = os.getpid()
        threading.Thread(target=self._until_it_answers, name="redis-hold-off", daemon=True).start()

    def _until_it_answers(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._ask_every_s):
            try:
                self._ask()
            except redis.RedisError:
                continue
            self._is_away = False
            return


class GuardedRedis(redis.Redis):
    """A ``redis.Redis`` whose commands and pipelines raise ``HeldOff`` at once while its server is away."""

    hold_off: HoldOff

    def execute_command(self, *args: Any, **options: Any) -> Any:
        act = super().execute_command
        return _guarded(self.hold_off, lambda: act(*args, **options))  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        made = GuardedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.hold_off = self.hold_off
        return made


class GuardedPipeline(Pipeline):
    """A pipeline that raises ``HeldOff`` at once while its server is away."""

    hold_off: HoldOff

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        act = super().execute
        return _guarded(self.hold_off, lambda: act(raise_on_error))

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        act = super().immediate_execute_command
        return _guarded(self.hold_off, lambda: act(*args, **options))  # type: ignore[no-untyped-call]


def guarded_redis(url: str, timeout_s: float, **options: Any) -> GuardedRedis:
    """A client that connects on first use; all clients of one server in this process hold off together.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        timeout_s: the longest wait for a connection, and for an answer.
        options: further ones of ``redis.Redis``; ``db`` goes before the URL's.
    """
    options = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s} | options
    # No retry: a second try would double the time that a request loses to a dead server.
    client: GuardedRedis = GuardedRedis.from_url(url, retry=None, **options)  # type: ignore[assignment]
    if "db" in options:
        client.connection_pool.connection_kwargs["db"] = options["db"]
    client.hold_off = _hold_off_of(url)
    return client


_hold_offs: dict[str, HoldOff] = {}
_making = threading.Lock()


def _hold_off_of(url: str) -> HoldOff:
    """The one of the server at ``url``, whatever database of it."""
    parts = urlsplit(url)
    server = f"{parts.hostname}:{parts.port}" if parts.hostname else parts.path
    with _making:
        if server not in _hold_offs:
            _hold_offs[server] = HoldOff(lambda: _ask(url))
        return _hold_offs[server]


def _ask(url: str) -> None:
    client = redis.Redis.from_url(
        url, retry=None, socket_timeout=ASK_TIMEOUT_S, socket_connect_timeout=ASK_TIMEOUT_S
    )
    try:
        client.ping()
    finally:
        client.close()


def _guarded(hold_off: HoldOff, act: Callable[[], _Answer]) -> _Answer:
    hold_off.check()
    try:
        return act()
    except _AWAY:
        hold_off.failed()
        raise
