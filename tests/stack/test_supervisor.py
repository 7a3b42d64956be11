"""Stopping for good: what ignores a polite signal, what a program left behind, and what only looks like ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from haven.supervisor import (
    ProcessRecord,
    Program,
    ProgramFailed,
    Supervisor,
    create_time,
    find_process,
    stop_left_over,
)

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
)
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).wait()"


def python(name: str, code: str, log: Path | None = None) -> Program:
    ready = (lambda: log.exists() and "1" in log.read_text()) if log else None
    signals = ((15, 0.2),)
    return Program(name, [sys.executable, "-c", code], os.environ, ready=ready, stop_signals=signals)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [STUBBORN, PARENT], ids=["ignores TERM", "leaves a child that does"])
def test_stop_leaves_nothing(tmp_path: Path, code: str) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(python("it", code, tmp_path / "it.log"))
    supervisor.wait_ready(["it"], deadline_s=20)
    leader = psutil.Process(supervisor.records()[0].pid)
    family = [leader, *leader.children(recursive=True)]
    supervisor.stop()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def test_servers_stop_after_what_depends_on_them(tmp_path: Path) -> None:
    stopped: list[set[str]] = []
    supervisor = Supervisor(tmp_path, lambda records: stopped.append({record.name for record in records}))
    code = "import time; time.sleep(99)"
    supervisor.start(Program("server", [sys.executable, "-c", code], os.environ, is_server=True))
    supervisor.start(Program("program", [sys.executable, "-c", code], os.environ))
    supervisor.stop()
    assert stopped[-2:] == [{"server"}, set()]


def test_a_program_that_is_never_ready_fails_with_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    program = Program(
        "late",
        [sys.executable, "-c", "print('still thinking', flush=True); import time; time.sleep(99)"],
        os.environ,
        ready=lambda: False,
    )
    supervisor.start(program)
    with pytest.raises(ProgramFailed, match=r"(?s)late did not become ready in time.*still thinking"):
        supervisor.wait_ready(["late"], deadline_s=2)
    supervisor.stop(hurry=lambda: True)


def test_restarts_come_at_growing_intervals(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(Program("short", ["/bin/true"], os.environ))
    began = time.monotonic()
    with pytest.raises(ProgramFailed, match="stopped 3 times"):
        supervisor.wait_ready(["short"], deadline_s=20)
    assert time.monotonic() - began > 0.75, "a quarter of a second, then half of one"
    supervisor.stop()


def test_a_pid_that_another_process_has_by_now_is_let_be() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"], start_new_session=True)
    try:
        written_long_ago = ProcessRecord("web", stranger.pid, create_time(stranger.pid) - 60)
        assert stop_left_over([written_long_ago]) == []
        assert stranger.poll() is None
        ours = ProcessRecord("web", stranger.pid, create_time(stranger.pid))
        assert find_process(ours) is not None
        assert stop_left_over([ours]) == ["web"]
    finally:
        stranger.kill()
        stranger.wait()
