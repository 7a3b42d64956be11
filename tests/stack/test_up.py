"""``haven up`` on real servers: ports, a second one, Ctrl-C, crashes of everything, other people's servers and users."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import psycopg2
import pytest

from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.stack_folder import StackFolder
from haven.supervisor import find_process
from tests.stack.conftest import SmallStack
from tests.support.servers import Addresses

IS_ROOT: Final = os.geteuid() == 0
USERS: Final = [None, "nobody"] if IS_ROOT else [None]
"""Ourselves; and for root, somebody who is not."""


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)


@pytest.mark.parametrize("user", USERS)
def test_it_starts_and_ctrl_c_leaves_no_process(
    stack_in: Callable[..., SmallStack], user: str | None
) -> None:
    stack = stack_in(user)
    process = stack.start()
    described = stack.ready(process)
    assert get(described["url"]) == 200
    assert described["agency_admin"]["api_key"] == "key"
    records = StackFolder(stack.folder).records()
    assert {record.name for record in records} == {"supervisor", "valkey", "postgres", "web"}
    everything = [psutil.Process(pid) for pid in described["pids"].values()]
    everything += [child for each in everything for child in each.children(recursive=True)]
    owners = {each.uids().effective for each in everything}
    os.killpg(process.pid, signal.SIGINT)
    assert "Ready" in stack.end(process)
    assert process.returncode == 0
    assert [each for each in everything if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert stack.described() is None
    assert len(owners) == (2 if IS_ROOT and user is None else 1), (
        "only PostgreSQL of root's stack is another's"
    )


def test_its_files_are_for_its_owner_alone(small_stack: SmallStack) -> None:
    small_stack.ready(small_stack.start())
    files = [path for path in small_stack.folder.iterdir() if path.is_file()]
    files += (small_stack.folder / "logs").iterdir()
    assert {path.name for path in files} > {"stack.json", "secrets.json", "demo.json", "postgres.log"}
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {
        path.name: "0o600" for path in files
    }


def test_another_port_is_chosen_where_nobody_asked_for_one(small_stack: SmallStack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = small_stack.start(SMALL_STACK_PORT=str(port))
        described = small_stack.ready(process)
        process.send_signal(signal.SIGTERM)
        printed = small_stack.end(process)
    assert f"Port {port} is taken: the web uses {described['url'].rpartition(':')[2]}" in printed


def test_a_taken_port_that_was_asked_for_says_what_to_do(small_stack: SmallStack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = small_stack.start("--port", str(port))
        printed = small_stack.end(process)
    assert process.returncode == 1
    assert f"Port {port} is taken" in printed
    assert "give another --port" in printed
    assert "Traceback" not in printed


def test_a_second_one_says_where_the_first_is(small_stack: SmallStack) -> None:
    described = small_stack.ready(small_stack.start())
    second = small_stack.start()
    printed = small_stack.end(second)
    assert second.returncode == 1
    assert "already running" in printed
    assert described["url"] in printed
    assert get(described["url"]) == 200


def test_after_a_kill_nine_of_the_supervisor_it_starts_well_with_its_data(small_stack: SmallStack) -> None:
    first = small_stack.start()
    before = small_stack.ready(first)
    first.kill()
    first.wait()
    left = [r for r in StackFolder(small_stack.folder).records() if r.name != "supervisor"]
    assert [r.name for r in left if find_process(r)] == ["valkey", "postgres", "web"], "nobody stopped them"
    after = small_stack.ready(small_stack.start())
    assert [r.name for r in left if find_process(r)] == []
    assert after["agency_admin"] == before["agency_admin"], "the demo was not loaded again"
    assert get(after["url"]) == 200


def test_after_a_kill_nine_of_everything_it_starts_well(small_stack: SmallStack) -> None:
    first = small_stack.start()
    pids = small_stack.ready(first)["pids"]
    for pid in [first.pid, *pids.values()]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    first.wait()
    assert get(small_stack.ready(small_stack.start())["url"]) == 200


@pytest.mark.parametrize("name", ["web", "postgres", "valkey"])
def test_a_program_that_dies_is_restarted(small_stack: SmallStack, name: str) -> None:
    described = small_stack.ready(small_stack.start())
    os.kill(described["pids"][name], signal.SIGKILL)

    def restarted() -> bool:
        records = {record.name: record for record in StackFolder(small_stack.folder).records()}
        return records[name].restarts > 0 and records[name].state == "running"

    deadline = time.monotonic() + 30
    while not restarted() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert restarted()
    now = small_stack.described()
    assert now is not None
    assert now["pids"][name] != described["pids"][name]


def test_a_program_that_cannot_start_shows_the_end_of_its_log(small_stack: SmallStack) -> None:
    process = small_stack.start(SMALL_STACK="broken")
    printed = small_stack.end(process)
    assert process.returncode == 1
    assert "the reason is in the log" in printed
    assert small_stack.alive() == []


def test_a_start_that_was_killed_in_the_demo_loads_it_again(small_stack: SmallStack) -> None:
    killed = small_stack.start(SMALL_STACK="dies")
    small_stack.end(killed)
    assert killed.returncode == -signal.SIGKILL
    described = small_stack.ready(small_stack.start())
    assert described["agency_admin"]["api_key"] == "key"


def test_it_starts_without_a_demo_and_takes_one_later(small_stack: SmallStack) -> None:
    first = small_stack.start("--demo", "none")
    assert small_stack.ready(first)["agency_admin"] is None
    first.send_signal(signal.SIGINT)
    small_stack.end(first)
    assert small_stack.ready(small_stack.start())["agency_admin"]["api_key"] == "key"


def test_the_servers_of_the_environment_are_used(small_stack: SmallStack, addresses: Addresses) -> None:
    name = f"given_{os.getpid()}"
    addresses.new_database(name)
    url, owner = (addresses.database_url(role, name) for role in (APP_ROLE, OWNER_ROLE))
    redis_url = f"{addresses.redis_url}/255"
    described = small_stack.ready(
        small_stack.start(DATABASE_URL=url, DATABASE_OWNER_URL=owner, REDIS_URL=redis_url)
    )
    assert set(described["pids"]) == {"supervisor", "web"}
    assert (described["database_url"], described["redis_url"]) == (url, redis_url)
    web = psutil.Process(described["pids"]["web"]).environ()
    assert web["DATABASE_URL"] == url
    assert "DATABASE_OWNER_URL" not in web, "the programs run without the role that may change the schema"
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('haven.platform', 'on', true)")
        cursor.execute("SELECT count(*) FROM agency WHERE slug = 'small'")
        assert cursor.fetchone() == (1,)


def test_a_superusers_database_is_not_served_past_row_security(
    small_stack: SmallStack, addresses: Addresses
) -> None:
    process = small_stack.start(DATABASE_URL=addresses.superuser_url, REDIS_URL=f"{addresses.redis_url}/255")
    printed = small_stack.end(process)
    assert process.returncode == 1
    assert "no row-level security binds" in printed


def test_a_database_that_is_not_there_is_said_in_words(small_stack: SmallStack) -> None:
    process = small_stack.start(DATABASE_URL="postgresql://me:hidden-word@127.0.0.1:1/haven")
    printed = small_stack.end(process)
    assert process.returncode == 1
    assert "DATABASE_URL cannot be used" in printed
    assert "hidden-word" not in printed
    assert "Traceback" not in printed


def test_a_folder_that_postgres_cannot_reach_is_not_a_crash(stack_in: Callable[..., SmallStack]) -> None:
    """For root the database goes where PostgreSQL's user can; anybody else must choose another folder."""
    stack = stack_in(mode=0o700 if IS_ROOT else 0o500)
    process = stack.start()
    if IS_ROOT:
        stack.ready(process)
        process.send_signal(signal.SIGTERM)
        home = Path("/var/lib/haven") / StackFolder(stack.folder).secrets()["id"]
        assert f"the database is in {home}" in " ".join(stack.end(process).split())
        assert (home / "data" / "PG_VERSION").exists()
    else:
        assert "--data" in stack.end(process)
        assert process.returncode == 1
