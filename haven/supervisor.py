"""Starts programs, keeps them running, and stops every one of them.

Each program leads a session of its own, so a Ctrl-C in the terminal reaches only the supervisor and whatever a
program started can be found again by its session id. Nothing here knows what the programs are.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

POLL_S: Final = 0.05
BACK_OFF_FIRST_S: Final = 0.25
BACK_OFF_MAX_S: Final = 30.0
STABLE_AFTER_S: Final = 60.0
"""A program that ran this long is healthy again: its next crash is its first."""
CRASHES_AT_START: Final = 4
"""So many crashes before it was ever ready means that it will not start."""
LOG_MAX_BYTES: Final = 50 * 1024 * 1024
CREATE_TIME_TOLERANCE_S: Final = 2.0


class ProgramFailed(Exception):
    """A program did not become ready; the message has the end of its log."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        super().__init__(f"{name} {reason}. The end of {log}:\n{log_tail(log)}")
        self.name = name
        self.log = log


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
    cwd: Path
    env: Mapping[str, str]
    ready: Callable[[], bool] | None = None
    """Asked repeatedly until true; without it a program is ready after ``settle_s`` of running."""
    settle_s: float = 0.5
    account: Account | None = None
    stop_signals: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 30.0),)
    """Signals with the seconds each is given; after the last comes SIGKILL."""
    stop_stage: int = 0
    """Programs of a lower stage are stopped, and gone, before a higher one is touched."""
    address: str = ""


@dataclass
class ProcessRecord:
    """What is written down of a process, enough to find it again after the supervisor died."""

    name: str
    pid: int
    created: float
    state: str
    restarts: int
    address: str
    stop_signal: int


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
    sessions: list[tuple[int, float]] = field(default_factory=list)


