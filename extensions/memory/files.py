"""Small files of the kernel's, read again and again.

Each stays open: to open, read and close one gives the interpreter up five times, and in a busy process each time takes
milliseconds to get it back; so does memory's filling up.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_LONGEST: Final = 16_384


class KernelFile:
    """A file under ``/proc`` or ``/sys``, opened when it is first read, and anew in each process."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._opened: int | None = None
        self._process = 0

    def read(self) -> bytes:
        """What is in it now; nothing where it is not there (any more)."""
        try:
            # What a parent has open is of the parent: its /proc/self is not this process's.
            if self._opened is None or self._process != os.getpid():
                self._opened, self._process = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC), os.getpid()
            return os.pread(self._opened, _LONGEST, 0)
        except OSError:
            return b""

    def number(self) -> int | None:
        """The number that is all there is in it; None for anything else (``max``)."""
        text = self.read().strip()
        return int(text) if text.isdigit() else None

    def __del__(self) -> None:
        if self._opened is not None:
            os.close(self._opened)
