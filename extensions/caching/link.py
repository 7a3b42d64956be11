"""The way to Redis: bounded in time, and aware of which server it leads to.

A server that starts again with an old file brings back old generations, and under them old entries. So each server's own
``run_id`` (new at every start) is part of a generation: what was stored before a restart, or on another server, is not
found after it.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import hiredis
from redis.cluster import RedisCluster
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as TookTooLong

from extensions import trace
from extensions.addresses import Client, connect
from extensions.caching.breaker import Breaker

T = TypeVar("T")
_RUN_ID: Final = re.compile(r"run_id:([0-9a-f]{8,})")


class Unavailable(Exception):
    """Redis does not answer, refuses, or is being left alone. Nothing is wrong with the caller."""


class Script:
    """A Lua script, sent by its hash; by its text where the server does not know it (yet, or any more)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: Client, keys: list[str], *arguments: Any) -> Any:
        try:
            return client.evalsha(self._hash, len(keys), *keys, *arguments)
        except NoScriptError:
            return client.eval(self.text, len(keys), *keys, *arguments)

    def packed(self, keys: list[str], arguments: tuple[Any, ...], *, whole: bool = False) -> bytes:
        """The command that runs it, as it is sent; ``whole``: with its text."""
        named = ("EVAL", self.text) if whole else ("EVALSHA", self._hash)
        packed: bytes = hiredis.pack_command((*named, len(keys), *keys, *arguments))
        return packed


class Link:
    """Connects at first use.

    Args:
        url: see ``addresses``; empty: there is no Redis, and every call is ``Unavailable``.
        timeout_s: the longest that one command may take.
        breaker: this process's own when not given; a test holds its clock.
    """

    def __init__(self, url: str, timeout_s: float, breaker: Breaker | None = None) -> None:
        self._url = url
        self.is_cluster = url.startswith("redis+cluster:")
        self._timeout_s = timeout_s
        self.breaker = breaker or Breaker()
        self.reset()

    def reset(self) -> None:
        """Forget the connections: they are another process's."""
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._own = threading.local()
        self._servers: dict[tuple[str, int], str] = {}
        self._server: str | None = None

    def run(self, act: Callable[[Client], T]) -> T:
        """What ``act`` gives, called with the client.

        Raises:
            Unavailable: Redis is away, slow, full or read-only.
        """
        if not self._url or not self.breaker.allows():
            raise Unavailable
        started = time.perf_counter()
        try:
            result = act(self._connected())
        except ResponseError as error:
            # It is there, but full, read-only or loading.
            self.breaker.succeeded()
            raise Unavailable(str(error)) from error
        except (RedisError, OSError) as error:
            self.breaker.failed()
            raise Unavailable(str(error)) from error
        finally:
            trace.add(trace.CACHE, "redis", started, (time.perf_counter() - started) * 1000)
        self.breaker.succeeded()
        return result

    def call(self, script: Script, keys: list[str], *arguments: Any) -> Any:
        """What a script gives: by this thread's own connection, which takes half as long as the client's, where it works.

        It may run twice, so it must be one that bears that: where that connection turns out to be closed, the client has
        its turn.

        Raises:
            Unavailable: Redis is away, slow, full or read-only.
        """
        if self.is_cluster:
            return self.run(lambda client: script(client, keys, *arguments))
        started = time.perf_counter()
        try:
            [answer] = self.exchange(script.packed(keys, arguments), 1)
            if isinstance(answer, NoScriptError):
                [answer] = self.exchange(script.packed(keys, arguments, whole=True), 1)
        except Unavailable as error:
            if error.__cause__ is None or isinstance(error.__cause__, TookTooLong):
                raise
            return self.run(lambda client: script(client, keys, *arguments))
        finally:
            trace.add(trace.CACHE, "redis", started, (time.perf_counter() - started) * 1000)
        if isinstance(answer, ResponseError):
            raise Unavailable(str(answer)) from answer
        return answer

    def exchange(self, commands: bytes, count: int) -> list[Any]:
        """Send packed commands in one go, by a connection of this thread's own; their ``count`` answers.

        For a path that is too short for a client's own pool and pipeline. What a command was refused with is its answer,
        as a ``ResponseError``. Not for a cluster, whose keys are on several servers.

        Raises:
            Unavailable: Redis is away or slow.
        """
        if not self._url or not self.breaker.allows():
            raise Unavailable
        try:
            connection = self._own_connection()
            answers = _exchanged(connection, commands, count)
        except (RedisError, OSError) as error:
            self.breaker.failed()
            raise Unavailable(str(error)) from error
        self.breaker.succeeded()
        return answers

    def server(self, key: str) -> str | None:
        """The ``run_id`` of the server that holds ``key``; None while it is not known."""
        if not self.is_cluster:
            # One server at a time, whatever its address: the last one that we connected to.
            return self._server
        client = self._client
        node = None if client is None else client.get_node_from_key(key)
        return None if node is None else self._servers.get((str(node.host), int(node.port)))

    def scan(self, client: Client, key: str, pattern: str, step: int) -> Any:
        """The keys like ``pattern`` on the server that holds ``key``, some at a time."""
        if isinstance(client, RedisCluster):
            node = client.get_node_from_key(key)  # type: ignore[no-untyped-call]
            return client.scan_iter(match=pattern, count=step, target_nodes=node)
        return client.scan_iter(match=pattern, count=step)

    def _connected(self) -> Client:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client
                if client is None:
                    client = self._client = connect(self._url, self._timeout_s, self._meet)
        return client

    def _own_connection(self) -> Any:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            pool = self._connected().connection_pool
            connection = self._own.connection = pool.connection_class(**pool.connection_kwargs)
        return connection

    def _meet(self, connection: Any) -> None:
        connection.send_command("INFO", "server")
        try:
            told = connection.read_response()
        except ResponseError:
            return  # not allowed to ask: then a restart with an old file goes unnoticed
        found = _RUN_ID.search(told.decode() if isinstance(told, bytes) else str(told))
        if found:
            place = (str(getattr(connection, "host", "")), int(getattr(connection, "port", 0) or 0))
            self._servers = self._servers | {place: found[1]}
            self._server = found[1]


def _exchanged(connection: Any, commands: bytes, count: int) -> list[Any]:
    try:
        connection.send_packed_command([commands])
        return [_answer(connection) for _ in range(count)]
    except BaseException:
        # What was not read must never be taken for the answer to something else.
        connection.disconnect()
        raise


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
