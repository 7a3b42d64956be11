"""A folder for a stack, and processes that are gone when a test ends, however it ends."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from haven.stack_folder import StackFolder
from haven.supervisor import find_process, stop_left_over
from tests.support.live import CHECKOUT, clean_environ, remove_outside_data

READY_S = 60.0


@dataclass
class SmallStack:
    """Runs the small stack in a folder, as the given user."""

    folder: Path
    user: str | None = None
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start it in the foreground, in a session of its own as a terminal's would be."""
        argv = [sys.executable, "-m", "tests.support.small_stack", "--data", str(self.folder), *arguments]
        if self.user is not None:
            # The capability only lets it read this interpreter and checkout, which may be in a closed home.
            may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
            user = pwd.getpwnam(self.user)
            argv = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
                *may_read,
                *argv,
            ]
        process = subprocess.Popen(
            argv,
            cwd=CHECKOUT,
            env=clean_environ() | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def ready(self, process: subprocess.Popen[str]) -> Mapping[str, Any]:
        """What stack.json says once this process has made it."""
        deadline = time.monotonic() + READY_S
        while process.poll() is None and time.monotonic() < deadline:
            described = self.described()
            if described is not None and described["pids"]["supervisor"] == process.pid:
                return described
            time.sleep(0.05)
        process.kill()
        raise AssertionError(f"not ready: {process.communicate()[0]}")

    def end(self, process: subprocess.Popen[str]) -> str:
        """All that it printed, once it has ended by itself."""
        return process.communicate(timeout=READY_S)[0]

    def described(self) -> dict[str, Any] | None:
        described: dict[str, Any] | None = StackFolder(self.folder).read("stack.json")
        return described

    def alive(self) -> list[str]:
        """The programs that were written down and still run."""
        return [record.name for record in StackFolder(self.folder).records() if find_process(record)]

    def clean_up(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        stop_left_over(StackFolder(self.folder).records(), patience_s=5)
        remove_outside_data(self.folder)


@pytest.fixture
def stack_in() -> Iterator[Callable[..., SmallStack]]:
    """A function that gives a stack in a new folder: of ``user``, below a folder of ``mode``."""
    made: list[tuple[Path, SmallStack]] = []

    def make(user: str | None = None, mode: int = 0o755) -> SmallStack:
        parent = Path(tempfile.mkdtemp(prefix="haven-stack-"))
        if user is not None:
            os.chown(parent, pwd.getpwnam(user).pw_uid, -1)
        parent.chmod(mode)
        made.append((parent, SmallStack(parent / "data", user)))
        return made[-1][1]

    yield make
    for parent, stack in made:
        stack.clean_up()
        parent.chmod(0o700)
        shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def small_stack(stack_in: Callable[..., SmallStack]) -> SmallStack:
    return stack_in()
