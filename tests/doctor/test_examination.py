"""The whole examination, against real servers: what is well, what is not, and no secret in any of it."""

from __future__ import annotations

import json
import re
import threading
import time
from urllib.parse import urlsplit

import pytest
from redis import Redis

from haven.db.prepare import APP_ROLE
from haven.doctor.checks import examination
from haven.doctor.findings import Check, Level, examine, ok
from haven.doctor.mpesa import skew_of
from haven.embedded_servers import free_port
from haven.payments.mpesa.simulator.commands import DEFAULT_CONSUMER_KEY, DEFAULT_CONSUMER_SECRET
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY, SANDBOX_SHORTCODE
from tests.payments.conftest import simulator
from tests.support.live import LiveStack, haven

__all__ = ["simulator"]


@pytest.fixture
def well(environ, simulator):
    """The settings of an installation that has everything but running processes."""
    return environ | {
        "PUBLIC_URL": "http://127.0.0.1:8000",
        "MPESA_BASE_URL": simulator.url,
        "MPESA_CONSUMER_KEY": DEFAULT_CONSUMER_KEY,
        "MPESA_CONSUMER_SECRET": DEFAULT_CONSUMER_SECRET,
        "MPESA_SHORTCODE": SANDBOX_SHORTCODE,
        "MPESA_PASSKEY": SANDBOX_PASSKEY,
        "MAIL_FOLDER": "/tmp/mail",
    }


def of(check, findings):
    """Level and words of the findings of one check."""
    return [(one.level, one.says) for one in findings if one.check == check]


def test_where_all_is_well_each_check_says_so(well):
    found = examination(well)
    for check in ("settings", "database", "migrations", "Redis", "callbacks", "M-Pesa", "clock", "mail"):
        levels = {level for level, _ in of(check, found)}
        assert levels == {Level.OK}, (check, of(check, found))
    assert len(of("clock", found)) == 2
    assert any(APP_ROLE in says for _, says in of("database", found))


def test_without_workers_it_says_so(well):
    levels = [level for level, _ in of("processes", examination(well))]
    assert levels == [Level.FAIL, Level.WARN]


def test_each_wrong_setting_is_a_finding_and_nothing_else_is_looked_at(well):
    found = examination(well | {"PORT": "x", "LOG_LEVEL": "loud"})
    assert [one.check for one in found] == ["settings", "settings"]
    assert {one.level for one in found} == {Level.FAIL}


def test_a_superuser_is_above_the_wall(well, superuser_url, database_name):
    url = f"{superuser_url.rpartition('/')[0]}/{database_name}"
    levels = of("database", examination(well | {"DATABASE_URL": url}))
    assert any(level is Level.FAIL and "BYPASSRLS" in says for level, says in levels)


def test_the_owner_of_the_tables_is_worth_a_look(well, owner_url):
    levels = of("database", examination(well | {"DATABASE_URL": owner_url}))
    assert any(level is Level.WARN and "owns the tables" in says for level, says in levels)


def test_an_empty_database_is_to_be_migrated(well, addresses, superuser_url):
    url = f"{superuser_url.rpartition('/')[0]}/postgres"
    ((level, says),) = of("migrations", examination(well | {"DATABASE_URL": url}))
    assert level is Level.FAIL
    assert "revision none" in says


def test_too_many_connections_are_foreseen(well):
    levels = of("database", examination(well | {"WEB_CONCURRENCY": "64", "DB_POOL_MAX": "100"}))
    assert any(level is Level.WARN and "max_connections" in says for level, says in levels)


@pytest.mark.parametrize(
    "setting, url, check",
    [
        ("DATABASE_URL", "postgresql://haven:hunter2@127.0.0.1:{port}/haven", "database"),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:{port}/0", "Redis"),
        ("MPESA_BASE_URL", "http://127.0.0.1:{port}", "M-Pesa"),
    ],
)
def test_what_is_away_fails_and_the_others_are_still_told(well, setting, url, check):
    found = examination(well | {setting: url.format(port=free_port())})
    assert {level for level, _ in of(check, found)} == {Level.FAIL}
    others = {"settings", "database", "Redis", "M-Pesa"} - {check}
    assert all(Level.OK in {level for level, _ in of(other, found)} for other in others)
    assert all(one.do for one in found if one.level is not Level.OK)


