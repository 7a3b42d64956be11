"""One URL for every kind of Redis; a real cluster of one node and a real Sentinel, of the wheel's own server."""

from __future__ import annotations

import subprocess
import uuid

import pytest
import redis

from config import SettingsError, load_settings
from extensions.addresses import is_cluster, place_of, read_several
from extensions.caching.build import build_cache
from extensions.caching.keys import Place
from extensions.caching.server import server_numbers
from haven.embedded_servers import free_port, valkey_binary
from tests.support.own_valkey import own_valkey, wait_until

GOOD = {"DATABASE_URL": "postgresql://haven@127.0.0.1/haven", "SECRET_KEY": "k" * 32}


def test_a_sentinel_url_is_read():
    read = read_several("redis+sentinel://app:p%40ss@one:26380,two,[::1]:26381/rents/3")
    assert read.hosts == (("one", 26380), ("two", 26379), ("::1", 26381))
    assert (read.kind, read.username, read.password) == ("sentinel", "app", "p@ss")
    assert (read.service, read.database) == ("rents", 3)


def test_a_sentinel_in_brackets_is_an_address_to_the_settings_and_to_a_client():
    url = "redis+sentinel://app:p%40ss@one:26380,[::1]:26381/rents/3"
    assert load_settings(GOOD | {"CACHE_REDIS_URL": url}).cache_redis_url == url
    assert place_of(url) == ("one:26380,[::1]:26381", "/rents/3")
    assert not is_cluster(url)


def test_a_cluster_url_is_read():
    read = read_several("redis+cluster://:secret@one,two:7001")
    assert read.hosts == (("one", 6379), ("two", 7001))
    assert (read.kind, read.username, read.password, read.database) == ("cluster", None, "secret", 0)


@pytest.mark.parametrize(
    "url, words",
    [
        ("http://one", "must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"),
        ("redis+cluster://", "names no host"),
        ("redis+cluster://one:port", "has a port that is none"),
        ("redis+sentinel://one:26379", "must name the service"),
        ("redis+sentinel://one/rents/x", "must end in a database's number"),
    ],
)
def test_a_wrong_url_stops_the_start_with_a_sentence(url, words):
    with pytest.raises(SettingsError, match="CACHE_REDIS_URL") as raised:
        load_settings(GOOD | {"CACHE_REDIS_URL": url})
    assert words in str(raised.value)


def works(cache) -> None:
    """Values, tags, patterns and numbers."""
    one, other = Place("makao", "rents", "a", ("lease",)), Place("upeo", "rents", "a", ("lease",))
    for place in (one, other):
        assert cache.set(place, 1)
    cache.clear_tags("makao", ["lease"])
    assert [cache.get(place) for place in (one, other)] == [None, 1]
    assert cache.clear_pattern("upeo", "rents:?") == 1
    assert cache.get(other) is None
    assert cache.get_or_compute(one, lambda: 2) == cache.get_or_compute(one, lambda: 3) == 2
    cache.generations.announce("makao", ["lease"], "token")
    assert cache.get(one) is None
    cache.generations.settle("makao", ["lease"], "token")
    assert cache.get_or_compute(one, lambda: 4) == 4
    assert cache.statistics.read("makao")["rents"].computations >= 2
    assert server_numbers(cache.link)["keys"] > 0


@pytest.mark.req("C1")
def test_it_works_on_a_cluster(tmp_path):
    with own_valkey(tmp_path / "node", "cluster-enabled yes", "databases 1") as server:
        client = server.client()
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: b"cluster_state:ok" in _text(client.execute_command("CLUSTER", "INFO")))
        url = server.url.replace("redis://", "redis+cluster://").removesuffix("/0")
        cache = build_cache(url, prefix=f"test-{uuid.uuid4().hex[:8]}", timeout_s=10)
        works(cache)
        assert cache.link.server("test:{makao}:x")


@pytest.mark.req("C1")
def test_it_asks_a_sentinel_who_the_master_is(tmp_path):
    with own_valkey(tmp_path / "master") as server:
        port, password = free_port(), server.url.partition("://:")[2].partition("@")[0]
        conf = tmp_path / "sentinel.conf"
        conf.write_text(
            f"bind 127.0.0.1\nport {port}\ndir {tmp_path}\nsentinel monitor rents 127.0.0.1 {server.port} 1\n"
            f"sentinel auth-pass rents {password}\n"
        )
        sentinel = subprocess.Popen(
            [str(valkey_binary()), str(conf), "--sentinel"], stdout=subprocess.DEVNULL
        )
        try:
            asked = redis.Redis(port=port, socket_timeout=5)
            wait_until(lambda: _knows_a_master(asked))
            works(build_cache(f"redis+sentinel://:{password}@127.0.0.1:{port}/rents/2", timeout_s=10))
            assert server.client().info("keyspace").keys() == {"db2"}
        finally:
            sentinel.kill()
            sentinel.wait()


def _knows_a_master(client: redis.Redis) -> bool:
    try:
        return bool(client.execute_command("SENTINEL", "get-master-addr-by-name", "rents"))
    except redis.RedisError:
        return False


def _text(told: object) -> bytes:
    return told if isinstance(told, bytes) else str(told).encode()