class Supervisor:
    """Runs programs with their output in ``logs/NAME.log``; ``on_change`` is told the records at each change."""

    def __init__(self, logs: Path, on_change: Callable[[list[ProcessRecord]], None] | None = None) -> None:
        self._logs = logs
        self._on_change = on_change
        self._children: dict[str, _Child] = {}
        self._rotate_at = time.monotonic() + 60

    def log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def start(self, program: Program) -> None:
        """Start it now; does not wait until it is ready."""
        process = self._spawn(program)
        created = _create_time(process.pid)
        self._children[program.name] = _Child(
            program, process, created, time.monotonic(), sessions=[(process.pid, created)]
        )
        self._changed()

    def wait_ready(self, names: Iterable[str], deadline_s: float) -> None:
        """Wait for all of them together; raises ProgramFailed at the deadline or after repeated crashes."""
        waiting = set(names)
        deadline = time.monotonic() + deadline_s
        while True:
            self.tick()
            for name in sorted(waiting):
                child = self._children[name]
                if child.is_ready:
                    waiting.discard(name)
                elif child.crashes >= CRASHES_AT_START:
                    code = child.process.returncode
                    raise ProgramFailed(
                        name, f"stopped {child.crashes} times (exit {code})", self.log_of(name)
                    )
                elif time.monotonic() > deadline:
                    raise ProgramFailed(name, f"was not ready in {deadline_s:.0f} s", self.log_of(name))
            if not waiting:
                return
            time.sleep(POLL_S)

    def tick(self) -> None:
        """One round of looking after the children: notice deaths and readiness, restart what is due."""
        now = time.monotonic()
        changed = False
        for child in self._children.values():
            if child.restart_at is not None:
                if now >= child.restart_at:
                    self._restart(child)
                    changed = True
            elif child.process.poll() is not None:
                self._schedule_restart(child, now)
                changed = True
            elif not child.is_ready and self._looks_ready(child, now):
                child.is_ready = True
                changed = True
        if now >= self._rotate_at:
            self._rotate_at = now + 60
            for child in self._children.values():
                rotate_log(self.log_of(child.program.name))
        if changed:
            self._changed()

    def next_event_s(self) -> float:
        """Seconds until ``tick`` has something to do of its own, if no child dies before."""
        due = [child.restart_at - time.monotonic() for child in self._children.values() if child.restart_at]
        not_ready = any(not child.is_ready for child in self._children.values())
        return max(0.0, min([*due, 0.2 if not_ready else 60.0]))

    def records(self) -> list[ProcessRecord]:
        return [
            ProcessRecord(
                name=child.program.name,
                pid=child.process.pid,
                created=child.created,
                state="waiting to restart"
                if child.restart_at
                else "running"
                if child.is_ready
                else "starting",
                restarts=child.restarts,
                address=child.program.address,
                stop_signal=int(child.program.stop_signals[0][0]),
            )
            for child in self._children.values()
        ]

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop all, stage by stage; once ``hurry()`` is true what is left gets its harshest signal at once."""
        for stage in sorted({child.program.stop_stage for child in self._children.values()}):
            members = [child for child in self._children.values() if child.program.stop_stage == stage]
            self._stop_together(members, hurry)
            for child in members:
                del self._children[child.program.name]
            self._changed()

    def _stop_together(self, children: Sequence[_Child], hurry: Callable[[], bool]) -> None:
        plans = {child.program.name: list(child.program.stop_signals) for child in children}
        next_at = dict.fromkeys(plans, 0.0)
        hurried = False
        alive = [child for child in children if child.process.poll() is None]
        while alive:
            if hurry() and not hurried:
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
            alive = [child for child in alive if child.process.poll() is None]
        for child in children:
            for leader, created in child.sessions:
                kill_session(leader, created)

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        log = self.log_of(program.name)
        rotate_log(log)
        with log.open("ab") as output:
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

    def _schedule_restart(self, child: _Child, now: float) -> None:
        if now - child.started > STABLE_AFTER_S:
            child.crashes = 0
        child.crashes += 1
        child.is_ready = False
        child.restart_at = now + min(BACK_OFF_FIRST_S * 2 ** (child.crashes - 1), BACK_OFF_MAX_S)

    def _restart(self, child: _Child) -> None:
        for leader, created in child.sessions:
            kill_session(leader, created)
        child.process = self._spawn(child.program)
        child.created = _create_time(child.process.pid)
        child.started = time.monotonic()
        child.sessions = [(child.process.pid, child.created)]
        child.restarts += 1
        child.restart_at = None

    def _looks_ready(self, child: _Child, now: float) -> bool:
        if child.program.ready is None:
            return now - child.started >= child.program.settle_s
        return child.program.ready()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self.records())


def stop_left_over(records: Iterable[ProcessRecord], patience_s: float = 15.0) -> list[str]:
    """Stop what a supervisor that is gone left running; a pid that now belongs to another process is let be.

    Returns the names of the programs that were found and stopped.
    """
    found: list[str] = []
    alive: list[psutil.Process] = []
    records = list(records)
    for record in records:
        process = find_process(record)
        if process is not None:
            found.append(record.name)
            alive.append(process)
            _signal(record.pid, signal.Signals(record.stop_signal))
    _, survivors = psutil.wait_procs(alive, timeout=patience_s)
    for process in survivors:
        _signal(process.pid, signal.SIGKILL)
    psutil.wait_procs(survivors, timeout=5)
    for record in records:
        if kill_session(record.pid, record.created) and record.name not in found:
            found.append(record.name)
    return found


def find_process(record: ProcessRecord) -> psutil.Process | None:
    """The process of the record, if it is alive and still the one that was written down."""
    try:
        process = psutil.Process(record.pid)
        if abs(process.create_time() - record.created) > CREATE_TIME_TOLERANCE_S:
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def kill_session(leader: int, created: float) -> bool:
    """Kill what still lives in the session of a leader that has ended; true when there was something.

    A session id is not given out again while a member of the session lives, so a member that is younger than the
    leader was can only be ours.
    """
    if _status(leader) not in (None, psutil.STATUS_ZOMBIE):
        return False
    killed = False
    for pid in psutil.pids():
        try:
            if pid == leader or os.getsid(pid) != leader or _status(pid) == psutil.STATUS_ZOMBIE:
                continue
            if psutil.Process(pid).create_time() < created - CREATE_TIME_TOLERANCE_S:
                continue
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
        _signal(pid, signal.SIGKILL)
        killed = True
    return killed


def records_to_json(records: Iterable[ProcessRecord]) -> list[dict[str, Any]]:
    return [asdict(record) for record in records]


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


def _create_time(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return time.time()


def _status(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None
