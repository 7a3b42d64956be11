"""A Redis client that leaves a dead Redis alone: one time-out, and then none until Redis answers again.

Without it every request waits out a dead Redis's time-out, for each of its commands. Here the first command that fails
holds off all clients of that server in this process; a thread of its own asks Redis until it answers promptly again, so
no request pays for finding that out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import redis
from redis._parsers import Encoder
from redis.client import Pipeline
from redis.cluster import RedisCluster
from redis.commands.core import Script
from redis.exceptions import RedisClusterException

from extensions.addresses import cluster_client, is_cluster, one_client, place_of

log = logging.getLogger(__name__)
ASK_EVERY_S: Final = 1.0
"""How often a Redis that is away is asked whether it is back."""
ASK_TIMEOUT_S: Final = 0.2
"""A Redis that needs longer for a PING is no help: PostgreSQL is quicker."""
_MISUSE: Final = "cluster mode"
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

    def failed(self, error: BaseException) -> None:
        """The server did not answer: leave it alone from now on."""
        if not self._is_away:
            log.warning("Redis is left alone until it answers again: %s: %s", type(error).__name__, error)
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


class GuardedCluster:
    """The same for a cluster: redis-py's client of one, made at its first command, as it connects when it is made.

    It has that client's commands. What it does to several keys it does where all are in one slot, or node by node.
    """

    def __init__(self, make: Callable[[], RedisCluster], hold_off: HoldOff) -> None:
        self.hold_off = hold_off
        self._make = make
        self._made: tuple[int, RedisCluster] | None = None
        """The process that made it, and the client."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def command(*args: Any, **options: Any) -> Any:
            return self.guarded(lambda client: getattr(client, name)(*args, **options))

        return command

    def guarded(self, act: Callable[[RedisCluster], _Answer]) -> _Answer:
        """What ``act`` gives, called with the client."""
        try:
            return _guarded(self.hold_off, lambda: act(self._client()))
        except RedisClusterException as error:
            # No RedisError, so nobody expects it: slots that no node has, no node that answers; or a command that a cluster
            # does not have, which says nothing of whether it answers.
            if _MISUSE not in str(error):
                self.hold_off.failed(error)
            raise redis.ConnectionError(str(error)) from error

    def pipeline(self, transaction: bool = True) -> ClusterCommands:
        return ClusterCommands(self, transaction)

    def register_script(self, script: str) -> Script:
        return Script(self, script)  # type: ignore[arg-type]

    def get_encoder(self) -> Encoder:
        return Encoder("utf-8", "strict", False)  # type: ignore[no-untyped-call]

    def _client(self) -> RedisCluster:
        if self._made is None or self._made[0] != os.getpid():
            self._made = os.getpid(), self._make()
        return self._made[1]


class ClusterCommands:
    """Commands that are sent together, to each node its own. Connects when they are executed."""

    def __init__(self, cluster: GuardedCluster, transaction: bool) -> None:
        self._cluster, self._transaction = cluster, transaction
        self._commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., ClusterCommands]:
        def add(*args: Any, **options: Any) -> ClusterCommands:
            self._commands.append((name, args, options))
            return self

        return add

    def __len__(self) -> int:
        return len(self._commands)

    def execute(self) -> list[Any]:
        return self._cluster.guarded(self._send)

    def _send(self, client: RedisCluster) -> list[Any]:
        pipeline = client.pipeline(transaction=self._transaction)  # type: ignore[no-untyped-call]
        for name, args, options in self._commands:
            getattr(pipeline, name)(*args, **options)
        answers: list[Any] = pipeline.execute()
        return answers


def guarded_redis(url: str, timeout_s: float, **options: Any) -> GuardedRedis:
    """A client that connects on first use; all clients of one server in this process hold off together.

    Args:
        url: see ``addresses``. For a cluster it is a ``GuardedCluster``, which has the same commands.
        timeout_s: the longest wait for a connection, and for an answer.
        options: further ones of ``redis.Redis``; ``db`` goes before the URL's, and is left out for a cluster, which has none:
            to name one is an error there, that would have all of this process leave the cluster alone.
    """
    options = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s} | options
    hold_off = _hold_off_of(url)
    if is_cluster(url):
        options.pop("db", None)
        return GuardedCluster(lambda: cluster_client(url, **options), hold_off)  # type: ignore[return-value]
    # No retry: a second try would double the time that a request loses to a dead server.
    client: GuardedRedis = one_client(url, kind=GuardedRedis, retry=None, **options)
    client.hold_off = hold_off
    return client


_hold_offs: dict[str, HoldOff] = {}
_making = threading.Lock()


def _hold_off_of(url: str) -> HoldOff:
    """The one of the server at ``url``, whatever database of it."""
    hosts, path = place_of(url)
    server = hosts or path
    with _making:
        if server not in _hold_offs:
            _hold_offs[server] = HoldOff(lambda: _ask(url))
        return _hold_offs[server]


def _ask(url: str) -> None:
    timeouts: dict[str, Any] = {"socket_timeout": ASK_TIMEOUT_S, "socket_connect_timeout": ASK_TIMEOUT_S}
    client = cluster_client(url, **timeouts) if is_cluster(url) else one_client(url, retry=None, **timeouts)
    try:
        client.ping()
    finally:
        client.close()


def _guarded(hold_off: HoldOff, act: Callable[[], _Answer]) -> _Answer:
    hold_off.check()
    try:
        return act()
    except _AWAY as error:
        hold_off.failed(error)
        raise