def test_wrong_credentials_fail_and_name_neither(well):
    found = examination(well | {"MPESA_CONSUMER_SECRET": "wrong-secret"})
    ((level, says),) = of("M-Pesa", found)
    assert (level, "refuses the credentials" in says) == (Level.FAIL, True)


def test_missing_credentials_are_named(well):
    without = {name: text for name, text in well.items() if name != "MPESA_PASSKEY"}
    ((level, says),) = of("M-Pesa", examination(without))
    assert (level, "MPESA_PASSKEY" in says) == (Level.FAIL, True)
    none = {name: text for name, text in well.items() if not name.startswith("MPESA_")}
    none |= {"MPESA_BASE_URL": well["MPESA_BASE_URL"]}
    ((level, _),) = of("M-Pesa", examination(none))
    assert level is Level.WARN


def test_it_takes_the_token_that_all_share_and_kills_none(well, simulator, redis_url):
    """Each new token of M-Pesa ends the one before it: an examination must not stop the payments of others."""
    examination(well)
    with Redis.from_url(redis_url) as store:
        before = {key: store.get(key) for key in store.scan_iter("mpesa:token:*")}
        examination(well)
        after = {key: store.get(key) for key in store.scan_iter("mpesa:token:*")}
    assert after == before


@pytest.mark.parametrize(
    "skew_s, level",
    [(0.3, Level.OK), (-1.9, Level.OK), (2.5, Level.WARN), (-59, Level.WARN), (61, Level.FAIL)],
)
def test_clocks_that_are_apart(skew_s, level):
    assert skew_of("PostgreSQL", skew_s, 2.0).level is level


def test_a_check_that_hangs_is_a_finding_and_holds_nobody_up():
    go_on = threading.Event()
    started = time.monotonic()

    def hangs():
        go_on.wait(60)
        return []

    def falls():
        raise ValueError("postgresql://haven:hunter2@db/haven")

    try:
        found = examine(
            [Check("slow", hangs), Check("broken", falls), Check("well", lambda: [ok("well", "Well.")])],
            timeout_s=0.3,
        )
    finally:
        go_on.set()
    assert time.monotonic() - started < 30
    assert [(one.check, one.level) for one in found] == [
        ("slow", Level.FAIL),
        ("broken", Level.FAIL),
        ("well", Level.OK),
    ]
    assert "hunter2" not in str(found)


def secrets_of(environ):
    passwords = {urlsplit(environ[name]).password for name in ("DATABASE_URL", "REDIS_URL")}
    named = {environ.get(name) for name in ("SECRET_KEY", "MPESA_CONSUMER_SECRET", "MPESA_PASSKEY")}
    return {secret for secret in passwords | named if secret}


def test_the_command_ends_with_1_on_a_failure_and_prints_no_secret(well, tmp_path):
    finished = haven(["doctor", "--json", "--data", str(tmp_path)], well)
    assert finished.returncode == 1, finished.stderr
    document = json.loads(finished.stdout)
    assert document["status"] == "fail"
    assert document["findings"][0] == {
        "check": "settings",
        "level": "ok",
        "says": "Every setting can be read.",
        "do": "",
    }
    text = haven(["doctor", "--data", str(tmp_path)], well)
    assert "→ Start `python -m workers`." in text.stdout
    for secret in secrets_of(well):
        assert secret not in finished.stdout + text.stdout + finished.stderr + text.stderr


def test_with_no_settings_at_all_it_says_what_is_missing(tmp_path):
    finished = haven(["doctor", "--data", str(tmp_path)])
    assert finished.returncode == 1
    assert "DATABASE_URL is missing" in finished.stdout


def test_a_stack_that_runs_is_well(live_stack: LiveStack):
    """Found by its folder: of its settings only what its starter had changed is in the environment."""
    queues = {name: live_stack.environ[name] for name in ("JOB_QUEUE_REDIS_DB",)}
    finished = haven(["doctor", "--json", "--data", str(live_stack.folder)], queues)
    document = json.loads(finished.stdout)
    bad = [one for one in document["findings"] if one["level"] == "fail"]
    assert finished.returncode == 0, bad
    says = [one["says"] for one in document["findings"] if one["check"] == "processes"]
    # One, and more where jobs wait at the moment.
    assert re.fullmatch(r"[1-4] workers are alive\.", says[0])
    assert says[1:] == ["The clock (python -m workers.cron) is connected."]
