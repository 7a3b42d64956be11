"""REDIS_URL may name Sentinels or a cluster: all that uses Redis works on them, and a fail-over under load is no error."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import httpx
import pytest
import redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from config import SettingsError, load_settings
from extensions.hold_off import guarded_redis
from haven.app import create_app
from haven.runtime import jobs_redis
from tests.api.conftest import PASSWORD, Caller
from tests.support.own_valkey import wait_until
from tests.support.redis_groups import cluster_of_three, watched_by_a_sentinel
from tests.support.servers_behind_proxy import Clients
from tests.support.web_server import WebServer

GOOD = {"DATABASE_URL": "postgresql://haven@127.0.0.1/haven", "SECRET_KEY": "k" * 32}
TOKEN = "shows the details of health"
LOAD = {"/api/v1/owners": 3, "/api/v1/auth/me": 3}


@pytest.mark.req("C9", "R4", "R6")
@pytest.mark.timeout(240)
def test_a_fail_over_to_the_replica_under_load_is_no_error(environ, caller_of, tmp_path):
    with watched_by_a_sentinel(tmp_path) as pair:
        short = {"REDIS_TIMEOUT": "250", "CACHE_TIMEOUT": "0.2"}
        settings = {
            **environ,
            **short,
            "REDIS_URL": pair.url,
            "DRAIN_SECONDS": "0",
            "METRICS_TOKEN": TOKEN,
        }
        server = WebServer(settings, tmp_path / "web.log", "wsgi:app")
        try:
            server.wait_ready()
            by = caller_of()
            clients = Clients([server], LOAD, 0.005, {"Authorization": f"Bearer {by.token}"})
            with clients.asking() as seen:
                _wait(lambda: len(seen.ms) > 200)
                assert _counts_in(server) == "redis"
                pair.first.kill()
                _wait(lambda: pair.master_port() == pair.second.port)
                asked = len(seen.ms)
                _wait(lambda: _counts_in(server) == "redis" and len(seen.ms) > asked + 200)
            assert seen.failures == []
            # The new master has what the requests since then have left.
            assert all(pair.second.client().keys(f"haven:{one}*") for one in ("limit:{", "sign-in:"))
        finally:
            server.stop()


def test_queues_of_jobs_are_kept_by_sentinels_too(settings, tmp_path):
    with watched_by_a_sentinel(tmp_path, "databases 16") as pair:
        read = dataclasses.replace(
            settings, redis_url=pair.url, job_queue_redis_url=pair.url, job_queue_redis_db=3
        )
        connection = jobs_redis(read, timeout_s=5)
        queue = Queue("sentinel-test", connection=connection, serializer=JSONSerializer)
        job = queue.enqueue("builtins.sum", [1, 2])
        SimpleWorker([queue], connection=connection, serializer=JSONSerializer).work(burst=True)
        result = job.latest_result()
        assert result is not None
        assert result.return_value == 3
        assert pair.first.client().info("keyspace").keys() == {"db3"}


@pytest.mark.req("C9", "R4", "R6")
@pytest.mark.timeout(240)
def test_sessions_limits_circuits_and_the_cache_live_on_a_cluster(settings, caller_of, tmp_path):
    with cluster_of_three(tmp_path) as (url, nodes):
        app = create_app(
            dataclasses.replace(
                settings,
                redis_url=url,
                cache_redis_url=url,
                enable_job_queue=False,
                redis_timeout=5000,
                cache_timeout=5,
                rate_limit_max_requests=40,
            )
        )
        on_cluster = app.test_client()
        first, *callers = (dataclasses.replace(caller_of(), client=on_cluster) for _ in range(7))
        # What a test before could not clear in a Redis of its own is settled by whoever reads next.
        wait_until(lambda: first.get("/owners").headers["X-Cache"] == "HIT")
        for by in callers:
            assert [by.get("/owners").headers["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]
            by.made("/owners", full_name="Achieng Otieno")
            assert len(by.get("/owners").get_json()["data"]) == 1
        # Four were asked before.
        assert [callers[0].get("/owners").status_code for _ in range(38)] == [200] * 36 + [429] * 2
        _signs_in_and_out(on_cluster, callers[1])
        operator = dataclasses.replace(caller_of("PLATFORM_ADMIN"), client=on_cluster)
        limits = operator.get("/monitoring/rate-limits").get_json()
        assert (limits["counts_in"], limits["refused"]) == ("redis", 2)
        # What each process looks at every ten seconds, and at its birth: an error there would have all leave the cluster alone.
        with app.app_context():
            told = [metric for one in app.extensions["haven_extensions"] for metric in one.collect()]
        assert len({metric.name for metric in told}) > 20
        app.extensions["after_fork"]()
        assert operator.get("/monitoring/breakers").status_code == 200
        # What a cluster does not have says nothing of whether it is there.
        pipeline = app.extensions["haven"].redis.pipeline()
        with pytest.raises(redis.ConnectionError, match="cluster mode"):
            pipeline.time().execute()
        assert not app.extensions["haven"].redis_is_away
        held = [node.client().dbsize() for node in nodes]
        assert all(held), held
        # A node that is gone: its callers are served without it, those of the others as before.
        nodes[1].kill()
        assert {by.get("/owners").status_code for by in callers[1:] for _ in range(4)} == {200}


def _signs_in_and_out(client: Any, by: Caller) -> None:
    signed_in = client.post("/api/v1/auth/login", json={"email": by.email, "password": PASSWORD})
    token = signed_in.get_json()["access_token"]
    header = {"Authorization": f"Bearer {token}"}
    assert [client.get("/api/v1/owners", headers=header).status_code for _ in range(3)] == [200] * 3
    assert client.post("/api/v1/auth/logout", headers=header).status_code in (200, 204)
    assert client.get("/api/v1/owners", headers=header).status_code == 401


def test_a_cluster_none_of_whose_nodes_answers_is_away_like_any_redis():
    client = guarded_redis("redis+cluster://127.0.0.1:1", 0.2)
    pipeline = client.pipeline()
    pipeline.get("a")
    for act in (lambda: client.get("a"), pipeline.execute):
        with pytest.raises(redis.ConnectionError):
            act()


def test_queues_on_a_cluster_are_refused_with_what_to_do():
    cluster = GOOD | {"REDIS_URL": "redis+cluster://one"}
    with pytest.raises(SettingsError, match="JOB_QUEUE_REDIS_URL to a single Redis"):
        load_settings(cluster)
    for more in ({"ENABLE_JOB_QUEUE": "false"}, {"JOB_QUEUE_REDIS_URL": "redis+sentinel://one/rents"}):
        assert load_settings(cluster | more).redis_url == "redis+cluster://one"
    with pytest.raises(SettingsError, match="must name the service"):
        load_settings(GOOD | {"REDIS_URL": "redis+sentinel://one"})


def _counts_in(server: WebServer) -> str:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    parts = httpx.get(f"{server.url}/health/detailed", headers=bearer, timeout=10).json()["parts"]
    return str(parts["rate_limiting"]["counts_in"])


def _wait(is_so: Any, for_s: float = 60) -> None:
    deadline = time.monotonic() + for_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
