"""Redis addresses of every kind, by the scheme of one URL.

``redis://`` ``rediss://`` ``unix://`` as redis-py reads them, and

- ``redis+sentinel://:password@one:26379,two:26379/service/0``: whichever server is the service's master now;
- ``redis+cluster://:password@one:6379,two:6379``: a cluster, found by any of its nodes. A cluster has one database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
_PORTS: Final = {"redis+sentinel": 26379, "redis+cluster": 6379}
_CONNECTIONS: Final = 16
"""Of a process; a web process has 8 threads."""
_CONNECTION_WAIT_S: Final = 1
_SENTINEL_WAIT_S: Final = 2.0

Client = Any
"""``redis.Redis`` or ``RedisCluster``: the commands we use are the same, their types are not."""


@dataclass(frozen=True, slots=True)
class Several:
    """What a Sentinel or Cluster URL says."""

    kind: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    service: str
    database: int


def scheme_of(url: str) -> str:
    """What the URL begins with, in small letters: ``redis+sentinel``."""
    return url.partition("://")[0].lower()


def place_of(url: str) -> tuple[str, str]:
    """The hosts of the URL without credentials, and its path. Not by ``urlsplit``: some Pythons refuse ``one,[::1]``."""
    place, path = _split(url)
    return place.rpartition("@")[2], path


def read_several(url: str) -> Several:
    """The parts of a ``redis+sentinel://`` or ``redis+cluster://`` URL.

    Raises:
        ValueError: it names no host, a port that is none, or (Sentinel) no service.
    """
    scheme, (place, path) = scheme_of(url), _split(url)
    credentials, _, places = place.rpartition("@")
    username, _, password = credentials.partition(":")
    hosts = tuple(_host(one, _PORTS[scheme]) for one in places.split(",") if one)
    service, _, database = path.strip("/").partition("/")
    if not hosts:
        raise ValueError("names no host")
    if scheme == "redis+sentinel" and not service:
        raise ValueError("must name the service: redis+sentinel://host:26379/service/0")
    if database and not database.isdigit():
        raise ValueError("must end in a database's number")
    return Several(
        scheme.removeprefix("redis+"),
        hosts,
        unquote(username) or None,
        unquote(password) or None,
        service,
        int(database or 0),
    )


def connect(url: str, timeout_s: float, on_connect: Callable[[Any], None]) -> Client:
    """A client of the server or servers at ``url``.

    Args:
        timeout_s: of connecting, and of each answer.
        on_connect: called with each new connection before it is used.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # Once more on another connection, for one that was cut while it lay idle; never after a time-out.
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    }
    if scheme_of(url) in ("redis", "rediss", "unix"):
        # Those who find every connection in use wait for one: opening hundreds at once takes longer, and times out.
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_CONNECTION_WAIT_S,
            redis_connect_func=_first(on_connect),
            **options,
        )
        return redis.Redis.from_pool(pool)
    if is_cluster(url):
        # RedisCluster prepares a connection itself before it calls this.
        return cluster_client(url, **options, redis_connect_func=on_connect)
    return one_client(url, **options, redis_connect_func=_first(on_connect))


def is_cluster(url: str) -> bool:
    return scheme_of(url) == "redis+cluster"


def one_client(url: str, *, kind: type[redis.Redis] = redis.Redis, **options: Any) -> Any:
    """A client of the server at ``url``, or of the one that its Sentinels call the master. Connects at first use.

    Args:
        options: of the connections; ``db`` goes before the URL's.

    Raises:
        ValueError: it is a cluster's URL.
    """
    if is_cluster(url):
        raise ValueError("a cluster is no single server")
    if scheme_of(url) != "redis+sentinel":
        client = kind.from_url(url, **options)
        # In a URL its own database would go before.
        client.connection_pool.connection_kwargs |= {name: options[name] for name in options if name == "db"}
        return client
    several = read_several(url)
    signed_in = {"username": several.username, "password": several.password, "db": several.database}
    # How long a Sentinel is waited for, also by who waits for the server without an end.
    timeouts = {
        name: options.get(name) or _SENTINEL_WAIT_S for name in ("socket_timeout", "socket_connect_timeout")
    }
    found = Sentinel(several.hosts, sentinel_kwargs=timeouts)  # type: ignore[no-untyped-call]
    return found.master_for(several.service, kind, **(signed_in | options))  # type: ignore[no-untyped-call]


def cluster_client(url: str, **options: Any) -> RedisCluster:
    """A client of the cluster, which it connects to at once.

    Raises:
        redis.ConnectionError: no node answers.
    """
    several = read_several(url)
    nodes = [ClusterNode(host, port) for host, port in several.hosts]  # type: ignore[no-untyped-call]
    try:
        return RedisCluster(
            startup_nodes=nodes, username=several.username, password=several.password, **options
        )
    except RedisClusterException as error:
        # It is no RedisError, and nobody expects it.
        raise RedisConnectionError(str(error)) from error


def _split(url: str) -> tuple[str, str]:
    place, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    return place, f"/{path}"


def _first(on_connect: Callable[[Any], None]) -> Callable[[Any], None]:
    def prepared(connection: Any) -> None:
        connection.on_connect()
        on_connect(connection)

    return prepared


def _host(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, number = text, str(port)
    if not number.isdigit() or not 0 < int(number) < 65536:
        raise ValueError(f"has a port that is none: {number!r}")
    return host.strip("[]"), int(number)
