"""``haven up --detach`` with all of Haven's own programs."""

from __future__ import annotations

import urllib.request

from haven.notifications.delivery_reports import PATH, token
from haven.stack_programs import Places, haven_programs
from tests.support.live import LiveStack, haven


def test_everything_of_haven_answers(live_stack: LiveStack) -> None:
    assert set(live_stack.described) == {
        "url",
        "database_url",
        "redis_url",
        "mpesa_url",
        "platform_admin",
        "agency_admin",
        "pids",
    }
    assert set(live_stack.agency_admin) >= {"email", "password", "api_key"}
    assert set(live_stack.platform_admin) >= {"email", "password"}
    for url in (f"{live_stack.url}/ready", f"{live_stack.described['mpesa_url']}/simulator/health"):
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200


def test_status_shows_each_program(live_stack: LiveStack) -> None:
    finished = haven(["status", "--data", str(live_stack.folder)])
    assert finished.returncode == 0
    for name, pid in live_stack.pids.items():
        assert any(name in line and str(pid) in line for line in finished.stdout.splitlines())


def test_only_the_simulator_knows_where_reports_of_sms_go() -> None:
    places = Places("http://127.0.0.1:8000", "", "", "", "http://127.0.0.1:8081", has_simulator=True)
    programs = haven_programs(places, {"SECRET_KEY": "a key that is used in tests and nowhere else"})
    told = {one.name: one.env.get("SMS_CALLBACK_URL") for one in programs}
    hook = f"http://127.0.0.1:8000{PATH}/{token('a key that is used in tests and nowhere else')}"
    assert told == {"web": None, "worker": None, "cron": None, "mpesa-simulator": hook}
