"""Starts programs, keeps them running, and stops every one of them.

Each program leads a session of its own, so a Ctrl-C in the terminal reaches only the supervisor, and whatever a
program started can be found again by its session id. Nothing here knows what the programs are.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

POLL_S: Final = 0.05
BACK_OFF_FIRST_S: Final = 0.25
BACK_OFF_MAX_S: Final = 30.0
STABLE_AFTER_S: Final = 60.0
"""A program that ran this long is healthy again: its next crash is its first."""
CRASHES_AT_START: Final = 3
"""So many crashes before it was ever ready mean that it will not start."""
LOG_MAX_BYTES: Final = 50 * 1024 * 1024
LOG_CHECK_S: Final = 60.0
SAME_START_S: Final = 2.0
"""Two readings of one process's start time differ by less than this."""


class ProgramFailed(Exception):
    """A program did not become ready; the message has the end of its log."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        super().__init__(f"{name} {reason}. The end of {log}:\n{log_tail(log)}")
        self.name = name


@dataclass(frozen=True)
class Account:
    """The user that a program runs as."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """The arguments of ``subprocess`` that drop privileges to this user, with no group left over."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True)
class Program:
    """How one program is started, known to be ready, and stopped."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path = Path("/")
    ready: Callable[[], bool] | None = None
    """Asked repeatedly until true; without it a program is ready after ``settle_s`` of running."""
    settle_s: float = 0.5
    account: Account | None = None
    stop_signals: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 20.0),)
    """Signals with the seconds each is given; after the last comes SIGKILL."""
    is_server: bool = False
    """Others depend on it: it is stopped only when they are gone."""
    address: str = ""


@dataclass(frozen=True)
class ProcessRecord:
    """What is written down of a process, enough to find it again after the supervisor died."""

    name: str
    pid: int
    created: float
    """Its start time: with the pid, the identity of a process."""
    state: str = "running"
    restarts: int = 0
    address: str = ""
    stop_signal: int = signal.SIGTERM
    is_server: bool = False


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    created: float
    started: float
    is_ready: bool = False
    crashes: int = 0
    restarts: int = 0
    restart_at: float | None = None

    def record(self) -> ProcessRecord:
        state = "waiting to restart" if self.restart_at else "running" if self.is_ready else "starting"
        program = self.program
        return ProcessRecord(
            program.name,
            self.process.pid,
            self.created,
            state,
            self.restarts,
            program.address,
            int(program.stop_signals[0][0]),
            program.is_server,
        )


class Supervisor:
    """Runs programs with their output in ``logs/NAME.log``; ``on_change`` is told the records at each change."""

    def __init__(self, logs: Path, on_change: Callable[[list[ProcessRecord]], None] = lambda _: None) -> None:
        self._logs = logs
        self._on_change = on_change
        self._children: dict[str, _Child] = {}
        self._check_logs_at = time.monotonic() + LOG_CHECK_S

    def start(self, program: Program) -> None:
        """Start it now; does not wait until it is ready."""
        process = self._spawn(program)
        self._children[program.name] = _Child(
            program, process, create_time(process.pid), started=time.monotonic()
        )
        self._changed()

    def wait_ready(
        self, names: Iterable[str], deadline_s: float, between: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for all of them together; ``between`` is called at each look and may raise to give up.

        Raises:
            ProgramFailed: at the deadline, or after repeated crashes.
        """
        waiting = [self._children[name] for name in names]
        deadline = time.monotonic() + deadline_s
        while waiting:
            between()
            self.tick()
            waiting = [child for child in waiting if not child.is_ready]
            for child in waiting:
                self._fail_if_hopeless(child, late=time.monotonic() > deadline)
            time.sleep(POLL_S if waiting else 0)

    def tick(self) -> None:
        """One round of looking after the children: notice deaths and readiness, restart what is due."""
        now = time.monotonic()
        if any([self._look_after(child, now) for child in self._children.values()]):  # noqa: C419 (all of them)
            self._changed()
        if now >= self._check_logs_at:
            self._check_logs_at = now + LOG_CHECK_S
            for name in self._children:
                rotate_log(self._log_of(name))

    def records(self) -> list[ProcessRecord]:
        return [child.record() for child in self._children.values()]

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop all, the servers last; once ``hurry()`` is true what is left gets its harshest signal at once."""
        for servers in (False, True):
            members = [child for child in self._children.values() if child.program.is_server is servers]
            _stop_together(members, hurry)
            for child in members:
                del self._children[child.program.name]
            self._changed()

    def _log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        log = self._log_of(program.name)
        rotate_log(log)
        with open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as output:
            return subprocess.Popen(
                list(program.argv),
                cwd=program.cwd,
                env=dict(program.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **(program.account.popen_arguments() if program.account else {}),
            )

    def _look_after(self, child: _Child, now: float) -> bool:
        """Whether its state changed."""
        if child.restart_at is not None:
            if now < child.restart_at:
                return False
            self._restart(child)
            return True
        if child.process.poll() is not None:
            _schedule_restart(child, now)
            return True
        if child.is_ready:
            return False
        ready = child.program.ready
        child.is_ready = ready() if ready else now - child.started >= child.program.settle_s
        return child.is_ready

    def _restart(self, child: _Child) -> None:
        kill_session(child.process.pid, child.created)
        child.process = self._spawn(child.program)
        child.created = create_time(child.process.pid)
        child.started = time.monotonic()
        child.restarts += 1
        child.restart_at = None

    def _fail_if_hopeless(self, child: _Child, *, late: bool) -> None:
        log = self._log_of(child.program.name)
        if child.crashes >= CRASHES_AT_START:
            reason = f"stopped {child.crashes} times (exit {child.process.returncode})"
            raise ProgramFailed(child.program.name, reason, log)
        if late:
            raise ProgramFailed(child.program.name, "did not become ready in time", log)

    def _changed(self) -> None:
        self._on_change(self.records())


def _schedule_restart(child: _Child, now: float) -> None:
    if now - child.started > STABLE_AFTER_S:
        child.crashes = 0
    child.crashes += 1
    child.is_ready = False
    child.restart_at = now + min(BACK_OFF_FIRST_S * 2 ** (child.crashes - 1), BACK_OFF_MAX_S)


def _stop_together(children: Sequence[_Child], hurry: Callable[[], bool]) -> None:
    plans = {child.program.name: list(child.program.stop_signals) for child in children}
    next_at = dict.fromkeys(plans, 0.0)
    hurried = False
    while alive := [child for child in children if child.process.poll() is None]:
        if not hurried and hurry():
            hurried = True
            plans = {child.program.name: list(child.program.stop_signals[1:]) for child in alive}
            next_at = dict.fromkeys(plans, 0.0)
        for child in alive:
            name = child.program.name
            if time.monotonic() >= next_at[name]:
                sent, patience_s = plans[name].pop(0) if plans[name] else (signal.SIGKILL, 5.0)
                _signal(child.process.pid, sent)
                next_at[name] = time.monotonic() + patience_s
        time.sleep(POLL_S)
    for child in children:
        kill_session(child.process.pid, child.created)


def stop_left_over(records: Sequence[ProcessRecord], patience_s: float = 15.0) -> list[str]:
    """Stop what a supervisor that is gone left running; a pid that now belongs to another process is let be.

    Returns:
        The names of the programs that were found and stopped, servers last.
    """
    found: list[str] = []
    for servers in (False, True):
        members = [record for record in records if record.is_server is servers]
        found += _stop_records(members, patience_s)
    return found


def _stop_records(records: Sequence[ProcessRecord], patience_s: float) -> list[str]:
    alive = {record: process for record in records if (process := find_process(record))}
    for record in alive:
        _signal(record.pid, signal.Signals(record.stop_signal))
    _, survivors = psutil.wait_procs(list(alive.values()), timeout=patience_s)
    for process in survivors:
        _signal(process.pid, signal.SIGKILL)
    psutil.wait_procs(survivors, timeout=5)
    return [record.name for record in records if kill_session(record.pid, record.created) or record in alive]


def find_process(record: ProcessRecord) -> psutil.Process | None:
    """The process of the record, if it is alive and still the one that was written down."""
    try:
        process = psutil.Process(record.pid)
        if abs(process.create_time() - record.created) > SAME_START_S:
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def kill_session(leader: int, created: float) -> bool:
    """Kill what still lives in the session of a leader that has ended; true when there was something.

    The kernel gives out no session id (a pid) again while a member of the session lives, so a member that is younger
    than the leader was can only be ours.
    """
    if _lives(leader):
        return False
    killed = False
    for pid in psutil.pids():
        try:
            if pid == leader or os.getsid(pid) != leader or not _lives(pid):
                continue
            if create_time(pid) < created - SAME_START_S:
                continue
        except (ProcessLookupError, PermissionError):
            continue
        _signal(pid, signal.SIGKILL)
        killed = True
    return killed


def create_time(pid: int) -> float:
    """When the process started, in seconds of the epoch; now, if it is gone already."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return time.time()


def rotate_log(log: Path) -> None:
    """Keep a log below LOG_MAX_BYTES: its content moves to ``NAME.log.1``, writers in append mode go on."""
    try:
        if log.stat().st_size > LOG_MAX_BYTES:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)
    except FileNotFoundError:
        return


def log_tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - 16_384))
            text = source.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (empty)"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
