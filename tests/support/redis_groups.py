"""Several Valkeys that belong together: a master with its replica and a Sentinel, or a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from haven.embedded_servers import free_port, valkey_binary
from tests.support.own_valkey import OwnValkey, own_valkey, wait_until

PASSWORD = "mwamba"
_SLOTS = 16384


@dataclass
class Watched:
    """Two servers of which a Sentinel says who is the master."""

    url: str
    first: OwnValkey
    second: OwnValkey
    sentinel: redis.Redis

    def master_port(self) -> int:
        found = self.sentinel.execute_command("SENTINEL", "get-master-addr-by-name", "rents")
        return int(found[1]) if found else 0


@contextmanager
def watched_by_a_sentinel(folder: Path, *more: str) -> Iterator[Watched]:
    """A master, its replica, and a Sentinel that makes the replica the master a second after the first is gone."""
    secret = (f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", *more)
    with ExitStack() as stack:
        first = stack.enter_context(_server(folder / "first", *secret))
        second = stack.enter_context(_server(folder / "second", *secret, f"replicaof 127.0.0.1 {first.port}"))
        port = free_port()
        conf = folder / "sentinel.conf"
        conf.write_text(
            f"bind 127.0.0.1\nport {port}\ndir {folder}\nsentinel monitor rents 127.0.0.1 {first.port} 1\n"
            f"sentinel auth-pass rents {PASSWORD}\nsentinel down-after-milliseconds rents 1000\n"
            "sentinel failover-timeout rents 5000\n"
        )
        process = subprocess.Popen([str(valkey_binary()), str(conf), "--sentinel"], stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        asked = redis.Redis(port=port, socket_timeout=5)
        url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{port}/rents/0"
        pair = Watched(url, first, second, asked)
        wait_until(lambda: _says(pair, first.port) and _knows_the_replica(asked))
        yield pair


@contextmanager
def cluster_of_three(folder: Path) -> Iterator[tuple[str, list[OwnValkey]]]:
    """The URL of a cluster of three masters, and they."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                _server(
                    folder / f"node-{number}",
                    f"requirepass {PASSWORD}",
                    "cluster-enabled yes",
                    f"cluster-port {free_port()}",
                    "cluster-require-full-coverage no",
                    "databases 1",
                )
            )
            for number in range(3)
        ]
        clients = [node.client() for node in nodes]
        for number, client in enumerate(clients):
            first, last = _SLOTS * number // 3, _SLOTS * (number + 1) // 3 - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            bus = client.config_get("cluster-port")["cluster-port"]
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[number].port, bus)
        wait_until(lambda: all(_knows_all(client) for client in clients))
        places = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        yield f"redis+cluster://:{PASSWORD}@{places}", nodes


@contextmanager
def _server(folder: Path, *more: str) -> Iterator[OwnValkey]:
    with own_valkey(folder, *more, password=PASSWORD) as server:
        yield server


def _says(pair: Watched, port: int) -> bool:
    try:
        return pair.master_port() == port
    except redis.RedisError:
        return False


def _knows_the_replica(sentinel: redis.Redis) -> bool:
    replicas = sentinel.execute_command("SENTINEL", "replicas", "rents")
    return len(replicas) == 1 and "master-link-status" in str(replicas) and "'ok'" in str(replicas)


def _knows_all(client: redis.Redis) -> bool:
    told = str(client.execute_command("CLUSTER", "INFO"))
    return all(
        one in told for one in ("cluster_state:ok", f"cluster_slots_ok:{_SLOTS}", "cluster_known_nodes:3")
    )
