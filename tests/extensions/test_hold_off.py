"""A Redis that is away costs one time-out, and is found again when it is back."""

from __future__ import annotations

import os
import threading
import time

import pytest
import redis

from extensions.hold_off import HeldOff, HoldOff, guarded_redis
from tests.support.bad_network import BadNetwork
from tests.support.own_valkey import own_valkey


@pytest.fixture
def valkey(tmp_path):
    with own_valkey(tmp_path) as server:
        yield server


@pytest.fixture
def network(valkey):
    network = BadNetwork(valkey.port)
    yield network
    network.close()


def until(is_so, for_s: float = 30) -> None:
    deadline = time.monotonic() + for_s
    while not is_so():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


@pytest.mark.req("R4", "C9")
def test_of_many_commands_to_a_silent_redis_one_waits(valkey, network):
    client = guarded_redis(valkey.url_through(network.port), 0.3)
    until(lambda: _answers(client))
    network.is_silent = True
    times = client.hold_off.times
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    for _ in range(200):
        with pytest.raises(HeldOff):
            client.get("key")
        pipeline = client.pipeline()
        pipeline.get("key")
        with pytest.raises(HeldOff):
            pipeline.execute()
    assert client.hold_off.times == times + 1
    network.is_silent = False
    until(lambda: _answers(client))


def _answers(client) -> bool:
    try:
        client.get("key")
    except redis.RedisError:
        return False
    return True


def test_a_redis_slower_than_postgresql_stays_away(valkey, network):
    client = guarded_redis(valkey.url_through(network.port), 0.3)
    network.delay_s = 0.6
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    time.sleep(2.5)  # two questions whether it is back
    assert client.hold_off.is_away
    network.delay_s = 0
    until(lambda: _answers(client))


def test_clients_of_one_server_hold_off_together_whatever_their_database(valkey, network):
    url = valkey.url_through(network.port)
    one, other = guarded_redis(url, 0.3), guarded_redis(url, 0.3, db=5)
    assert one.hold_off is other.hold_off
    assert other.connection_pool.connection_kwargs["db"] == 5
    assert one.hold_off is not guarded_redis(valkey.url, 0.3).hold_off


def test_a_wrong_command_is_not_taken_for_a_dead_redis(valkey):
    client = guarded_redis(valkey.url, 5)
    client.set("key", "text")
    with pytest.raises(redis.ResponseError):
        client.incr("key")
    assert not client.hold_off.is_away


def test_a_child_finds_out_by_itself_that_redis_is_back():
    is_back = threading.Event()

    def ask() -> None:
        if not is_back.is_set():
            raise redis.ConnectionError

    hold_off = HoldOff(ask, ask_every_s=0.05)
    hold_off.failed(redis.ConnectionError("gone"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert hold_off.is_away
            is_back.set()
            until(lambda: not hold_off.is_away)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert hold_off.is_away
    is_back.set()
    until(lambda: not hold_off.is_away)
