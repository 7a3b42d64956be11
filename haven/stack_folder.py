"""The folder of one embedded stack (``.haven``): its lock, its secrets, and what it says about itself.

``lock`` is held by the supervisor for as long as it lives, so the kernel knows whether there is one;
``secrets.json`` is made once; ``processes.json`` has each process, to find it again after a crash of the supervisor;
``stack.json`` is there while the stack is ready; ``demo.json`` remembers the demo's sign-ins; ``logs/`` has a log of
each program. All files are readable by their owner alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from haven.supervisor import ProcessRecord

_Command = TypeVar("_Command", bound=Callable[..., Any])
HERE: Final = Path(".haven")
"""Where it is unless somebody says otherwise."""


class StackError(Exception):
    """The stack cannot be started or reached; the message says why and what to do."""


class StackFolder:
    """Reads and writes the files of a stack's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self._lock: int | None = None

    def make(self) -> None:
        """Make the folder and its logs, where they are missing."""
        # PostgreSQL's user passes through the folder on its way to its own data; it reads nothing on the way.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.path.stat().st_uid == os.geteuid():
                self.path.chmod(mode)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StackError(
                f"{self.path} cannot be made or written ({error.strerror}). Choose another folder with --data."
            ) from None

    def acquire(self) -> bool:
        """Take the lock for the life of this process; false when another one has it."""
        try:
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            raise StackError(
                f"{self.path} belongs to another user. Start Haven as that user, or choose another folder with --data."
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def is_running(self) -> bool:
        """Whether a supervisor, in this process or another, has the lock."""
        if not (self.path / "lock").exists():
            return False
        probe = StackFolder(self.path)
        if not probe.acquire():
            return True
        probe.release()
        return False

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secrets(self) -> dict[str, str]:
        """What only this stack knows; made on the first call."""
        kept = self.read("secrets.json") or {}
        if not isinstance(kept, dict):
            raise StackError(
                f"{self.path / 'secrets.json'} is damaged. Put back its copy, or choose another --data."
            )
        complete = {**_new_secrets(), **kept}
        if complete != kept:
            self.write("secrets.json", complete)
        return complete

    def records(self) -> list[ProcessRecord]:
        """The processes that were written down last; the supervisor is the first."""
        return [ProcessRecord(**record) for record in self.read("processes.json") or []]

    def write_records(self, records: Sequence[ProcessRecord]) -> None:
        self.write("processes.json", [asdict(record) for record in records])

    def read(self, name: str) -> Any:
        """The content of a JSON file; None if there is none, or it was cut short."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        except PermissionError:
            raise StackError(f"{self.path / name} belongs to another user.") from None

    def write(self, name: str, content: Mapping[str, Any] | Sequence[Any]) -> None:
        """Replace a JSON file at once, readable by its owner alone."""
        handle, unfinished = tempfile.mkstemp(dir=self.path, prefix=f".{name}-")
        with open(handle, "w", encoding="utf-8") as out:
            json.dump(content, out, indent=2)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, self.path / name)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


def _new_secrets() -> dict[str, str]:
    names = ("postgres_password", "owner_password", "app_password", "valkey_password")
    return {
        "id": secrets.token_hex(8),
        "secret_key": secrets.token_hex(32),
        **{name: secrets.token_hex(16) for name in names},
        "mpesa_consumer_key": secrets.token_hex(16),
        "mpesa_consumer_secret": secrets.token_hex(16),
        "mpesa_passkey": secrets.token_hex(32),
        "mpesa_shortcode": str(600_000 + secrets.randbelow(400_000)),
    }


def data_option(words: str) -> Callable[[_Command], _Command]:
    """The option ``--data`` of a command, which is given the path as ``folder``; ``words`` say what the folder is to it."""
    return click.option(
        "--data",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=HERE,
        show_default=True,
        help=words,
    )
