"""What every other test stands on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, text

from tests.support.live import CHECKOUT
from tests.support.servers import Addresses, stop_abandoned, superuser_cursor


def test_the_application_role_is_bound_by_row_security(engine: Engine) -> None:
    with engine.connect() as connection:
        role = connection.execute(
            text("SELECT rolsuper, rolbypassrls, rolcreatedb FROM pg_roles WHERE rolname = current_user")
        ).one()
    assert tuple(role) == (False, False, False)


def test_each_process_has_a_database_of_its_own(addresses: Addresses, engine: Engine) -> None:
    addresses.new_database("another")
    with superuser_cursor(addresses.superuser_url) as cursor:
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname = 'another'")
        assert cursor.fetchone() == (1,)
        cursor.execute("DROP DATABASE another")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT current_database()")).scalar_one().startswith("haven_")


START_AND_DIE = """
import os, signal
from tests.support.servers import ThrowAwayServers
servers = ThrowAwayServers()
servers.start()
print(servers._folder, *(record.pid for record in servers._supervisor.records()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_servers_of_a_run_that_was_killed_are_stopped_by_the_next() -> None:
    killed = subprocess.run(
        [sys.executable, "-c", START_AND_DIE], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    folder, *pids = killed.stdout.split()
    assert len(pids) == 2
    assert all(psutil.pid_exists(int(pid)) for pid in pids), "nobody stopped them"
    stop_abandoned()
    assert not Path(folder).exists()
    assert not any(psutil.pid_exists(int(pid)) for pid in pids)


RUN_WATCHED = """
import sys, pytest
from tests.support.stall import StallWatch
sys.exit(pytest.main(["-q", "-p", "no:valkey", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[StallWatch(stalled_s=2.0)]))
"""
HANGS = """
import time
def test_that_is_quick(): pass
def test_that_hangs(): time.sleep(90)
"""


def test_a_run_in_which_nothing_ends_any_more_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(HANGS)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    # The second as a shell starts what it puts into the background.
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    for before, parallel in (([], []), (ignoring, []), ([], ["-n", "1"])):
        ended = subprocess.run(
            [*before, sys.executable, "-c", RUN_WATCHED, "--rootdir", tmp_path, *parallel, tmp_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == pytest.ExitCode.INTERRUPTED, ended.stdout
        assert "No test ended for 2 s" in ended.stdout
        assert "Under way: test_it.py::test_that_hangs" in ended.stdout
