"""Redis killed, started again with an old file, paused, slow, flushed, full, read-only: right answers, no 5xx, and back by itself.

Two applications of one database and one Valkey stand for two processes: what one writes the other must not show as it was.
"""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import httpx
import pytest
from sqlalchemy import create_engine, text

from haven.app import create_app
from haven.db.migrate import sqlalchemy_url
from tests.api.conftest import Caller
from tests.support.bad_network import BadNetwork
from tests.support.own_valkey import own_valkey, wait_until
from tests.support.web_server import counted, gunicorn

PATIENT_S = 30


@dataclasses.dataclass
class Two:
    """The same caller at two processes, and a row whose name tells old from new."""

    one: Caller
    other: Caller
    row_id: str

    def rename(self, by: Caller, name: str) -> None:
        answer = by.patch(f"/owners/{self.row_id}", {"full_name": name})
        assert answer.status_code == 200, answer.get_json()

    @staticmethod
    def name(by: Caller) -> str:
        answer = by.get("/owners")
        assert answer.status_code == 200, answer.get_json()
        return str(answer.get_json()["data"][0]["full_name"])

    @staticmethod
    def outcome(by: Caller) -> str:
        return str(by.get("/owners").headers["X-Cache"])

    def _is_hit(self, by: Caller) -> bool:
        return self.outcome(by) == "HIT"

    def is_cached(self) -> None:
        """Both have it stored, or will have."""
        for by in (self.one, self.other):
            wait_until(partial(self._is_hit, by), PATIENT_S)


@pytest.fixture
def two(settings, valkey, caller_of, engine) -> Two:
    urls = {"cache_redis_url": valkey.url, "cache_timeout": 1.0}
    apps = [create_app(dataclasses.replace(settings, **urls)) for _ in range(2)]
    by = caller_of()
    one, other = (dataclasses.replace(by, client=app.test_client()) for app in apps)
    return Two(one, other, one.made("/owners", full_name="first")["id"])


