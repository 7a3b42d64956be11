"""What the Redis server itself says: memory, keys, evictions."""

from __future__ import annotations

from typing import Any

from redis.cluster import RedisCluster

from extensions.caching.link import Link


def server_numbers(link: Link) -> dict[str, int]:
    """Bytes used and allowed (0: no limit), keys, and keys that were evicted; added up over a cluster's nodes.

    Raises:
        Unavailable: Redis does not answer.
    """
    told = link.run(_ask)
    sums = {"memory_bytes": 0, "memory_limit_bytes": 0, "keys": 0, "evicted_keys": 0}
    for info, keys in told:
        sums["memory_bytes"] += info.get("used_memory", 0)
        sums["memory_limit_bytes"] += info.get("maxmemory", 0)
        sums["evicted_keys"] += info.get("evicted_keys", 0)
        sums["keys"] += keys
    return sums


def _ask(client: Any) -> list[tuple[dict[str, Any], int]]:
    if isinstance(client, RedisCluster):
        nodes = client.get_primaries()  # type: ignore[no-untyped-call]
        return [(client.info(target_nodes=node), int(client.dbsize(target_nodes=node))) for node in nodes]
    return [(client.info(), int(client.dbsize()))]
