"""A Haven of its own for tests that need processes: what `haven up --detach` starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from haven.stack_folder import StackFolder

CHECKOUT: Final = Path(__file__).parent.parent.parent
START_TIMEOUT_S: Final = 110


@dataclass(frozen=True)
class LiveStack:
    """A running stack; ``described`` is its stack.json when it became ready."""

    folder: Path
    environ: Mapping[str, str]
    described: Mapping[str, Any]

    @property
    def url(self) -> str:
        return str(self.described["url"])

    @property
    def agency_admin(self) -> Mapping[str, str]:
        admin: Mapping[str, str] = self.described["agency_admin"]
        return admin

    @property
    def platform_admin(self) -> Mapping[str, str]:
        admin: Mapping[str, str] = self.described["platform_admin"]
        return admin

    @property
    def pids(self) -> dict[str, int]:
        """The processes as they are now: a program that died has another pid after its restart."""
        pids: dict[str, int] = json.loads((self.folder / "stack.json").read_text())["pids"]
        return pids

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        haven(["down", "--data", str(self.folder)], self.environ)
        remove_outside_data(self.folder)


def remove_outside_data(folder: Path) -> None:
    """Remove what a stack of root's kept outside its folder, where PostgreSQL's user reaches it."""
    kept = StackFolder(folder).read("secrets.json") or {}
    if kept.get("id"):
        shutil.rmtree(Path("/var/lib/haven") / kept["id"], ignore_errors=True)


def haven(arguments: list[str], environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the ``haven`` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "haven", *arguments],
        cwd=CHECKOUT,
        env=clean_environ() | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_S,
    )


def start_live_stack(folder: Path, environ: Mapping[str, str]) -> LiveStack:
    """Run `haven up --detach`; a start that fails tells all it printed."""
    environ = {"WEB_CONCURRENCY": "2", "WORKER_PROCESSES": "1", **environ}
    finished = haven(["up", "--detach", "--data", str(folder)], environ)
    if finished.returncode != 0:
        raise RuntimeError(
            f"haven up ended with {finished.returncode}:\n{finished.stdout}\n{finished.stderr}"
        )
    return LiveStack(folder, environ, json.loads((folder / "stack.json").read_text()))


def clean_environ() -> dict[str, str]:
    """The environment without settings of Haven that the person who tests has made."""
    from dataclasses import fields

    from config import Settings

    ours = {field.name.upper() for field in fields(Settings)}
    return {name: value for name, value in os.environ.items() if name not in ours}