def owed(engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM cache_debt")).scalar_one())


@pytest.mark.req("C9")
def test_killed_between_a_write_and_a_read_and_started_with_its_old_file(two, valkey, engine):
    two.is_cached()
    valkey.kill()
    two.rename(two.one, "written while it was dead")
    assert owed(engine) > 0
    assert two.name(two.other) == two.name(two.one) == "written while it was dead"
    valkey.start()
    assert two.name(two.other) == "written while it was dead"
    two.is_cached()
    assert two.name(two.other) == "written while it was dead"
    assert owed(engine) == 0


@pytest.mark.req("C9")
def test_a_file_from_before_the_last_writes_brings_nothing_back(two, valkey, tmp_path):
    """Its generations are those of then; it is another server all the same."""
    two.is_cached()
    client = valkey.client()
    client.config_set("appendonly", "no")
    client.save()
    kept = tmp_path / "old.rdb"
    shutil.copy(tmp_path / "valkey" / "dump.rdb", kept)
    two.rename(two.one, "known to Valkey, but not to its file")
    assert two.name(two.other) == "known to Valkey, but not to its file"
    valkey.kill()
    shutil.rmtree(tmp_path / "valkey" / "appendonlydir", ignore_errors=True)
    shutil.copy(kept, tmp_path / "valkey" / "dump.rdb")
    conf = tmp_path / "valkey" / "valkey.conf"
    conf.write_text(conf.read_text().replace("appendonly yes", "appendonly no"))
    valkey.start()
    assert valkey.client().dbsize() > 0
    assert two.name(two.other) == "known to Valkey, but not to its file"


@pytest.mark.req("C9")
def test_without_the_servers_identity_the_old_file_would_be_believed(two, valkey, tmp_path, monkeypatch):
    """The control of the test before."""
    monkeypatch.setattr("extensions.caching.link.Link.server", lambda link, key: "always the same")
    with pytest.raises(AssertionError, match="known to Valkey"):
        test_a_file_from_before_the_last_writes_brings_nothing_back(two, valkey, tmp_path)


@pytest.mark.req("C9")
def test_a_write_that_a_paused_valkey_was_not_told_of_shows_the_moment_it_goes_on(two, valkey, engine):
    two.is_cached()
    valkey.pause()
    two.rename(two.one, "written while it was paused")
    assert two.name(two.one) == "written while it was paused"
    valkey.resume()
    # The other process has noticed nothing: its connection stands, and what is stored is all still there.
    assert two.name(two.other) == "written while it was paused"
    two.is_cached()
    assert two.name(two.other) == "written while it was paused"
    assert owed(engine) == 0


@pytest.mark.req("C9")
def test_without_looking_for_debts_the_paused_valkeys_old_value_would_be_seen(two, valkey, monkeypatch):
    """The control of the test before."""
    monkeypatch.setattr("extensions.caching.debts.DebtTable.is_fresh", lambda debts: True)
    two.is_cached()
    # Gone before it could be read, so that nothing that Valkey finds in its socket clears it later.
    monkeypatch.setattr(
        two.one.client.application.extensions["haven"].cache.link.breaker, "allows", lambda: False
    )
    two.rename(two.one, "new")
    assert two.name(two.other) == "first"


@pytest.mark.req("C9")
def test_flushed_it_only_computes_again(two, valkey):
    two.is_cached()
    valkey.client().flushall()
    assert two.outcome(two.one) == "MISS"
    two.rename(two.other, "after the flush")
    assert two.name(two.one) == "after the flush"


@pytest.mark.req("C9")
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_full_or_read_only_it_shows_nothing_old_and_is_used_again_afterwards(two, valkey, how):
    two.is_cached()
    client = valkey.client()
    if how == "full":
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
    else:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        client.config_set("replica-serve-stale-data", "yes")
    two.rename(two.one, f"while {how}")
    assert two.name(two.other) == two.name(two.one) == f"while {how}"
    if how == "full":
        client.config_set("maxmemory", "512mb")
    else:
        client.execute_command("REPLICAOF", "NO", "ONE")
    two.is_cached()
    assert two.name(two.other) == f"while {how}"


def test_clearing_by_hand_is_owed_while_redis_is_away(two, valkey):
    two.is_cached()
    valkey.kill()
    assert two.one.post("/cache/invalidate", {"pattern": "owners:*"}).get_json() == {"status": "PENDING"}
    assert two.one.get("/cache/stats").get_json()["is_available"] is False
    valkey.start()
    wait_until(lambda: two.one.get("/cache/stats").get_json()["is_available"], PATIENT_S)
    assert two.one.post("/cache/invalidate", {"pattern": "owners:*"}).get_json() == {"status": "DONE"}


@pytest.mark.req("C9")
@pytest.mark.timeout(300)
def test_no_request_fails_whatever_happens_to_redis(environ, caller_of, tmp_path):
    """Reads and writes over HTTP all the while, with every use of Redis on the one that is treated badly."""
    by = caller_of()
    with (
        own_valkey(tmp_path / "valkey", "databases 1024") as valkey,
        closing(BadNetwork(valkey.port)) as network,
    ):
        ours = {
            "REDIS_URL": valkey.url_through(network.port),
            "REDIS_TIMEOUT": "200",
            "CACHE_TIMEOUT": "0.2",
            "DB_POOL_TIMEOUT": "30",
        }
        with gunicorn(environ | ours) as url:
            http = httpx.Client(
                base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {by.token}"}, timeout=60
            )
            row = http.post("/owners", json={"full_name": "Achieng"}).json()

            def work(number: int) -> httpx.Response:
                if number % 5 == 0:
                    return http.patch(f"/owners/{row['id']}", json={"full_name": f"Achieng {number}"})
                return http.get("/owners")

            def under(trouble: str) -> dict[int, int]:
                with ThreadPoolExecutor(4) as threads:
                    return {"trouble": trouble, **counted(threads.map(work, range(40)))}  # type: ignore[dict-item]

            assert under("none") == {"trouble": "none", 200: 40}
            network.delay_s = 0.5
            assert under("slow") == {"trouble": "slow", 200: 40}
            network.delay_s = 0
            valkey.pause()
            assert under("paused") == {"trouble": "paused", 200: 40}
            valkey.resume()
            valkey.client().flushall()
            assert under("flushed") == {"trouble": "flushed", 200: 40}
            valkey.kill()
            assert under("killed") == {"trouble": "killed", 200: 40}
            valkey.start()
            wait_until(lambda: http.get("/owners").headers["X-Cache"] == "HIT", PATIENT_S)


def test_the_table_of_debts_is_read_without_an_agency(database_url):
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        assert owed(engine) >= 0
    finally:
        engine.dispose()
